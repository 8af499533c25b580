package bench

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// burst is how many frames are sent or received between two looks at the clock.
const burst = 32

// end is the guest's end of a vNIC as the player holds it: the TAP's own descriptor, one frame a call, as QEMU has it;
// or a packet socket on a veth, many frames a call. It is non-blocking and used by one thread for each direction.
type end struct {
	fd  int
	tap bool
	out []mmsghdr
	in  []mmsghdr
	iov [2 * burst]unix.Iovec
}

// mmsghdr is struct mmsghdr of recvmmsg(2) on 64-bit Linux.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

func newEnd(fd int, tap bool) (*end, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("make descriptor %d non-blocking: %w", fd, err)
	}
	e := &end{fd: fd, tap: tap, out: make([]mmsghdr, burst), in: make([]mmsghdr, burst)}
	for i := range burst {
		e.out[i].hdr.Iov, e.out[i].hdr.Iovlen = &e.iov[i], 1
		e.in[i].hdr.Iov, e.in[i].hdr.Iovlen = &e.iov[burst+i], 1
	}
	return e, nil
}

// buffers are for receiving frames of a size. There is room beyond it, so that a frame that is too long shows. They lie
// close together: each in a page of its own would fall into the same lines of the processor's cache.
func buffers(size int) [][]byte {
	room := (vnetLen+size+127)/64*64 | 64
	mem, out := make([]byte, burst*room), make([][]byte, burst)
	for i := range out {
		out[i] = mem[i*room : (i+1)*room : (i+1)*room]
	}
	return out
}

// The calls below go past Go's scheduler (RawSyscall), as they never block: an entry and exit of the scheduler for
// each frame would be measured as if the switch had spent it.

// send sends frames, each with its virtio_net_hdr before it, and says how many the kernel took.
func (e *end) send(frames [][]byte) (int, error) {
	if !e.tap {
		return e.sendPackets(frames)
	}
	for i, f := range frames {
		_, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(e.fd), uintptr(unsafe.Pointer(&f[0])), uintptr(len(f)))
		if errno != 0 && !full(errno) {
			return i, fmt.Errorf("write to the TAP: %w", errno)
		} else if errno != 0 {
			return i, nil
		}
	}
	return len(frames), nil
}

func (e *end) sendPackets(frames [][]byte) (int, error) {
	for i, f := range frames {
		e.iov[i].Base = &f[vnetLen]
		e.iov[i].SetLen(len(f) - vnetLen)
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(e.fd), uintptr(unsafe.Pointer(&e.out[0])),
		uintptr(len(frames)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 && !full(errno) {
		return 0, fmt.Errorf("send to the veth: %w", errno)
	} else if errno != 0 {
		return 0, nil
	}
	return int(n), nil
}

// receive takes what is there, without waiting: got[i] becomes frame i's part of into[i], with a virtio_net_hdr before
// it (of zeros from a packet socket).
func (e *end) receive(into, got [][]byte) (int, error) {
	if !e.tap {
		return e.receivePackets(into, got)
	}
	for i, buf := range into {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(e.fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
		if errno != 0 && !full(errno) {
			return i, fmt.Errorf("read from the TAP: %w", errno)
		} else if errno != 0 {
			return i, nil
		}
		got[i] = buf[:n]
	}
	return len(into), nil
}

func (e *end) receivePackets(into, got [][]byte) (int, error) {
	for i, buf := range into {
		e.iov[burst+i].Base = &buf[vnetLen]
		e.iov[burst+i].SetLen(len(buf) - vnetLen)
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(e.fd), uintptr(unsafe.Pointer(&e.in[0])),
		uintptr(len(into)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 && !full(errno) {
		return 0, fmt.Errorf("receive from the veth: %w", errno)
	} else if errno != 0 {
		return 0, nil
	}
	for i := range int(n) {
		got[i] = into[i][:vnetLen+int(e.in[i].len)]
	}
	return int(n), nil
}

// full says that the kernel has no room, or no frame, at this moment.
func full(errno unix.Errno) bool {
	return errno == unix.EAGAIN || errno == unix.ENOBUFS || errno == unix.EINTR
}

// wait waits until a frame is there, at most ms milliseconds.
func (e *end) wait(ms int) error {
	fds := []unix.PollFd{{Fd: int32(e.fd), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds, ms); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for a frame: %w", err)
	}
	return nil
}
