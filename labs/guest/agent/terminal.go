package agent

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// openTerminal makes a pseudo-terminal, pts(4). The master is in Go's poller, so that closing it, or a deadline, ends a
// read. (Packages for this leave it blocking.)
func openTerminal(size Size) (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, &os.PathError{Op: "open", Path: "/dev/ptmx", Err: err}
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	if slave, err = openSlave(fd); err != nil {
		master.Close()
		return nil, nil, err
	}
	if err := erasesCharacters(slave); err != nil {
		closeAll([]*os.File{master, slave})
		return nil, nil, err
	}
	resize(master, size)
	return master, slave, nil
}

// erasesCharacters tells a terminal that its input is UTF-8: Backspace takes a whole character away, not its last byte
// (termios(3), IUTF8).
func erasesCharacters(tty *os.File) error {
	t, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		return os.NewSyscallError("read the terminal's settings", err)
	}
	t.Iflag |= unix.IUTF8
	return os.NewSyscallError("change the terminal's settings", unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, t))
}

func openSlave(master int) (*os.File, error) {
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return nil, os.NewSyscallError("unlock terminal", err)
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return nil, os.NewSyscallError("number of terminal", err)
	}
	return os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
}

// resize tells a terminal its size; none at all leaves it.
func resize(master *os.File, s Size) {
	if s.Rows == 0 || s.Cols == 0 {
		return
	}
	raw, err := master.SyscallConn()
	if err != nil {
		return // it has been closed
	}
	raw.Control(func(fd uintptr) {
		unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: s.Rows, Col: s.Cols})
	})
}
