package agent

import (
	"bufio"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Shell is the shell for people, in every image.
const Shell = "/bin/bash"

// consolePath is the serial line of a QEMU guest: the way in where the agent's own is broken.
const consolePath = "/dev/ttyS0"

// runConsole keeps a shell on the serial line.
func (g *guest) runConsole() {
	for {
		next := time.After(restartEvery)
		if err := g.runShell(); err != nil {
			slog.Warn("console", "error", err)
		}
		<-next
	}
}

// runShell waits for somebody who types before it starts a shell: most guests are never visited this way, and a shell
// that nobody uses would cost each of them some of its boot.
func (g *guest) runShell() error {
	tty, err := os.OpenFile(consolePath, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer tty.Close()
	if err := erasesCharacters(tty); err != nil {
		return err
	}
	if _, err := io.WriteString(tty, "\nEnter starts a shell.\n"); err != nil {
		return err
	}
	if _, err := bufio.NewReader(tty).ReadSlice('\n'); err != nil {
		return err
	}
	cmd := exec.Command(Shell, "-l")
	cmd.Dir = "/root"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	return g.procs.run(cmd)
}
