package frame

import (
	"encoding/binary"
	"iter"
)

// Segmenter cuts a GSO frame into the packets that it stands for, each with whole checksums, for an output that does
// not take it as it is. It also finishes a frame that is a single packet, so that one loop serves both. The zero
// Segmenter is ready. It owns one packet's buffer and reuses it.
type Segmenter struct {
	out  Frame
	src  *Frame
	key  Key
	at   int // payload bytes already given
	size int // payload bytes in each packet
	n    uint16
}

// Split yields the packets of f, whose key is k and which Parse has accepted. A packet is borrowed until the next one.
// f is only read.
func (s *Segmenter) Split(f *Frame, k *Key) iter.Seq[*Frame] {
	return func(yield func(*Frame) bool) {
		s.reset(f, k)
		if !k.Has(KeyGSO) {
			yield(s.whole())
			return
		}
		for s.at < int(k.PayloadLen) {
			if !yield(s.next()) {
				return
			}
		}
	}
}

func (s *Segmenter) reset(f *Frame, k *Key) {
	s.src, s.key, s.at, s.n, s.size = f, *k, 0, 0, f.Len
	if k.Has(KeyGSO) {
		s.size = int(f.Vnet().GSOSize())
	}
	if need := Headroom + int(k.Payload) + s.size; len(s.out.Buf) < need {
		s.out.Buf = make([]byte, max(need, Headroom+2048))
	}
	s.out.Off = Headroom
}

// next makes the packet of the payload from s.at.
func (s *Segmenter) next() *Frame {
	src, head := s.src.Eth(), int(s.key.Payload)
	n := min(s.size, int(s.key.PayloadLen)-s.at)
	s.out.Len = head + n
	b := s.out.Eth()
	copy(b, src[:head])
	copy(b[head:], src[head+s.at:head+s.at+n])
	s.out.Vnet().Clear()
	s.fixL3(b)
	s.fixL4(b, s.at+n == int(s.key.PayloadLen))
	s.at += n
	s.n++
	return &s.out
}

// whole copies a frame that is one packet, and finishes its checksum.
func (s *Segmenter) whole() *Frame {
	s.out.Len = s.src.Len
	copy(s.out.Wire(), s.src.Wire())
	FinishChecksum(&s.out)
	s.out.Vnet().Clear()
	return &s.out
}

// fixL3 sets the length, and for IPv4 counts the identification up and sums the header, as Linux does
// (inet_gso_segment).
func (s *Segmenter) fixL3(b []byte) {
	ip := b[s.key.L3:]
	if s.key.Has(KeyIPv6) {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-40))
		return
	}
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	binary.BigEndian.PutUint16(ip[4:], binary.BigEndian.Uint16(ip[4:])+s.n)
	SetIPv4Checksum(ip)
}

// fixL4 sets what differs from packet to packet, and the whole checksum.
func (s *Segmenter) fixL4(b []byte, last bool) {
	l4 := b[s.key.L4:]
	sumAt := l4[checksumOffset(s.key.Proto):]
	if s.key.Proto == ProtoTCP {
		binary.BigEndian.PutUint32(l4[4:], s.key.Seq+uint32(s.at))
		if !last {
			l4[13] &^= TCPFin | TCPPsh
		}
		if s.n > 0 {
			l4[13] &^= tcpCWR // congestion window reduced is said once (RFC 3168 6.1.2)
		}
	} else {
		binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
	}
	sumAt[0], sumAt[1] = 0, 0
	c := L4Checksum(s.key.Src, s.key.Dst, s.key.Proto, l4)
	if c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(sumAt, c)
}

const tcpCWR = 1 << 7

// OpenGSO makes a long TCP packet stand for packets of size bytes of payload each, as a sender with offloads would hand
// it over. k is the frame's key, which is to be parsed anew.
func OpenGSO(f *Frame, k *Key, size int) {
	v, b := f.Vnet(), f.Eth()
	kind := uint8(GSOTCPv4)
	if k.Has(KeyIPv6) {
		kind = GSOTCPv6
	}
	f.Len = int(k.L3) + int(k.L3Len) // without what padded it
	v.Clear()
	v.SetGSO(kind, size, int(k.Payload))
	v.SetChecksum(int(k.L4), checksumOffset(ProtoTCP))
	sum := ^fold(pseudo(k.Src, k.Dst, ProtoTCP, int(k.Payload-k.L4)+int(k.PayloadLen)))
	binary.BigEndian.PutUint16(b[int(k.L4)+checksumOffset(ProtoTCP):], sum)
}
