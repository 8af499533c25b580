package course

import (
	"bytes"
	"context"
	"encoding/json"
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

	"sluice/firewall"
	"sluice/labs/check"
	"sluice/labs/labfile"
	"sluice/labs/probe"
	"sluice/vswitch"
	"sluice/vswitch/control"
)

// maxOutput bounds what is kept of a command's output, in bytes of each stream.
const maxOutput = 256 << 10

// live is a running lab as checks meet it: its control API, and commands in its guests.
type live struct {
	*control.Client
	lab *labfile.Lab
}

var _ check.Lab = (*live)(nil)

func (v *live) Exec(ctx context.Context, guest string, argv []string) (check.Output, error) {
	var out, errs limited
	code, err := v.Client.Exec(ctx, guest, control.ExecRequest{Argv: argv},
		control.Streams{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs})
	return check.Output{Stdout: out.String(), Stderr: errs.String(), Code: code}, err
}

// patience is how much longer than its deadline an attempt in a guest may take: a QEMU guest has to start a program.
const patience = 20 * time.Second

// Probe runs this same program in the guest.
func (v *live) Probe(ctx context.Context, guest string, targets []probe.Target, within time.Duration) (res []probe.Result, err error) {
	ctx, cancel := context.WithTimeout(ctx, within+patience)
	defer cancel()
	out, err := v.Exec(ctx, guest, probe.Argv(targets, within))
	if err != nil {
		return nil, err
	}
	if out.Code != 0 {
		return nil, fmt.Errorf("the attempt in %s ended with %d: %s", guest, out.Code, strings.TrimSpace(out.Stderr))
	}
	if err := json.Unmarshal([]byte(out.Stdout), &res); err != nil {
		return nil, fmt.Errorf("read the attempt in %s: %w", guest, err)
	}
	return res, nil
}

// Download runs this same program in the guest.
func (v *live) Download(ctx context.Context, guest string, from probe.Target, during time.Duration) (d probe.Download, err error) {
	ctx, cancel := context.WithTimeout(ctx, during+patience)
	defer cancel()
	out, err := v.Exec(ctx, guest, probe.DownloadArgv(from, during))
	if err == nil && out.Code != 0 {
		err = fmt.Errorf("the download in %s ended with %d: %s", guest, out.Code, strings.TrimSpace(out.Stderr))
	}
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal([]byte(out.Stdout), &d); err != nil {
		return d, fmt.Errorf("read the download in %s: %w", guest, err)
	}
	return d, nil
}

func (v *live) InForce(ctx context.Context) (*firewall.Policy, error) {
	p, err := v.Client.Policy(ctx)
	if err != nil {
		return nil, err
	}
	return firewall.Load(p.File, []byte(p.Source), v.lab.Inventory())
}

func (v *live) Placement(ctx context.Context) (firewall.Placement, []vswitch.Receipt, error) {
	info, err := v.Client.Placement(ctx)
	return info.Placement, info.History, err
}

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

// limited keeps the beginning of what is written to it, and takes the rest for written.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	l.Buffer.Write(p[:min(len(p), max(0, maxOutput-l.Len()))])
	return len(p), nil
}
