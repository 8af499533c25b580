package agent

import (
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What poweroff, halt and reboot of BusyBox send to PID 1 (its init/halt.c). SIGINT is what the kernel sends for
// Ctrl-Alt-Del.
var powerSignals = map[os.Signal]int{
	unix.SIGUSR1: unix.LINUX_REBOOT_CMD_POWER_OFF, // halt: a halted virtual machine would be one that nobody can use or end
	unix.SIGUSR2: unix.LINUX_REBOOT_CMD_POWER_OFF,
	unix.SIGTERM: unix.LINUX_REBOOT_CMD_RESTART,
	unix.SIGINT:  unix.LINUX_REBOOT_CMD_RESTART,
}

// ExitOff is the exit code of a namespace guest's PID 1 that was asked to end by a command in the guest.
const ExitOff = 100

// SaysOff says whether a QEMU guest's kernel, by its last words on the console, ended because it was told to
// (kernel/reboot.c).
func SaysOff(words string) bool {
	return strings.Contains(words, "reboot: Power down") || strings.Contains(words, "reboot: Restarting system")
}

// offAsked is how long the command that asked has to end, as on any machine, before all commands are told to.
const offAsked = 200 * time.Millisecond

// offGrace is how long a guest's commands may take to end by themselves when it is shut down, and then their callers to
// be told.
const offGrace = time.Second

// heedPower ends the guest when a command in it asks for that. It works also where the guest never was configured.
func (g *guest) heedPower() {
	asked := make(chan os.Signal, 1)
	for s := range powerSignals {
		signal.Notify(asked, s)
	}
	go func() {
		how := powerSignals[<-asked]
		<-time.After(offAsked)
		endAll()
		g.tellCallers()
		if !g.ownKernel {
			os.Exit(ExitOff) // the kernel ends the rest
		}
		unix.Sync()
		slog.Error("shut down", "error", unix.Reboot(how))
	}()
}

// endAll asks every other process to end, and waits for those that do. A shell for people ends by SIGHUP only.
func endAll() {
	unix.Kill(-1, unix.SIGTERM)
	unix.Kill(-1, unix.SIGHUP)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(offGrace); !errors.Is(unix.Kill(-1, 0), unix.ESRCH); {
		select {
		case <-late:
			return
		case <-tick.C:
		}
	}
}

// tellCallers waits until those whose commands have ended know it.
func (g *guest) tellCallers() {
	told := make(chan struct{})
	go func() {
		g.execs.Wait()
		close(told)
	}()
	select {
	case <-told:
	case <-time.After(offGrace):
	}
}
