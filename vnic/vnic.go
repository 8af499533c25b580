// Package vnic is how frames reach the switch: a NIC is one vNIC's card, whatever carries it. It makes and opens TAPs,
// veths, packet sockets and in-memory pipes. It does not look into frames beyond the virtio_net_hdr, and knows no
// port, segment or policy.
package vnic

import "sluice/vnic/frame"

// NIC carries one vNIC's frames between its guest and the switch. One goroutine reads; any number may write at once.
type NIC interface {
	// Name is the device's name, for messages.
	Name() string
	// Offloads says what the guest's side takes without help; WriteBatch finishes the rest itself.
	Offloads() frame.Offload
	// ReadBatch blocks until at least one frame is there, then takes what else is there without waiting. The frames
	// are borrowed until the next call. After Close it returns os.ErrClosed; any other error is final for this NIC.
	ReadBatch(*frame.Batch) error
	// WriteBatch hands the frames to the guest, in order. It is synchronous and keeps nothing. It never blocks: what
	// the guest's queue does not take is not sent. sent counts frames taken, and is less than len(frames) only where
	// the queue was full (err is nil then) or the NIC failed. It may not change the frames' bytes for later outputs.
	WriteBatch(frames []*frame.Frame) (sent int, err error)
	// Close ends a blocked ReadBatch. It may be called more than once.
	Close() error
}

// Dropper is what a NIC also is whose own queue can lose frames before ReadBatch sees them. Drops counts them since the
// NIC was opened, so that the books balance: what a guest sent is what was read and what was dropped here.
type Dropper interface {
	Drops() uint64
}
