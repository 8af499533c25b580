package vnic

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"sluice/vnic/frame"
)

// mmsghdr is struct mmsghdr of recvmmsg(2), which x/sys/unix lacks.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// slotSize is the distance in bytes between the buffers of a receive queue. It is an odd number of cache lines: with a power of
// two, the first line of every buffer would fall into the same set of the processor's caches.
const slotSize = (frame.Headroom+frame.MaxLen+63)/64*64 | 64

// rxQueue is a batch of receive buffers: memory of its own, mapped and not yet touched, so that an idle port costs
// nothing but addresses.
type rxQueue struct {
	mem   []byte
	iovs  [frame.BatchSize]unix.Iovec
	msgs  [frame.BatchSize]mmsghdr
	limit int
}

func (q *rxQueue) init() (err error) {
	q.mem, err = unix.Mmap(-1, 0, slotSize*frame.BatchSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return err
	}
	q.limit = frame.BatchSize
	for i := range q.msgs {
		q.iovs[i].Base = &q.slot(i)[frame.Headroom-frame.VnetLen]
		q.iovs[i].SetLen(frame.VnetLen + frame.MaxLen)
		q.msgs[i].hdr.Iov = &q.iovs[i]
		q.msgs[i].hdr.SetIovlen(1)
	}
	return nil
}

func (q *rxQueue) slot(i int) []byte { return q.mem[i*slotSize : (i+1)*slotSize : (i+1)*slotSize] }

func (q *rxQueue) free() {
	if q.mem != nil {
		unix.Munmap(q.mem)
		q.mem = nil
	}
}

// hand lends the first n messages to b, and says how many were left out because they did not fit.
func (q *rxQueue) hand(b *frame.Batch, n int) (cut int) {
	b.N = 0
	for i := range n {
		m := &q.msgs[i]
		if m.hdr.Flags&unix.MSG_TRUNC != 0 || m.n < frame.VnetLen {
			cut++
			continue
		}
		b.Frames[b.N] = frame.Frame{Buf: q.slot(i), Off: frame.Headroom, Len: int(m.n) - frame.VnetLen}
		b.N++
	}
	q.limit = nextLimit(b)
	return cut
}

// batchBytes is about how many bytes a batch should hold at most: what stays in a core's own cache until it is sent. A batch of 64
// GSO frames would be 4 MiB, and each byte would go to memory and back between the two copies that the kernel makes.
const batchBytes = 512 << 10

// nextLimit guesses from a batch how many frames the next should have.
func nextLimit(b *frame.Batch) int {
	total := 1
	for i := range b.N {
		total += b.Frames[i].Len
	}
	return min(max(b.N*batchBytes/total, 1), frame.BatchSize)
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

func recvmmsg(fd uintptr, msgs []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

func sendmmsg(fd int, msgs []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}
