package agent

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// port is a virtio-serial port. Its reads end with EOF whenever no host is there, which is no end of the line: a host
// that comes back says hello. It stays open for as long as the guest lives, because the kernel lets only one have it.
type port struct {
	fd    int
	sleep func(time.Duration)
}

// A guest without a host looks for one often at first, and then once a second: each look costs an emulated machine a
// part of its processor, and a lab whose process has died may stay so for long. A host says hello until it is heard.
const hostFirst, hostAtMost = 20 * time.Millisecond, time.Second

func openPort(path string) (*port, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &port{fd, time.Sleep}, nil
}

// waitHost waits until a host has the other end open. A port without one reports POLLHUP at once, so there is nothing
// to sleep on but time.
func (p *port) waitHost() error {
	for wait := hostFirst; ; wait = min(2*wait, hostAtMost) {
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN | unix.POLLOUT}}
		_, err := unix.Poll(fds, -1)
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return err
		case err == nil && fds[0].Revents&unix.POLLHUP == 0:
			return nil
		}
		p.sleep(wait)
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
