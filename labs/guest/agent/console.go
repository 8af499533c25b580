package agent

import (
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

func (g *guest) runShell() error {
	tty, err := os.OpenFile(consolePath, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer tty.Close()
	cmd := exec.Command(Shell, "-l")
	cmd.Dir = "/root"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	return g.procs.run(cmd)
}
