// Package frame is the leaf that everything stands on: what one Ethernet frame looks like in memory, how it is parsed
// into a Key, and what may be said of it (Reason). It holds no sockets, no tables and no policy, and imports nothing of
// ours.
package frame

// PortID numbers a port of one switch, from 1. The zero PortID is nobody: the switch itself.
type PortID uint16

// SegmentID numbers a segment of one switch, from 1. The zero SegmentID is none.
type SegmentID uint16

// MAC is an Ethernet address.
type MAC [6]byte

const (
	// VnetLen is the length in bytes of the virtio_net_hdr before each frame (include/uapi/linux/virtio_net.h,
	// without num_buffers, as PACKET_VNET_HDR and IFF_VNET_HDR use it by default).
	VnetLen = 10
	// Headroom is how many bytes lie before the Ethernet header of every frame: the virtio_net_hdr, and room for an
	// outer Ethernet, IPv6, UDP and GENEVE header with options, so that steering needs no copy.
	Headroom = 128
	// MaxLen is the longest Ethernet frame in bytes that is carried: a GSO frame of 64 KiB of IP and its header.
	MaxLen = 65536 + 18
	// MinLen is the shortest Ethernet frame in bytes that is not dropped as short: one header.
	MinLen = 14
)

// Frame is one Ethernet frame in memory: [headroom | virtio_net_hdr | Ethernet], contiguous, so that one write sends
// it. Buf[Off] is the first byte of the Ethernet header; Off is at least VnetLen.
type Frame struct {
	Buf []byte
	Off int
	Len int
}

// Eth is the Ethernet frame.
func (f *Frame) Eth() []byte { return f.Buf[f.Off : f.Off+f.Len] }

// Vnet is the virtio_net_hdr.
func (f *Frame) Vnet() *Vnet { return (*Vnet)(f.Buf[f.Off-VnetLen : f.Off]) }

// Wire is the virtio_net_hdr with the Ethernet frame after it: what is written to a NIC with vnet headers.
func (f *Frame) Wire() []byte { return f.Buf[f.Off-VnetLen : f.Off+f.Len] }

// BatchSize is how many frames a NIC hands over at most in one call.
const BatchSize = 64

// Batch is what one read gives. Its frames are borrowed from the NIC until the next read from it; the reader may change
// their bytes.
type Batch struct {
	Frames [BatchSize]Frame
	N      int
	// Waited says that no frame was there when the reader asked for some: it had to wait, and was woken.
	Waited bool
}

// Offload says what a NIC takes without help. What is not in it must be finished by the sender.
type Offload uint8

// The offloads: the far end accepts frames whose L4 checksum is not filled in, and whole GSO frames of these kinds.
const (
	OffloadChecksum Offload = 1 << iota
	OffloadTSO4
	OffloadTSO6
	OffloadUSO
	OffloadNone Offload = 0
	OffloadAll          = OffloadChecksum | OffloadTSO4 | OffloadTSO6 | OffloadUSO
)
