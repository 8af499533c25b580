package course

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"sluice/labs/check"
	"sluice/labs/labfile"
)

// Script runs a script of the lab's folder with sh, in a folder of its own, with this program as `sluice` and the lab's
// name as SLUICE_LAB.
func (v *live) Script(ctx context.Context, file string) (out check.Output, err error) {
	text, err := labfile.ReadBounded(v.lab.Files, file)
	if err != nil {
		return out, fmt.Errorf("read script %s: %w", file, err)
	}
	dir, err := os.MkdirTemp("", "sluice-check-")
	if err != nil {
		return out, fmt.Errorf("make a folder for script %s: %w", file, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, filepath.Join(dir, "sluice"))
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "script"), text, 0o600)
	}
	if err != nil {
		return out, fmt.Errorf("prepare script %s: %w", file, err)
	}
	return runScript(ctx, dir, "SLUICE_LAB="+v.Lab())
}

// prelude makes SIGTERM an end like any other: else sh would not run what the script has left in `trap ... EXIT`. And
// what is left there first writes down whose end has begun: a subshell may have one of its own.
const prelude = `trap 'exit 143' TERM
at_exit() {
	[ "$1" != -- ] || shift
	case "$1 $2" in
	'- '* | ' '*) command trap "$@" ;;
	*' EXIT' | *' 0') at_exit=$1 && shift && command trap "sh -c 'echo \$PPID >ending'; $at_exit" "$@" ;;
	*) command trap "$@" ;;
	esac
}
alias trap=at_exit
`

// cleanUp is how long a script that is out of time may take to leave the lab as it was: it may have to boot the
// appliance, on a busy machine without KVM.
const cleanUp = 2 * time.Minute

// runScript ends a script with SIGTERM when ctx does, and all that it has started, unless it is cleaning up already.
// What still runs after the script is killed. Its output goes into files: a pipe would stay open as long as whatever it
// has left behind.
func runScript(ctx context.Context, dir, lab string) (out check.Output, err error) {
	var files [2]*os.File
	for i, name := range []string{"stdout", "stderr"} {
		if files[i], err = os.Create(filepath.Join(dir, name)); err != nil {
			return out, fmt.Errorf("keep what a script says: %w", err)
		}
		defer files[i].Close()
	}
	if err := os.WriteFile(filepath.Join(dir, "prelude"), []byte(prelude), 0o600); err != nil {
		return out, fmt.Errorf("prepare a script: %w", err)
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", ". ./prelude; . ./script")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, files[0], files[1]
	cmd.Env = append(os.Environ(), lab, "PATH="+dir+":"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	over := make(chan struct{})
	var telling sync.WaitGroup
	cmd.Cancel = func() error {
		telling.Go(func() { tellToEnd(dir, cmd.Process.Pid, over) })
		return nil
	}
	cmd.WaitDelay = cleanUp
	if err := cmd.Start(); err != nil {
		return out, fmt.Errorf("run a script: %w", err)
	}
	err = cmd.Wait()
	close(over)
	telling.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // mostly there is nobody any more
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	var said [2]limited
	for i, f := range files {
		if _, seek := f.Seek(0, io.SeekStart); seek != nil {
			err = errors.Join(err, seek)
		}
		_, copied := io.Copy(&said[i], io.LimitReader(f, maxOutput))
		err = errors.Join(err, copied)
	}
	return check.Output{Stdout: said[0].String(), Stderr: said[1].String(), Code: cmd.ProcessState.ExitCode()}, err
}

// tellToEnd tells a script and what it has started to end, until it cleans up or is over. Once is not enough: a child
// that is just being started hears nothing, and the shell waits for it.
func tellToEnd(dir string, pid int, over <-chan struct{}) {
	for {
		if b, err := os.ReadFile(filepath.Join(dir, "ending")); err == nil && strings.TrimSpace(string(b)) == strconv.Itoa(pid) {
			return
		}
		_ = syscall.Kill(-pid, syscall.SIGTERM)
		select {
		case <-over:
			return
		case <-time.After(time.Second):
		}
	}
}
