package cli_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// dialog is `dialog FILE CMD...`: a command on a terminal of 100 columns and 30 rows, and a user who follows the file:
// what stands in a line after "expect " must come, what stands after "type " is typed (\r, \x03 and \x1d are keys),
// "resize COLS ROWS" changes the window. The terminal must come back as it was. Exit code 0 is expected; with !
// another.
func dialog(ts *testscript.TestScript, neg bool, args []string) {
	who, err := newPerson()
	ts.Check(err)
	defer who.terminal.Close()
	before, err := unix.IoctlGetTermios(int(who.tty.Fd()), unix.TCGETS)
	ts.Check(err)

	bin, _, _ := strings.Cut(ts.Getenv("PATH"), string(filepath.ListSeparator))
	cmd := exec.Command(filepath.Join(bin, args[1]), args[2:]...)
	cmd.Env = []string{"SLUICE_STATE_DIR=" + ts.Getenv("SLUICE_STATE_DIR"), "TERM=xterm"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = who.tty, who.tty, who.tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true} // or it would not hear of a new size
	ts.Check(cmd.Start())
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if err := who.follow(strings.TrimSuffix(line, "\n")); err != nil {
			cmd.Process.Kill()
			cmd.Wait()
			ts.Fatalf("%s: %v; the terminal shows %q", line, err, who.seen())
		}
	}
	err = cmd.Wait()
	ts.Logf("the terminal shows %q", who.seen())
	if (err != nil) != neg {
		ts.Fatalf("%s: %v", strings.Join(args[1:], " "), err)
	}
	after, err := unix.IoctlGetTermios(int(who.tty.Fd()), unix.TCGETS)
	ts.Check(err)
	if *after != *before {
		ts.Fatalf("the terminal did not come back as it was:\n%+v\n%+v", *before, *after)
	}
}

// person sits before a terminal.
type person struct {
	terminal, tty *os.File
	mu            sync.Mutex
	screen        bytes.Buffer
	read          int // how much of the screen was expected already
}

func newPerson() (*person, error) {
	terminal, tty, err := pty.Open()
	if err != nil {
		return nil, err
	}
	u := &person{terminal: terminal, tty: tty}
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := terminal.Read(b)
			if err != nil {
				return
			}
			u.mu.Lock()
			u.screen.Write(b[:n])
			u.mu.Unlock()
		}
	}()
	return u, pty.Setsize(terminal, &pty.Winsize{Rows: 30, Cols: 100})
}

func (u *person) seen() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.screen.String()
}

func (u *person) follow(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "expect":
		return wait(fmt.Sprintf("%q", rest), func() bool {
			seen := u.seen()[u.read:]
			i := strings.Index(seen, rest)
			if i >= 0 {
				u.read += i + len(rest)
			}
			return i >= 0
		})
	case "type":
		_, err := u.terminal.WriteString(strings.NewReplacer(`\r`, "\r", `\x03`, "\x03", `\x1d`, "\x1d").Replace(rest))
		return err
	case "resize":
		var size pty.Winsize
		if _, err := fmt.Sscan(rest, &size.Cols, &size.Rows); err != nil {
			return err
		}
		return pty.Setsize(u.terminal, &size)
	}
	return fmt.Errorf("no verb %q", verb)
}
