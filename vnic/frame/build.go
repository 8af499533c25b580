package frame

import "encoding/binary"

// New is an empty frame of n zero bytes of Ethernet, with headroom: for the switch's own answers, and for tests.
func New(n int) *Frame {
	return &Frame{Buf: make([]byte, Headroom+n), Off: Headroom, Len: n}
}

// From is a frame with a copy of an Ethernet frame.
func From(eth []byte) *Frame {
	f := New(len(eth))
	copy(f.Eth(), eth)
	return f
}

// CopyFrom makes f a copy of src, virtio_net_hdr included, in f's own buffer, which grows where it must.
func (f *Frame) CopyFrom(src *Frame) {
	if len(f.Buf) < Headroom+src.Len {
		f.Buf = make([]byte, Headroom+src.Len)
	}
	f.Off, f.Len = Headroom, src.Len
	copy(f.Wire(), src.Wire())
}

// PutEth writes an Ethernet header.
func PutEth(b []byte, dst, src MAC, etherType uint16) {
	copy(b, dst[:])
	copy(b[6:], src[:])
	binary.BigEndian.PutUint16(b[12:], etherType)
}

// PutIPv4 writes an IPv4 header of 20 bytes, checksum included, for a packet of total bytes. It may not be fragmented.
func PutIPv4(b []byte, src, dst Addr, proto, ttl uint8, total int) {
	b[0], b[1] = 0x45, 0
	binary.BigEndian.PutUint16(b[2:], uint16(total))
	binary.BigEndian.PutUint32(b[4:], 0x4000) // identification 0, don't fragment
	b[8], b[9] = ttl, proto
	copy(b[12:], src[12:])
	copy(b[16:], dst[12:])
	SetIPv4Checksum(b)
}

// PutIPv6 writes an IPv6 header for a packet with payload bytes after it.
func PutIPv6(b []byte, src, dst Addr, next, hopLimit uint8, payload int) {
	binary.BigEndian.PutUint32(b, 6<<28)
	binary.BigEndian.PutUint16(b[4:], uint16(payload))
	b[6], b[7] = next, hopLimit
	copy(b[8:], src[:])
	copy(b[24:], dst[:])
}

// PutARP writes an ARP packet of 28 bytes for IPv4 over Ethernet (RFC 826).
func PutARP(b []byte, op uint16, sender MAC, senderIP Addr, target MAC, targetIP Addr) {
	binary.BigEndian.PutUint64(b, 0x0001080006040000|uint64(op))
	copy(b[8:], sender[:])
	copy(b[14:], senderIP[12:])
	copy(b[18:], target[:])
	copy(b[24:], targetIP[12:])
}

// LinkLocal is the IPv6 link-local address that follows from a MAC (RFC 4291 appendix A).
func LinkLocal(m MAC) Addr {
	return Addr{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]}
}
