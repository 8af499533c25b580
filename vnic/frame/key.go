package frame

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// Addr is an IP address as the forwarding loop compares it: 16 bytes, IPv4 as ::ffff:a.b.c.d (RFC 4291 2.5.5.2).
type Addr [16]byte

// AddrFrom converts a netip.Addr. The zone is dropped.
func AddrFrom(a netip.Addr) Addr { return a.As16() }

// IP converts back; an IPv4-mapped address becomes IPv4.
func (a Addr) IP() netip.Addr { return netip.AddrFrom16(a).Unmap() }

// Uint64s is an address as two numbers, which compare as the address does.
func (a *Addr) Uint64s() (high, low uint64) {
	return binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])
}

// AddrOf is the address that is two numbers.
func AddrOf(high, low uint64) (a Addr) {
	binary.BigEndian.PutUint64(a[:8], high)
	binary.BigEndian.PutUint64(a[8:], low)
	return a
}

// Compare orders addresses: all of IPv4 stand together.
func (a Addr) Compare(b Addr) int { return bytes.Compare(a[:], b[:]) }

// Next is the next address; after the last one comes the first.
func (a Addr) Next() Addr {
	for i := len(a) - 1; i >= 0; i-- {
		a[i]++
		if a[i] != 0 {
			break
		}
	}
	return a
}

// Prev is the previous address.
func (a Addr) Prev() Addr {
	for i := len(a) - 1; i >= 0; i-- {
		a[i]--
		if a[i] != 0xff {
			break
		}
	}
	return a
}

// KeyFlag is what Parse found beyond the addresses.
type KeyFlag uint16

// The flags of a Key.
const (
	KeyIPv4     KeyFlag = 1 << iota // L3 is IPv4 (RFC 791)
	KeyIPv6                         // L3 is IPv6 (RFC 8200)
	KeyARP                          // an ARP packet for IPv4 over Ethernet (RFC 826); Src and Dst are sender and target
	KeyFragment                     // part of a fragmented packet
	KeyLater                        // not the first fragment: there is no L4 header
	KeyL4                           // the L4 header is there and whole, and its fields are filled in
	KeyGroup                        // the destination MAC is a group address
	KeyGSO                          // more than one packet of L4 payload in one frame
	KeySummed                       // the virtio_net_hdr says that there is no L4 checksum to look at: it is still to be made, or was verified
)

// EtherTypes (IEEE 802 numbers), IP protocols (IANA) and TCP flags (RFC 9293) that the project looks at.
const (
	EtherIPv4 = 0x0800
	EtherARP  = 0x0806
	EtherIPv6 = 0x86dd
	EtherVLAN = 0x8100 // IEEE 802.1Q, and two for an outer tag of 802.1ad

	etherService, etherOldService = 0x88a8, 0x9100

	ProtoICMP   = 1
	ProtoIGMP   = 2
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoICMPv6 = 58

	TCPFin = 1 << 0
	TCPSyn = 1 << 1
	TCPRst = 1 << 2
	TCPPsh = 1 << 3
	TCPAck = 1 << 4
	TCPUrg = 1 << 5
)

// Key is what Parse reads from a frame, once; everything after it looks here. Offsets are from the start of the
// Ethernet header; lengths are in bytes.
type Key struct {
	Src, Dst Addr // IP, or ARP's protocol addresses

	SrcMAC, DstMAC MAC
	EtherType      uint16

	SrcPort, DstPort uint16 // TCP and UDP; for ICMP echo both are the identifier; else 0
	Proto            uint8  // of the last header; ICMP, ICMPv6, TCP, UDP or whatever it says
	TTL              uint8  // or hop limit
	TOS              uint8  // or traffic class
	ICMPType         uint8
	ICMPCode         uint8
	TCPFlags         uint8
	ARPOp            uint8 // 1 request, 2 reply

	Flags KeyFlag

	L3, L4, Payload uint16 // offsets; Payload is where L4's payload starts
	L3Len           uint32 // whole IP packet, header included, as its own length field says (or the frame, for GSO frames)
	PayloadLen      uint32 // L4 payload

	Seq, Ack uint32 // TCP
	Window   uint16 // TCP, unscaled
}

// Has says whether all the flags in want are set.
func (k *Key) Has(want KeyFlag) bool { return k.Flags&want == want }
