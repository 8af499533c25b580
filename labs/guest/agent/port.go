package agent

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// port is a virtio-serial port. Its reads end with EOF whenever no host is there, which is no end of the line: a host that
// comes back says hello. It stays open for as long as the guest lives, because the kernel lets only one have it.
type port struct {
	fd int
}

func openPort(path string) (*port, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &port{fd: fd}, nil
}

// waitHost waits until a host has the other end open. A port without one reports POLLHUP at once, so there is nothing to
// sleep on but time.
func (p *port) waitHost() error {
	for {
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN | unix.POLLOUT}}
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case fds[0].Revents&unix.POLLHUP == 0:
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (p *port) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(p.fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

func (p *port) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n, err := unix.Write(p.fd, b[done:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// Close ends nothing: a session that is given up has ended when its host is gone.
func (p *port) Close() error { return nil }
