package vnic

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"sluice/vnic/frame"
)

// A ring is memory shared with the kernel (packet_mmap, TPACKET_V2) into which it copies each frame as it comes, so
// that a short frame costs the switch no system call. A slot holds a frame of the usual MTU; a longer one goes by the
// socket's own queue as well, and its slot says so, which keeps the order. Slots for 64 KiB would be 30 times the
// memory, and pinned.
//
// A slot is: tpacket2_hdr | room | virtio_net_hdr | Ethernet.
const (
	ringSlot  = 2048
	ringBlock = 64 << 10
	// ringSlots is how many short frames may wait: what comes in 4 ms at 500,000 a second, while the reader's thread
	// waits for a processor. That is 4 MiB that nobody else can use. So where there are more than manyRings, the others
	// get ringLeast slots, which is 1 MiB; and so they do where the kernel has no more.
	ringSlots = 2048
	ringLeast = 512
	manyRings = 64
	// ringReserve is what the kernel leaves free before a frame so that frame.Headroom bytes lie before its Ethernet
	// header, none of them in the part of the slot that the two sides talk through.
	ringReserve = 96
)

// openRings is how many rings this process has.
var openRings atomic.Int32

type ring struct {
	mem   []byte
	slots int
	head  int // the slot that the kernel fills next
	lent  int // slots before head that a reader has borrowed
}

// open gives a packet socket its ring. The socket has PACKET_VNET_HDR already, and is not bound yet.
func (r *ring) open(fd int) error {
	for _, o := range []struct {
		what        string
		name, value int
	}{
		{"ring version", unix.PACKET_VERSION, unix.TPACKET_V2},
		{"ring headroom", unix.PACKET_RESERVE, ringReserve},
		{"queue for long frames", unix.PACKET_COPY_THRESH, 1}, // any number but 0: what is longer than a slot
	} {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, o.name, o.value); err != nil {
			return fmt.Errorf("set %s: %w", o.what, err)
		}
	}
	r.slots = ringSlots
	if openRings.Load() >= manyRings {
		r.slots = ringLeast
	}
	err := r.allocate(fd)
	if err == unix.ENOMEM {
		r.slots = ringLeast
		err = r.allocate(fd)
	}
	if err == nil {
		r.mem, err = unix.Mmap(fd, 0, r.slots*ringSlot, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		return fmt.Errorf("make ring: %w", err)
	}
	openRings.Add(1)
	return nil
}

func (r *ring) allocate(fd int) error {
	return unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq{
		Block_size: ringBlock, Block_nr: uint32(r.slots * ringSlot / ringBlock),
		Frame_size: ringSlot, Frame_nr: uint32(r.slots),
	})
}

// renew makes the ring anew on the same socket. Nothing of it may be borrowed.
func (r *ring) renew(fd int) error {
	if err := r.end(fd); err != nil {
		return err
	}
	return r.open(fd)
}

// end takes the ring from its socket. Nothing of it may be borrowed.
func (r *ring) end(fd int) error {
	r.close()
	if err := unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq{}); err != nil {
		return fmt.Errorf("end ring: %w", err)
	}
	return nil
}

func (r *ring) close() {
	if r.mem != nil {
		unix.Munmap(r.mem)
		openRings.Add(-1)
	}
	*r = ring{}
}

// waiting says whether a frame is there.
func (r *ring) waiting() bool {
	return atomic.LoadUint32(&r.header(r.head).Status)&unix.TP_STATUS_USER != 0
}

func (r *ring) header(slot int) *unix.Tpacket2Hdr {
	return (*unix.Tpacket2Hdr)(unsafe.Pointer(&r.mem[slot*ringSlot]))
}

// next is the header of the next filled slot, or nil. The slot is borrowed from then on.
func (r *ring) next() (h *unix.Tpacket2Hdr, slot []byte) {
	if !r.waiting() {
		return nil, nil
	}
	h = r.header(r.head)
	at := r.head * ringSlot
	r.head = (r.head + 1) % r.slots
	r.lent++
	return h, r.mem[at : at+ringSlot : at+ringSlot]
}

// giveBack returns what was borrowed to the kernel.
func (r *ring) giveBack() {
	for ; r.lent > 0; r.lent-- {
		slot := (r.head - r.lent + r.slots) % r.slots
		atomic.StoreUint32(&r.header(slot).Status, unix.TP_STATUS_KERNEL)
	}
}

// receiver reads one packet socket in batches.
type receiver struct {
	ring ring
	long longFrames
}

// batchBytes is about how many bytes a batch holds at most: what stays in a core's own cache until it is sent. A batch
// of 64 GSO frames would be 4 MiB, and each byte would go to memory and back between the two copies that the kernel
// makes.
const batchBytes = 512 << 10

// take fills b with what is there, after giving the last batch back. lost counts frames that came and cannot be read.
func (r *receiver) take(fd int, b *frame.Batch) (lost int) {
	r.ring.giveBack()
	r.long.used = 0
	b.N = 0
	for bytes := 0; b.N < frame.BatchSize && bytes < batchBytes; {
		h, slot := r.ring.next()
		if h == nil {
			break
		}
		f, ok := r.frame(fd, h, slot)
		if !ok {
			lost++
			continue
		}
		b.Frames[b.N] = f
		b.N++
		bytes += f.Len
	}
	return lost
}

// frame is the frame in a slot.
func (r *receiver) frame(fd int, h *unix.Tpacket2Hdr, slot []byte) (f frame.Frame, ok bool) {
	if h.Status&unix.TP_STATUS_COPY != 0 {
		f, ok = r.long.read(fd) // even where it is not taken: the next slot's frame is behind it
	} else if h.Snaplen == h.Len {
		f, ok = frame.Frame{Buf: slot[int(h.Mac)-frame.Headroom:], Off: frame.Headroom, Len: int(h.Len)}, true
	}
	if ok && h.Status&unix.TP_STATUS_VLAN_VALID != 0 {
		f, ok = tagged(f, h)
	}
	return f, ok
}

// tagged puts back the VLAN tag that the kernel has taken off a frame: without it the frame would be another.
func tagged(f frame.Frame, h *unix.Tpacket2Hdr) (frame.Frame, bool) {
	const macs, tag = 12, 4
	if f.Len < macs || f.Len+tag > frame.MaxLen {
		return f, false
	}
	proto := uint16(frame.EtherVLAN)
	if h.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		proto = h.Vlan_tpid
	}
	from := f.Off - frame.VnetLen
	copy(f.Buf[from-tag:], f.Buf[from:f.Off+macs])
	f.Off, f.Len = f.Off-tag, f.Len+tag
	binary.BigEndian.PutUint16(f.Buf[f.Off+macs:], proto)
	binary.BigEndian.PutUint16(f.Buf[f.Off+macs+2:], h.Vlan_tci)
	return f, true
}

func (r *receiver) close() {
	r.ring.close()
	r.long.close()
}
