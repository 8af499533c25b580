package vnic

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"sluice/vnic/frame"
)

// mmsghdr is struct mmsghdr of sendmmsg(2), which x/sys/unix lacks.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// longSlot is the distance in bytes between the buffers of longFrames. It is an odd number of cache lines: with a power
// of two, the first line of every buffer would fall into the same set of the processor's caches.
const longSlot = (frame.Headroom+frame.MaxLen+63)/64*64 | 64

// longFrames is a batch of buffers for frames that no ring slot holds: mapped at the first such frame and not touched
// before they are used, so that a port without GSO costs nothing but addresses.
type longFrames struct {
	mem  []byte
	used int
	iov  unix.Iovec
	msg  [1]mmsghdr
}

// read takes the next frame from the socket's own queue. It never waits: the ring has said that the frame is there.
func (l *longFrames) read(fd int) (f frame.Frame, ok bool) {
	if l.mem == nil {
		const flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE
		mem, err := unix.Mmap(-1, 0, longSlot*frame.BatchSize, unix.PROT_READ|unix.PROT_WRITE, flags)
		if err != nil {
			return f, false
		}
		l.mem = mem
		l.msg[0].hdr.Iov = &l.iov
		l.msg[0].hdr.SetIovlen(1)
	}
	buf := l.mem[l.used*longSlot : (l.used+1)*longSlot : (l.used+1)*longSlot]
	l.iov.Base = &buf[frame.Headroom-frame.VnetLen]
	l.iov.SetLen(frame.VnetLen + frame.MaxLen)
	n, errno := mmsg(unix.SYS_RECVMMSG, fd, l.msg[:])
	if errno != 0 || n != 1 || l.msg[0].hdr.Flags&unix.MSG_TRUNC != 0 || l.msg[0].n < frame.VnetLen {
		return f, false
	}
	l.used++
	return frame.Frame{Buf: buf, Off: frame.Headroom, Len: int(l.msg[0].n) - frame.VnetLen}, true
}

func (l *longFrames) close() {
	if l.mem != nil {
		unix.Munmap(l.mem)
		l.mem = nil
	}
}

// txQueue is a batch of messages to send.
type txQueue struct {
	iovs [frame.BatchSize]unix.Iovec
	msgs [frame.BatchSize]mmsghdr
}

func (q *txQueue) init() {
	for i := range q.msgs {
		q.msgs[i].hdr.Iov = &q.iovs[i]
		q.msgs[i].hdr.SetIovlen(1)
	}
}

func (q *txQueue) load(frames []*frame.Frame) {
	for i, f := range frames {
		w := f.Wire()
		q.iovs[i].Base = &w[0]
		q.iovs[i].SetLen(len(w))
	}
}

// mmsg is sendmmsg or recvmmsg, without waiting.
func mmsg(call uintptr, fd int, msgs []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}
