package agent

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"sluice/labs/guest/confine"
)

// How Main is started, by os.Args: as /init by a QEMU guest's kernel, or by a namespace machine, first to close the
// doors behind it and then, as a program that never had more rights, to serve.
const (
	argAgent    = "agent"
	stageEnter  = "enter"  // ARGV0 agent enter HOSTNAME
	stageInside = "inside" // ARGV0 agent inside
	initPath    = "/init"
)

// What a namespace guest's PID 1 inherits beside its standard streams.
const (
	LineFD = 3 + iota // its line to the host
	TreeFD            // the image as a mount that is attached nowhere, until it enters
)

// PortName is the name of the virtio-serial port on which a QEMU guest's agent has its line to the host.
const PortName = "sluice.agent"

// Language is the locale of all that runs in a guest: no language at all, and every character (UTF-8).
const Language = "C.UTF-8"

// EnterArgs are the arguments of a program with the agent in it for a namespace guest. It must be PID 1 of new PID,
// mount, UTS, IPC and network namespaces, and root of a new user namespace where there is one.
func EnterArgs(hostname string) []string {
	return []string{"sluice", argAgent, stageEnter, hostname}
}

// IsInit says whether this process should be an agent: it is the init process of a guest. A program that may be put
// into an image calls it first thing in main, and then Main. (PID 1 alone says little: a container may start sluice,
// too.)
func IsInit() bool {
	return os.Getpid() == 1 && (os.Args[0] == initPath || len(os.Args) > 2 && os.Args[1] == argAgent)
}

// Main is the agent as the init process of a guest. It does not return: the process ends when it cannot go on, or when
// the host of a namespace guest has gone.
func Main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	os.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
	os.Setenv("HOME", "/root")
	os.Setenv("TERM", "xterm")
	os.Setenv("LANG", Language)
	if err := run(); err != nil {
		slog.Error("agent", "error", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run() error {
	if os.Args[0] == initPath {
		return runMachine()
	}
	if len(os.Args) == 4 && os.Args[2] == stageEnter {
		runtime.LockOSThread() // capabilities are a thread's own
		return enter(os.Args[3])
	}
	return runInside()
}

// runMachine is the agent of a QEMU guest.
func runMachine() error {
	if err := mountMachine(); err != nil {
		return err
	}
	if err := loadModules(bootModules...); err != nil {
		return err
	}
	path, err := findPort()
	if err != nil {
		return err
	}
	port, err := openPort(path)
	if err != nil {
		return err
	}
	g := newGuest(true)
	g.heedPower()
	go g.runConsole()
	g.buryOrphans()
	return g.serveHosts(port)
}

// runInside is the agent of a namespace guest. It ends with its host, and the whole guest with it.
func runInside() error {
	// The kernel is to end it also while it is stopped by a drill. If the host has gone already, its line is broken.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("ask to end with the host: %w", err)
	}
	if err := confine.Secret(); err != nil { // its line to the host is not the guest's
		return err
	}
	f := os.NewFile(LineFD, "line")
	line, err := net.FileConn(f)
	if err != nil {
		return fmt.Errorf("take over the line: %w", err)
	}
	f.Close()
	g := newGuest(false)
	g.heedPower()
	g.buryOrphans()
	err = g.serveLine(line)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (g *guest) buryOrphans() {
	died := make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	go func() {
		for range died {
			g.procs.bury()
		}
	}()
}

// findPort finds the virtio-serial port by its name.
func findPort() (string, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return "", err
	}
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err == nil && strings.TrimSpace(string(b)) == PortName {
			return filepath.Join("/dev", filepath.Base(filepath.Dir(n))), nil
		}
	}
	return "", fmt.Errorf("no virtio-serial port %s among %d", PortName, len(names))
}
