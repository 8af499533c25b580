package agent

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// port is a virtio-serial port. Its reads end with EOF whenever no host is there, which is no end of the line: a host
// that comes back says hello. It stays open for as long as the guest lives, because the kernel lets only one have it.
type port struct {
	fd    int
	edges int // an epoll(7) that tells of changes only
}

func openPort(path string) (*port, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	edges, err := watchEdges(fd)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	return &port{fd, edges}, nil
}

// watchEdges makes an epoll that wakes whenever something changes at a port.
func watchEdges(fd int) (int, error) {
	edges, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return -1, err
	}
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLET}
	return edges, unix.EpollCtl(edges, unix.EPOLL_CTL_ADD, fd, &e)
}

// waitHost waits until a host has the other end open. A port without one reports POLLHUP at once, so poll(2) would not
// wait: it looks again whenever the port has changed. A guest whose lab has died costs nothing so.
func (p *port) waitHost() error {
	for {
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN | unix.POLLOUT}}
		_, err := unix.Poll(fds, 0)
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return err
		case err == nil && fds[0].Revents&unix.POLLHUP == 0:
			return nil
		}
		if _, err := unix.EpollWait(p.edges, make([]unix.EpollEvent, 1), -1); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
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
