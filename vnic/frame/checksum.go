package frame

import (
	"encoding/binary"
	"math/bits"
)

// sum adds b, as big-endian 16-bit words, to a ones' complement sum (RFC 1071). It adds eight bytes at a time: the sum
// does not depend on the width of the words, only the last fold does.
func sum(b []byte, acc uint64) uint64 {
	var carry uint64
	for len(b) >= 32 {
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b), carry)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b[8:]), carry)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b[16:]), carry)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b[24:]), carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b), carry)
		b = b[8:]
	}
	if len(b) > 0 {
		var tail [8]byte
		copy(tail[:], b)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(tail[:]), carry)
	}
	acc, carry = bits.Add64(acc, 0, carry)
	return acc + carry
}

// fold makes the 16-bit checksum of a sum.
func fold(acc uint64) uint16 {
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	return ^uint16(acc)
}

// Checksum is the internet checksum of b (RFC 1071).
func Checksum(b []byte) uint16 { return fold(sum(b, 0)) }

// L4Checksum is the checksum of an L4 packet (header and payload, its checksum field zero) with the pseudo-header of
// IPv4 (RFC 9293 3.1, RFC 768) or IPv6 (RFC 8200 8.1). ICMP over IPv4 has no pseudo-header: use Checksum. The caller of
// UDP sends 0xffff for 0.
func L4Checksum(src, dst Addr, proto uint8, l4 []byte) uint16 {
	return fold(sum(l4, pseudo(src, dst, proto, len(l4))))
}

// pseudo is the sum of a pseudo-header. The prefix of a mapped IPv4 address adds 0xffff, which is zero in ones'
// complement, twice; so one formula serves both families.
func pseudo(src, dst Addr, proto uint8, length int) uint64 {
	return sum(dst[:], sum(src[:], uint64(length)+uint64(proto)))
}

// headerHolds says whether the checksum of an IPv4 header, of 20 bytes or more, is right (RFC 1812 5.2.2). Every frame
// comes by here.
func headerHolds(h []byte) bool {
	s := uint64(binary.BigEndian.Uint32(h)) + uint64(binary.BigEndian.Uint32(h[4:])) + uint64(binary.BigEndian.Uint32(h[8:])) +
		uint64(binary.BigEndian.Uint32(h[12:])) + uint64(binary.BigEndian.Uint32(h[16:]))
	for h = h[20:]; len(h) >= 4; h = h[4:] {
		s += uint64(binary.BigEndian.Uint32(h))
	}
	return fold(s) == 0
}

// L4Holds says whether the checksum of a packet's TCP, UDP, ICMP or ICMPv6 is right, as far as it can be known. eth is
// the frame that k was parsed from. It says yes of what has no such checksum: a fragment, another protocol, UDP whose
// sender left it out (for IPv6, too: a router does not ask), what the virtio_net_hdr speaks of (KeySummed), and what is
// not in eth. It sums up what the IP header says is there, as Linux's conntrack does.
func L4Holds(eth []byte, k *Key) bool {
	end := int(k.L3) + int(k.L3Len)
	if k.Flags&(KeyL4|KeySummed|KeyFragment) != KeyL4 || len(eth) < end || int(k.L4)+8 > end {
		return true
	}
	l4 := eth[k.L4:end]
	switch {
	case k.Proto == ProtoICMP:
		return Checksum(l4) == 0
	case k.Proto == ProtoUDP && l4[6]|l4[7] == 0:
		return true
	}
	return L4Checksum(k.Src, k.Dst, k.Proto, l4) == 0
}

// SetL4Checksum writes the checksum of an L4 packet; of a protocol that has none that we know, nothing.
func SetL4Checksum(l4 []byte, src, dst Addr, proto uint8) {
	at := checksumOffset(proto)
	if at < 0 {
		return
	}
	l4[at], l4[at+1] = 0, 0
	c := L4Checksum(src, dst, proto, l4)
	if proto == ProtoICMP {
		c = Checksum(l4)
	}
	if c == 0 && proto == ProtoUDP {
		c = 0xffff // 0 says that there is none (RFC 768)
	}
	binary.BigEndian.PutUint16(l4[at:], c)
}

// SetIPv4Checksum writes the checksum of the IPv4 header that begins at ip and has its length field (IHL) filled in.
func SetIPv4Checksum(ip []byte) {
	h := ip[:int(ip[0]&15)*4]
	h[10], h[11] = 0, 0
	binary.BigEndian.PutUint16(h[10:], Checksum(h))
}

// UpdateChecksum is checksum check after one 16-bit word of what it covers went from old to new (RFC 1624, equation 3).
func UpdateChecksum(check, old, new uint16) uint16 {
	s := uint32(^check) + uint32(^old) + uint32(new)
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return ^uint16(s)
}

// FinishChecksum does what the virtio_net_hdr asks for, and clears the request: it fills in the L4 checksum of a frame
// whose sender left it open. The header must have passed Parse. A GSO frame needs a Segmenter instead.
func FinishChecksum(f *Frame) {
	v := f.Vnet()
	if v.Flags()&VnetNeedsCsum == 0 {
		return
	}
	l4 := f.Eth()[v.CsumStart():]
	c := Checksum(l4)
	if c == 0 {
		c = 0xffff // for UDP, 0 means that there is no checksum (RFC 768); the two are equal for everybody else
	}
	binary.BigEndian.PutUint16(l4[v.CsumOffset():], c)
	v.Clear()
}

// DecTTL takes one from the TTL or hop limit of a frame, and mends the IPv4 header's checksum. k is the frame's key,
// and its TTL is more than one.
func DecTTL(f *Frame, k *Key) {
	ip := f.Eth()[k.L3:]
	k.TTL--
	if k.Has(KeyIPv6) {
		ip[7] = k.TTL
		return
	}
	old := binary.BigEndian.Uint16(ip[8:])
	ip[8] = k.TTL
	check := binary.BigEndian.Uint16(ip[10:])
	binary.BigEndian.PutUint16(ip[10:], UpdateChecksum(check, old, binary.BigEndian.Uint16(ip[8:])))
}
