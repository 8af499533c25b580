package frame

import "encoding/binary"

// Vnet is a virtio_net_hdr, little-endian on the wire of every machine Sluice runs on (virtio 1.0; for packet sockets
// and TAPs the host's order).
type Vnet [VnetLen]byte

// VnetNeedsCsum in Flags says that the L4 checksum field holds only the sum of the pseudo-header, and that whoever
// needs the whole sum must finish it (VIRTIO_NET_HDR_F_NEEDS_CSUM, include/uapi/linux/virtio_net.h).
const VnetNeedsCsum = 1

// VnetDataValid in Flags says that the host's kernel knows the L4 checksum to be right (VIRTIO_NET_HDR_F_DATA_VALID). A
// guest cannot say it: the kernel passes over the flag in what a guest sends.
const VnetDataValid = 2

// The values of GSOType (include/uapi/linux/virtio_net.h). GSOECN is a bit beside the TCP types.
const (
	GSONone  = 0
	GSOTCPv4 = 1
	GSOTCPv6 = 4
	GSOUDPL4 = 5
	GSOECN   = 0x80
)

const (
	// minTCPGSOSize is the least bytes of payload in each packet of a TCP GSO frame: Linux's TCP_MIN_GSO_SIZE. UDP's
	// may have one byte.
	minTCPGSOSize = 8
	// maxSegments bounds how many packets one frame may become. It is the most that Linux makes of 64 KiB with its
	// smallest MSS (48 bytes with 12 of options), rounded up; without it one frame of a hostile guest costs 8,000
	// writes.
	maxSegments = 2048
)

// Flags is the header's flags.
func (v *Vnet) Flags() uint8 { return v[0] }

// GSOType is one of the GSO constants, GSOECN removed.
func (v *Vnet) GSOType() uint8 { return v[1] &^ GSOECN }

// HdrLen is the sender's hint how many bytes of headers there are. It is never relied on.
func (v *Vnet) HdrLen() uint16 { return binary.LittleEndian.Uint16(v[2:]) }

// GSOSize is how many bytes of L4 payload each packet of a GSO frame carries.
func (v *Vnet) GSOSize() uint16 { return binary.LittleEndian.Uint16(v[4:]) }

// CsumStart is the offset from the start of the Ethernet header at which the checksum begins to count.
func (v *Vnet) CsumStart() uint16 { return binary.LittleEndian.Uint16(v[6:]) }

// CsumOffset is where the checksum is stored, counted from CsumStart.
func (v *Vnet) CsumOffset() uint16 { return binary.LittleEndian.Uint16(v[8:]) }

// Clear says that the frame is finished: checksums are whole and it is one packet.
func (v *Vnet) Clear() { *v = Vnet{} }

// SetChecksum asks that the checksum from start be finished and stored at start+offset.
func (v *Vnet) SetChecksum(start, offset int) {
	v[0] |= VnetNeedsCsum
	binary.LittleEndian.PutUint16(v[6:], uint16(start))
	binary.LittleEndian.PutUint16(v[8:], uint16(offset))
}

// SetGSO says that the frame is many packets of size bytes of payload each, after hdrLen bytes of headers.
func (v *Vnet) SetGSO(kind uint8, size, hdrLen int) {
	v[1] = kind
	binary.LittleEndian.PutUint16(v[2:], uint16(hdrLen))
	binary.LittleEndian.PutUint16(v[4:], uint16(size))
}

// Plain says that there is nothing to finish, so that nothing in the header can contradict the frame.
func (v *Vnet) Plain() bool { return v[0]&VnetNeedsCsum|v[1] == 0 }

// Validate says whether the header may be believed for the Ethernet frame eth that Parse has read into k.
//
// A sum that is finished later is a write into a frame that the firewall has already judged. So it may be stored only
// in the L4 header's own checksum field, or within the payload of what a guest's tunnel uses (TCP is not).
func (v *Vnet) Validate(eth []byte, k *Key) bool {
	if v.Plain() {
		return true
	}
	start, end := int(v.CsumStart()), int(v.CsumStart())+int(v.CsumOffset())+2
	own := v.Flags()&VnetNeedsCsum != 0 && k.Has(KeyL4) && start == int(k.L4) && int(v.CsumOffset()) == checksumOffset(k.Proto)
	if v.GSOType() == GSONone {
		inner := k.Proto != ProtoTCP && k.Payload != 0 && start >= int(k.Payload)
		return own || inner && v[1] == 0 && end <= len(eth)
	}
	var kind bool
	switch v.GSOType() {
	case GSOTCPv4:
		kind = k.Has(KeyIPv4) && k.Proto == ProtoTCP
	case GSOTCPv6:
		kind = k.Has(KeyIPv6) && k.Proto == ProtoTCP
	case GSOUDPL4:
		kind = k.Proto == ProtoUDP
	}
	size, least := int(v.GSOSize()), minTCPGSOSize
	if v.GSOType() == GSOUDPL4 {
		least = 1
	}
	return kind && own && !k.Has(KeyFragment) &&
		int(v.HdrLen()) <= len(eth) && int(k.L3)+int(k.L3Len) == len(eth) &&
		size >= least && int(k.PayloadLen) <= size*maxSegments
}

// checksumOffset is where the checksum lies in a protocol's header, or -1 where it is not one that a sender leaves
// open.
func checksumOffset(proto uint8) int {
	switch proto {
	case ProtoTCP:
		return 16
	case ProtoUDP:
		return 6
	case ProtoICMP, ProtoICMPv6:
		return 2
	}
	return -1
}
