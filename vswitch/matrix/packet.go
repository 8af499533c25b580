package matrix

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sluice/vnic/frame"
)

// odd is a packet of the matrix in the making: a right one from client to server by the gateway, and what a case makes
// of it.
type odd struct {
	v6           bool
	number       uint16 // of the case: the source port, or an echo's identifier
	dmac, smac   frame.MAC
	src, dst     netip.Addr
	ttl, proto   uint8
	fragment     uint16 // IPv4: flags and offset; where it is not 0, so is the identification
	mayCut       bool   // IPv4: without "don't fragment"
	options      []byte // of the IPv4 header; a whole number of words
	chain        []exthdr
	l4           []byte
	version, ihl uint8 // instead of what is right
	length       int   // more than is there, or less
	ipSum, l4Sum sumKind
	trailer      int
	cut          int // bytes less at the end
	tag          []byte
}

// exthdr is a header before what an IPv6 packet carries; its first byte is filled in.
type exthdr struct {
	kind uint8
	b    []byte
}

type sumKind uint8

const (
	right sumKind = iota
	wrong
	none
)

func (o *odd) clone() odd {
	c := *o
	c.l4, c.options, c.chain = bytes.Clone(o.l4), bytes.Clone(o.options), slices.Clone(o.chain)
	return c
}

// ip is the packet from its IP header on, without what pads it.
func (o *odd) ip() []byte {
	src, dst := frame.AddrFrom(o.src), frame.AddrFrom(o.dst)
	l4 := bytes.Clone(o.l4)
	if len(l4) >= sumAt(o.proto)+2 && o.fragment&0x1fff == 0 {
		switch frame.SetL4Checksum(l4, src, dst, o.proto); o.l4Sum {
		case wrong:
			l4[sumAt(o.proto)] ^= 0x55
		case none:
			l4[sumAt(o.proto)], l4[sumAt(o.proto)+1] = 0, 0
		}
	}
	if o.v6 {
		return o.ip6(src, dst, l4)
	}
	b := make([]byte, 20, 20+len(o.options)+len(l4))
	b = append(append(b, o.options...), l4...)
	frame.PutIPv4(b, src, dst, o.proto, o.ttl, len(b)+o.length)
	if o.fragment != 0 {
		binary.BigEndian.PutUint16(b[4:], o.number)
		binary.BigEndian.PutUint16(b[6:], o.fragment)
	}
	if o.mayCut {
		b[6] &^= 0x40
	}
	b[0] = 0x40 | byte(5+len(o.options)/4)
	frame.SetIPv4Checksum(b)
	if o.version != 0 || o.ihl != 0 {
		b[0] = cmpOr(o.version, 4)<<4 | cmpOr(o.ihl, b[0]&15)
	}
	if o.ipSum == wrong {
		b[10] ^= 0x55
	}
	return b
}

func (o *odd) ip6(src, dst frame.Addr, l4 []byte) []byte {
	b := make([]byte, 40)
	next := o.proto
	var chain []byte
	for i := len(o.chain) - 1; i >= 0; i-- {
		h := bytes.Clone(o.chain[i].b)
		if h[0] = next; o.chain[i].kind == 44 {
			binary.BigEndian.PutUint32(h[4:], uint32(o.number)) // the identification
		}
		chain, next = append(h, chain...), o.chain[i].kind
	}
	b = append(append(b, chain...), l4...)
	frame.PutIPv6(b, src, dst, next, o.ttl, len(b)-40+o.length)
	if o.version != 0 {
		b[0] = o.version << 4
	}
	return b
}

func cmpOr(a, b uint8) uint8 {
	if a != 0 {
		return a
	}
	return b
}

func sumAt(proto uint8) int {
	return map[uint8]int{frame.ProtoTCP: 16, frame.ProtoUDP: 6, frame.ProtoICMP: 2, frame.ProtoICMPv6: 2}[proto]
}

// eth is the frame.
func (o *odd) eth() []byte {
	b := make([]byte, 12, 1600)
	copy(b, o.dmac[:])
	copy(b[6:], o.smac[:])
	kind := []byte{8, 0}
	if o.v6 {
		kind = []byte{0x86, 0xdd}
	}
	b = slices.Concat(b, o.tag, kind, o.ip())
	b = append(b, bytes.Repeat([]byte{0xa5}, o.trailer)...)
	return b[:len(b)-o.cut]
}

// cameOf is what came of a case, in words that do not depend on who did it: what reached whom.
type cameOf struct{ near, far []string }

func (o *cameOf) String() string {
	slices.Sort(o.near)
	var all []string
	all = append(all, slices.Compact(o.near)...)
	slices.Sort(o.far)
	for _, f := range slices.Compact(o.far) {
		if f == "same" {
			f = "pass"
		} else {
			f = "far " + f
		}
		all = append(all, f)
	}
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, ", ")
}

// add takes a frame that came out at one side. sent are the frames of the case that are judged.
func (o *cameOf) add(eth []byte, far bool, sent [][]byte) {
	word := describeOut(eth, sent)
	switch {
	case word == "":
	case far:
		o.far = append(o.far, word)
	default:
		o.near = append(o.near, word)
	}
}

// addAll takes what came out at the far side of a frame that stands for packets, which are to be all and in order. It
// gives what else came.
func (o *cameOf) addAll(came, stands [][]byte) (rest [][]byte) {
	n := 0
	for _, eth := range came {
		if n < len(stands) && samePacket(eth, stands[n]) {
			n++
		} else {
			rest = append(rest, eth)
		}
	}
	switch n {
	case 0:
	case len(stands):
		o.far = append(o.far, "same")
	default:
		o.far = append(o.far, fmt.Sprintf("%d of %d packets", n, len(stands)))
	}
	return rest
}

// samePacket says that an Ethernet frame carries the packet that was sent in another.
func samePacket(eth, sent []byte) bool {
	switch {
	case len(eth) != len(sent) || !bytes.Equal(eth[12:14], sent[12:14]):
		return false
	case eth[12] == 8:
		return sameAs(eth[14:], sent, []int{8, 10, 11}, 12, 20) == "same"
	}
	return sameAs(eth[14:], sent, []int{7}, 8, 40) == "same"
}

// describeOut says in a word what a frame is; empty is what has nothing to do with the case.
func describeOut(eth []byte, sent [][]byte) string {
	if len(eth) < 34 {
		return "short"
	}
	ip := eth[14:]
	switch {
	case bytes.Equal(eth[12:14], []byte{8, 6}):
		if ip[7] == 1 && bytes.Contains(bytes.Join(sent, nil), ip[24:28]) && !bytes.Equal(ip[14:18], ip[24:28]) {
			return "asks"
		}
		if ip[7] == 2 {
			return "arp reply"
		}
		return ""
	case bytes.Equal(eth[12:14], []byte{8, 0}):
		return describeIPv4(ip, sent)
	case bytes.Equal(eth[12:14], []byte{0x86, 0xdd}) && len(ip) >= 40:
		return describeIPv6(ip, sent)
	}
	return fmt.Sprintf("type %x", eth[12:14])
}

func describeIPv4(ip []byte, sent [][]byte) string {
	ip = ip[:min(len(ip), int(binary.BigEndian.Uint16(ip[2:])))]
	for _, s := range sent {
		if w := sameAs(ip, s, []int{8, 10, 11}, 12, 20); w != "" {
			return w
		}
	}
	l4 := ip[int(ip[0]&15)*4:]
	bad := ""
	if frame.Checksum(ip[:len(ip)-len(l4)]) != 0 {
		bad = " with a wrong header"
	}
	switch ip[9] {
	case frame.ProtoICMP:
		if frame.Checksum(l4) != 0 {
			bad = " with a wrong sum"
		}
		return describeICMP(l4, 8, 0) + bad
	case frame.ProtoTCP:
		return describeTCP(l4) + bad
	}
	return fmt.Sprintf("protocol %d", ip[9])
}

func describeIPv6(ip []byte, sent [][]byte) string {
	ip = ip[:min(len(ip), 40+int(binary.BigEndian.Uint16(ip[4:])))]
	for _, s := range sent {
		if w := sameAs(ip, s, []int{7}, 8, 40); w != "" {
			return w
		}
	}
	l4, bad := ip[40:], ""
	switch ip[6] {
	case frame.ProtoICMPv6:
		if l4[0] == 135 && bytes.Contains(bytes.Join(sent, nil), l4[8:24]) {
			return "asks"
		}
		if l4[0] >= 130 {
			return ""
		}
		if frame.L4Checksum(frame.Addr(ip[8:24]), frame.Addr(ip[24:40]), frame.ProtoICMPv6, l4) != 0 {
			bad = " with a wrong sum"
		}
		return describeICMP(l4, 128, 129) + bad
	case frame.ProtoTCP:
		return describeTCP(l4)
	case 0:
		return "" // the router's own group membership
	}
	return fmt.Sprintf("protocol %d", ip[6])
}

func describeICMP(m []byte, echo, reply byte) string {
	switch m[0] {
	case echo:
		return "echo"
	case reply:
		return "echo-reply"
	}
	return fmt.Sprintf("icmp %d/%d", m[0], m[1])
}

func describeTCP(t []byte) string {
	if len(t) >= 20 && t[13]&frame.TCPRst != 0 {
		return fmt.Sprintf("reset seq %d ack %d", binary.BigEndian.Uint32(t[4:]), binary.BigEndian.Uint32(t[8:]))
	}
	return "tcp"
}

// sameAs says "same" where a packet is the one that was sent, but for bytes that a router changes; "other" where only
// the addresses from at to are the same, so that it was changed or is a part of it.
func sameAs(ip, sent []byte, but []int, at, to int) string {
	sent = sent[14:]
	if len(sent) < to || !bytes.Equal(ip[at:to], sent[at:to]) || ip[0]>>4 != sent[0]>>4 {
		return ""
	}
	sent = bytes.Clone(sent[:min(len(sent), len(ip))])
	ip = bytes.Clone(ip)
	for _, i := range but {
		ip[i], sent[i] = 0, 0
	}
	if bytes.Equal(ip, sent) {
		return "same"
	}
	return "other"
}
