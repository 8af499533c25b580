package vnic

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// waiter waits for a descriptor without Go's poller. The poller keeps a descriptor registered as long as it is open, so
// each frame would wake a thread, at the sender's expense, even while the reader is busy and does not wait: a third of
// the frame rate. Here nobody listens while the reader works. The price is a sleeping thread for each idle port.
type waiter struct{ fd, bell, device int } // device tells only of faults, and may be -1 for none

func newWaiter(fd int) (waiter, error) {
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return waiter{fd, -1, -1}, fmt.Errorf("make eventfd: %w", err)
	}
	return waiter{fd, bell, -1}, nil
}

// wait returns once the descriptor is readable, or broken, or somebody rang.
func (w *waiter) wait() (broken bool, err error) {
	fds := [...]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}, {Fd: int32(w.bell), Events: unix.POLLIN}, {Fd: int32(w.device)}}
	if _, err := unix.Poll(fds[:], -1); err != nil && err != unix.EINTR {
		return false, fmt.Errorf("wait for a frame: %w", err)
	}
	if fds[1].Revents != 0 {
		var count [8]byte
		unix.Read(w.bell, count[:])
	}
	return fds[0].Revents&^unix.POLLIN != 0 || fds[2].Revents != 0, nil
}

// ring ends a wait, or the next one.
func (w *waiter) ring() { unix.Write(w.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

func (w *waiter) close() { unix.Close(w.bell) }
