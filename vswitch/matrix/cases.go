package matrix

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"sluice/vnic/frame"
)

// base is a packet that cases are made of.
type base struct {
	name  string
	proto uint8
	port  uint16
}

var bases = []base{
	{"tcp-80", frame.ProtoTCP, 80}, {"tcp-22", frame.ProtoTCP, 22}, {"tcp-25", frame.ProtoTCP, 25},
	{"udp-53", frame.ProtoUDP, 53}, {"udp-22", frame.ProtoUDP, 22}, {"udp-25", frame.ProtoUDP, 25},
	{"echo", frame.ProtoICMP, 0}, {"gre", 47, 0}, {"esp", 50, 0},
}

// maker collects the cases.
type maker struct {
	cases []Case
	n     uint16
}

// packet makes a right packet of a base.
func (m *maker) packet(b base, v6 bool) *odd {
	m.n++
	o := &odd{v6: v6, number: 1000 + m.n, dmac: GatewayMAC, smac: ClientMAC, src: near4, dst: far4, ttl: 64, proto: b.proto}
	if v6 {
		if o.src, o.dst = near6, far6; o.proto == frame.ProtoICMP {
			o.proto = frame.ProtoICMPv6
		}
	}
	switch {
	case b.proto == frame.ProtoTCP:
		o.l4 = make([]byte, 20)
		binary.BigEndian.PutUint32(o.l4[4:], 7000)
		o.l4[12], o.l4[13], o.l4[14] = 5<<4, frame.TCPSyn, 16
	case b.proto == frame.ProtoUDP:
		o.l4 = append([]byte{0, 0, 0, 0, 0, 12, 0, 0}, "odd!"...)
	case b.proto == frame.ProtoICMP:
		o.l4 = append([]byte{8, 0, 0, 0, 0, 0, 0, 1}, "odd!"...)
		if v6 {
			o.l4[0] = 128
		}
		binary.BigEndian.PutUint16(o.l4[4:], o.number)
		return o
	default:
		o.l4 = append(make([]byte, 8), "odd!"...)
		return o
	}
	binary.BigEndian.PutUint16(o.l4, o.number)
	binary.BigEndian.PutUint16(o.l4[2:], b.port)
	return o
}

func family(v6 bool) string { return map[bool]string{false: "v4 ", true: "v6 "}[v6] }

// one adds a case that is one frame.
func (m *maker) one(name string, b base, v6 bool, change func(o *odd)) {
	o := m.packet(b, v6)
	change(o)
	m.cases = append(m.cases, Case{Name: family(v6) + b.name + " " + name, Judged: []Frame{{Eth: o.eth()}}})
}

// change is what makes a right packet odd. Where only is set, it is for the bases with that protocol; four and six say
// for which family.
type change struct {
	name      string
	four, six bool
	only      uint8
	do        func(o *odd)
}

func src(four, six string) func(o *odd) {
	return func(o *odd) {
		o.src = netip.MustParseAddr(map[bool]string{false: four, true: six}[o.v6])
	}
}

func dst(four, six string) func(o *odd) {
	return func(o *odd) {
		o.dst = netip.MustParseAddr(map[bool]string{false: four, true: six}[o.v6])
	}
}

// nowhere is where no route leads. Linux tells one IPv4 source so at most five times at once (ip_error), so each packet
// has another.
func nowhere(o *odd) {
	dst("192.0.2.9", "2001:db8::9")(o)
	if !o.v6 {
		o.src = netip.AddrFrom4([4]byte{10, 10, 1, byte(100 + o.number%Strangers)})
	}
}

// changes are tried with every base.
var changes = []change{
	{"as it should be", true, true, 0, func(*odd) {}},
	{"ttl 0", true, true, 0, func(o *odd) { o.ttl = 0 }},
	{"ttl 1", true, true, 0, func(o *odd) { o.ttl = 1 }},
	{"ttl 2", true, true, 0, func(o *odd) { o.ttl = 2 }},
	{"wrong header checksum", true, false, 0, func(o *odd) { o.ipSum = wrong }},
	{"wrong checksum", true, true, 1, func(o *odd) { o.l4Sum = wrong }},
	{"no checksum", true, true, 1, func(o *odd) { o.l4Sum = none }},
	{"wrong checksum, ttl 1", true, true, 1, func(o *odd) { o.l4Sum, o.ttl = wrong, 1 }},
	{"padded", true, true, 0, func(o *odd) { o.trailer = 6 }},
	{"with a long trailer", true, true, 0, func(o *odd) { o.trailer = 300 }},
	{"length one too long", true, true, 0, func(o *odd) { o.length = 1 }},
	{"length four too short", true, true, 0, func(o *odd) { o.length = -4 }},
	{"no length", true, true, 0, func(o *odd) { o.length = -len(o.l4) - map[bool]int{false: 20}[o.v6] }},
	{"cut", true, true, 0, func(o *odd) { o.cut = 5 }},
	{"version 5", true, true, 0, func(o *odd) { o.version = 5 }},
	{"header of 4 words", true, false, 0, func(o *odd) { o.ihl = 4 }},
	{"header longer than the packet", true, false, 0, func(o *odd) { o.ihl = 15 }},
	{"group MAC", true, true, 0, func(o *odd) { o.dmac = frame.MAC{1, 0, 0x5e, 1, 2, 3} }},
	{"broadcast MAC", true, true, 0, func(o *odd) { o.dmac = broadcast }},
	{"source is the destination", true, true, 0, func(o *odd) { o.src = o.dst }},
	{"source is the gateway", true, true, 0, src("10.10.1.1", "fd00:10:1::1")},
	{"source is the far gateway", true, true, 0, src("10.10.2.1", "fd00:10:2::1")},
	{"source is loopback", true, true, 0, src("127.0.0.1", "::1")},
	{"source is a group", true, true, 0, src("224.0.0.1", "ff02::1")},
	{"source is unspecified", true, true, 0, src("0.0.0.0", "::")},
	{"source is link-local", true, true, 0, src("169.254.1.2", "fe80::1234")},
	{"source is the broadcast address", true, false, 0, src("10.10.1.255", "::")},
	{"source is broadcast", true, false, 0, src("255.255.255.255", "::")},
	{"source of nowhere", true, true, 0, src("192.0.2.1", "2001:db8::1")},
	{"source on the other segment", true, true, 0, src("10.10.2.77", "fd00:10:2::77")},
	{"source is mapped", false, true, 0, src("0.0.0.0", "::ffff:10.10.1.10")},
	{"to the gateway", true, true, 0, dst("10.10.1.1", "fd00:10:1::1")},
	{"to the far gateway", true, true, 0, dst("10.10.2.1", "fd00:10:2::1")},
	{"to loopback", true, true, 0, dst("127.0.0.1", "::1")},
	{"to a group", true, true, 0, dst("239.7.7.7", "ff05::7")},
	{"to all", true, true, 0, dst("255.255.255.255", "ff02::1")},
	{"to all, by their MAC", true, false, 0, func(o *odd) { dst("255.255.255.255", "")(o); o.dmac = broadcast }},
	{"to the own broadcast address", true, false, 0, dst("10.10.1.255", "")},
	{"to the own broadcast address, by its MAC", true, false, 0, func(o *odd) { dst("10.10.1.255", "")(o); o.dmac = broadcast }},
	{"to the far broadcast address", true, false, 0, dst("10.10.2.255", "")},
	{"to nowhere", true, true, 0, nowhere},
	{"to nowhere, ttl 1", true, true, 0, func(o *odd) { nowhere(o); o.ttl = 1 }},
	{"to unspecified", true, true, 0, dst("0.0.0.0", "::")},
	{"to link-local", true, true, 0, func(o *odd) { nowhere(o); dst("169.254.7.7", "fe80::7")(o) }},
	{"to a reserved address", true, false, 0, func(o *odd) { nowhere(o); dst("240.0.0.7", "")(o) }},
	{"tagged", true, true, 0, func(o *odd) { o.tag = []byte{0x81, 0, 0, 10} }},
	{"tagged twice", true, true, 0, func(o *odd) { o.tag = []byte{0x88, 0xa8, 0, 10, 0x81, 0, 0, 20} }},
	{"too long for the far segment", true, true, 0, func(o *odd) { long(o, 1600) }},
	{"too long, ttl 1", true, true, 0, func(o *odd) { long(o, 1600); o.ttl = 1 }},
	{"as long as the far segment takes", true, true, 0, func(o *odd) { long(o, 1500) }},
	{"first fragment alone", true, false, 0, func(o *odd) { eights(o); o.fragment = 0x2000 }},
	{"first fragment of an odd length", true, false, 0, func(o *odd) { eights(o); o.l4 = append(o.l4, 0); o.fragment = 0x2000 }},
	{"later fragment alone", true, false, 0, func(o *odd) { o.fragment = 0x0010 }},
	{"later fragment alone, ttl 1", true, false, 0, func(o *odd) { o.fragment, o.ttl = 0x0010, 1 }},
	{"fragment beyond 64 KiB", true, false, 0, func(o *odd) { o.fragment = 0x1fff }},
	{"reserved flag", true, false, 0, func(o *odd) { o.fragment = 0x8000 }},
	{"may be cut", true, false, 0, func(o *odd) { o.mayCut = true }},
	{"too long, may be cut", true, false, 0, func(o *odd) { long(o, 1600); o.mayCut = true }},
	{"of 9000 bytes", true, true, 0, func(o *odd) { long(o, 9000) }},
	{"of 9000 bytes, may be cut", true, false, 0, func(o *odd) { long(o, 9000); o.mayCut = true }},
	{"to the gateway, ttl 1", true, true, 0, func(o *odd) { dst("10.10.1.1", "fd00:10:1::1")(o); o.ttl = 1 }},
	{"to the gateway, ttl 0", true, true, 0, func(o *odd) { dst("10.10.1.1", "fd00:10:1::1")(o); o.ttl = 0 }},
	{"to the far gateway, ttl 1", true, true, 0, func(o *odd) { dst("10.10.2.1", "fd00:10:2::1")(o); o.ttl = 1 }},
	{"to the own network, ttl 1", true, true, 0, func(o *odd) { dst("10.10.1.0", "fd00:10:1::")(o); o.ttl = 1 }},
	{"to the far network, ttl 1", true, true, 0, func(o *odd) { dst("10.10.2.0", "fd00:10:2::")(o); o.ttl = 1 }},
	{"to the own network, by broadcast MAC", true, false, 0, func(o *odd) { dst("10.10.1.0", "")(o); o.dmac = broadcast }},
	{"to the far broadcast address, by its MAC", true, false, 0, func(o *odd) { dst("10.10.2.255", "")(o); o.dmac = broadcast }},
	{"to the far broadcast address, ttl 1", true, false, 0, func(o *odd) { dst("10.10.2.255", "")(o); o.ttl = 1 }},
	{"to a far stranger, ttl 1", true, true, 0, func(o *odd) { dst("10.10.2.99", "fd00:10:2::99")(o); o.ttl = 1 }},
	{"source is the own network", true, true, 0, src("10.10.1.0", "fd00:10:1::")},
	{"source is the far broadcast address", true, false, 0, src("10.10.2.255", "")},
	{"source is in the first network", true, false, 0, src("0.1.2.3", "")},
	{"source is reserved", true, true, 0, src("240.0.0.7", "fec0::1")},
	{"source is an IPv4-compatible address", false, true, 0, src("0.0.0.0", "::10.10.1.10")},
	{"to the first network", true, false, 0, dst("0.1.2.3", "")},
	{"to a mapped address", false, true, 0, dst("", "::ffff:10.10.2.10")},
	{"to an IPv4-compatible address", false, true, 0, func(o *odd) { nowhere(o); dst("", "::10.10.2.10")(o) }},
	{"to a group of this machine", false, true, 0, dst("", "ff01::1")},
	{"to a group of no scope", false, true, 0, dst("", "ff00::1")},
	{"to a group of this link", true, true, 0, dst("224.0.0.2", "ff02::2")},
	{"to a group of the world", true, true, 0, dst("224.1.2.3", "ff0e::7")},
}

// eights makes what an IP packet carries a multiple of eight bytes, as it is in every fragment but the last.
func eights(o *odd) { o.l4 = append(o.l4, make([]byte, -len(o.l4)&7)...) }

// long makes the IP packet n bytes long, with zeros.
func long(o *odd, n int) {
	head := map[bool]int{false: 20, true: 40}[o.v6]
	o.l4 = append(o.l4, make([]byte, n-head-len(o.l4))...)
	if o.proto == frame.ProtoUDP {
		binary.BigEndian.PutUint16(o.l4[4:], uint16(len(o.l4)))
	}
}

// ipOptions are of the IPv4 header.
var ipOptions = []struct {
	name string
	b    []byte
}{
	{"no operation", []byte{1, 1, 1, 0}}, {"router alert", []byte{148, 4, 0, 0}}, {"router alert cut", []byte{148, 2, 0, 0}},
	{"record route", []byte{7, 7, 4, 0, 0, 0, 0, 0}}, {"record route, full", []byte{7, 7, 8, 1, 2, 3, 4, 0}},
	{"record route, pointer 3", []byte{7, 7, 3, 0, 0, 0, 0, 0}}, {"record route, pointer 6", []byte{7, 7, 6, 0, 0, 0, 0, 0}},
	{"record route twice", []byte{7, 3, 4, 7, 3, 4, 0, 0}}, {"timestamps", []byte{68, 8, 5, 0, 0, 0, 0, 0}},
	{"timestamps, overflown", []byte{68, 4, 5, 0xf0}}, {"timestamps without room", []byte{68, 6, 5, 0, 0, 0, 0, 0}},
	{"timestamps with addresses", []byte{68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0}},
	{"loose source route", []byte{131, 7, 4, 10, 10, 2, 10, 0}}, {"strict source route", []byte{137, 7, 4, 10, 10, 2, 10, 0}},
	{"source route, used up", []byte{131, 7, 8, 10, 10, 2, 10, 0}}, {"source route behind another", []byte{148, 4, 0, 0, 137, 3, 4, 0}},
	{"two source routes", []byte{131, 3, 4, 137, 3, 4, 0, 0}}, {"security", []byte{130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
	{"stream identifier", []byte{136, 4, 0, 1}}, {"unknown", []byte{222, 4, 0, 0}}, {"length 0", []byte{222, 0, 0, 0}},
	{"length 1", []byte{222, 1, 0, 0}}, {"length too long", []byte{222, 9, 0, 0}}, {"without a length", []byte{1, 1, 1, 222}},
	{"ends early", []byte{0, 131, 1, 1}}, {"forty bytes", bytes.Repeat([]byte{1}, 40)},
}

func pad8(b ...byte) []byte {
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	b[1] = byte(len(b)/8 - 1)
	return b
}

// exthdrs are headers of IPv6 by kind: those that lead on, and those that end the chain.
var exthdrs = []struct {
	name string
	exthdr
}{
	{"hop-by-hop", exthdr{0, pad8(0, 0, 1, 4)}}, {"destination", exthdr{60, pad8(0, 0, 1, 4)}}, {"routing", exthdr{43, pad8(0, 0, 4, 0)}},
	{"fragment", exthdr{44, pad44(0)}}, {"ah", exthdr{51, append([]byte{0, 4}, make([]byte, 22)...)}},
	{"mobility", exthdr{135, pad8(0, 0, 1, 4)}}, {"hip", exthdr{139, pad8(0, 0, 1, 4)}}, {"shim6", exthdr{140, pad8(0, 0, 1, 4)}},
}

// pad44 is a fragment header with an offset and a flag.
func pad44(field uint16) []byte { return []byte{0, 0, byte(field >> 8), byte(field), 0, 0, 0, 0} }

// hopOptions are of a hop-by-hop header.
var hopOptions = []struct {
	name string
	b    []byte
}{
	{"router alert", pad8(0, 0, 5, 2, 0, 0, 1, 0)}, {"router alert of one byte", pad8(0, 0, 5, 1, 0, 1, 1, 0)},
	{"unknown, pass over", pad8(0, 0, 0x1e, 4, 1, 2, 3, 4)}, {"unknown, drop", pad8(0, 0, 0x5e, 4, 1, 2, 3, 4)},
	{"unknown, answer", pad8(0, 0, 0x9e, 4, 1, 2, 3, 4)}, {"unknown, answer one", pad8(0, 0, 0xde, 4, 1, 2, 3, 4)},
	{"jumbogram", pad8(0, 0, 0xc2, 4, 0, 1, 0, 0)}, {"small jumbogram", pad8(0, 0, 0xc2, 4, 0, 0, 0, 9)},
	{"beyond its header", pad8(0, 0, 0x1e, 9, 1, 2, 3, 4)}, {"padding that speaks", pad8(0, 0, 1, 4, 0, 1, 0, 0)},
	{"eight of padding", pad8(0, 0, 1, 6, 0, 0, 0, 0, 0, 0, 5, 2, 0, 0, 1, 0)}, {"nine options", pad8(append([]byte{0, 0}, bytes.Repeat([]byte{0x1e, 0}, 11)...)...)},
}

// icmpTypes are those that are not told elsewhere, of both families.
var icmpTypes = []uint8{0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 30, 40, 100, 127, 129, 130, 133, 134, 135, 136, 137, 139, 140, 141, 143, 200, 255}

// Cases are all odd packets, in the order in which they are sent.
func Cases() []Case {
	m := &maker{}
	for _, v6 := range []bool{false, true} {
		for _, c := range changes {
			for _, b := range bases {
				if (c.four && !v6 || c.six && v6) && (c.only == 0 || b.proto == frame.ProtoTCP || b.proto == frame.ProtoUDP || b.proto == frame.ProtoICMP) {
					m.one(c.name, b, v6, c.do)
				}
			}
		}
		m.tcp(v6)
		m.udp(v6)
		m.icmp(v6)
		m.errors(v6)
		m.about(v6)
		m.protocols(v6)
		m.links(v6)
		m.pieces(v6)
	}
	m.options()
	m.chains()
	m.orders()
	m.fragments()
	m.frames()
	m.arps()
	m.unfinished(false)
	m.unfinished(true)
	return m.cases
}

func (m *maker) tcp(v6 bool) {
	for _, b := range bases[:2] {
		for flags := range uint8(64) {
			if flags%5 == 1 || flags < 8 {
				m.one(fmt.Sprintf("flags %#02x", flags), b, v6, func(o *odd) { o.l4[13] = flags })
			}
		}
		m.one("offset 4", b, v6, func(o *odd) { o.l4[12] = 4 << 4 })
		m.one("offset 15", b, v6, func(o *odd) { o.l4[12] = 15 << 4 })
		m.one("reserved bits", b, v6, func(o *odd) { o.l4[12] |= 0xe; o.l4[13] |= 0xc0 })
		m.one("urgent pointer", b, v6, func(o *odd) { o.l4[13] |= frame.TCPUrg; o.l4[19] = 9 })
		m.one("port 0", b, v6, func(o *odd) { o.l4[0], o.l4[1] = 0, 0 })
		m.one("options that lie", b, v6, func(o *odd) { o.l4 = append(o.l4, 2, 99, 0, 0); o.l4[12] = 6 << 4 })
		m.one("data in the SYN", b, v6, func(o *odd) { o.l4 = append(o.l4, "data"...) })
		m.one("cut in the header", b, v6, func(o *odd) { o.l4 = o.l4[:19] })
		m.one("eight bytes", b, v6, func(o *odd) { o.l4 = o.l4[:8]; o.l4Sum = right })
		m.one("four bytes", b, v6, func(o *odd) { o.l4 = o.l4[:4] })
		m.one("nothing", b, v6, func(o *odd) { o.l4 = nil })
	}
}

func (m *maker) udp(v6 bool) {
	for _, b := range bases[3:5] {
		for _, n := range []uint16{0, 7, 8, 11, 13, 200, 65535} {
			m.one(fmt.Sprintf("length %d", n), b, v6, func(o *odd) { binary.BigEndian.PutUint16(o.l4[4:], n) })
		}
		m.one("port 0", b, v6, func(o *odd) { o.l4[0], o.l4[1] = 0, 0 })
		m.one("cut in the header", b, v6, func(o *odd) { o.l4 = o.l4[:7] })
		m.one("nothing", b, v6, func(o *odd) { o.l4 = nil })
		m.one("no data", b, v6, func(o *odd) { o.l4 = o.l4[:8]; o.l4[5] = 8 })
	}
}

func (m *maker) icmp(v6 bool) {
	for _, t := range icmpTypes {
		m.one(fmt.Sprintf("of type %d", t), bases[6], v6, func(o *odd) { o.l4[0] = t })
	}
	m.one("code 9", bases[6], v6, func(o *odd) { o.l4[1] = 9 })
	m.one("cut in the header", bases[6], v6, func(o *odd) { o.l4 = o.l4[:7] })
	m.one("of the other family", bases[6], v6, func(o *odd) { o.proto = map[bool]uint8{false: frame.ProtoICMPv6, true: frame.ProtoICMP}[v6] })
}

// errors are ICMP errors that the server sends about a packet that it has got.
func (m *maker) errors(v6 bool) {
	for _, c := range []struct {
		name string
		do   func(e *odd, inner []byte) []byte // makes the error's quotation
	}{
		{"right", func(_ *odd, in []byte) []byte { return in }},
		{"wrong checksum", func(e *odd, in []byte) []byte { e.l4Sum = wrong; return in }},
		{"ttl 1", func(e *odd, in []byte) []byte { e.ttl = 1; return in }},
		{"inner header with a wrong checksum", func(_ *odd, in []byte) []byte { in[10]++; return in }},
		{"inner checksum wrong", func(_ *odd, in []byte) []byte { in[len(in)-6]++; return in }},
		{"inner source of another", func(_ *odd, in []byte) []byte { in[map[bool]int{false: 15, true: 23}[v6]]++; return in }},
		{"inner destination of another", func(_ *odd, in []byte) []byte { in[map[bool]int{false: 19, true: 39}[v6]]++; return in }},
		{"inner port of another", func(_ *odd, in []byte) []byte { in[len(in)-9] ^= 1; return in }},
		{"inner protocol of another", func(_ *odd, in []byte) []byte { in[map[bool]int{false: 9, true: 6}[v6]] = 6; return in }},
		{"inner packet of the other version", func(_ *odd, in []byte) []byte { in[0] ^= 0x20; return in }},
		{"inner packet is the answer", func(_ *odd, in []byte) []byte { return swapped(in, v6) }},
		{"eight bytes of the inner packet", func(_ *odd, in []byte) []byte { return in[:len(in)-4] }},
		{"four bytes of the inner packet", func(_ *odd, in []byte) []byte { return in[:len(in)-8] }},
		{"only the inner header", func(_ *odd, in []byte) []byte { return in[:len(in)-12] }},
		{"half of the inner header", func(_ *odd, in []byte) []byte { return in[:10] }},
		{"nothing inside", func(*odd, []byte) []byte { return nil }},
		{"inner header of 4 words", func(_ *odd, in []byte) []byte { in[0] = in[0]&0xf0 | 4; return in }},
		{"to another", func(e *odd, in []byte) []byte { dst("10.10.1.11", "fd00:10:1::11")(e); return in }},
		{"to the gateway", func(e *odd, in []byte) []byte { dst("10.10.2.1", "fd00:10:2::1")(e); return in }},
		{"from another", func(e *odd, in []byte) []byte { src("10.10.2.50", "fd00:10:2::50")(e); return in }},
	} {
		for _, t := range [][2]uint8{{3, 1}, {11, 3}, {12, 4}, {5, 2}} {
			before := m.packet(bases[3], v6)
			e := m.packet(bases[6], v6)
			e.smac, e.src, e.dst = ServerMAC, before.dst, before.src
			e.l4 = []byte{t[0], 0, 0, 0, 0, 0, 0, 0}
			kind := t[0]
			if v6 {
				e.l4[0], kind = t[1], t[1]
			}
			e.l4 = append(e.l4, c.do(e, before.ip())...)
			m.cases = append(m.cases, Case{
				Name:   fmt.Sprintf("%serror %d, %s", family(v6), kind, c.name),
				Before: []Frame{{Eth: before.eth()}}, Judged: []Frame{{Server: true, Eth: e.eth()}},
			})
		}
	}
}

// swapped turns a UDP packet round.
func swapped(ip []byte, v6 bool) []byte {
	at, n := 12, 4
	if v6 {
		at, n = 8, 16
	}
	a := bytes.Clone(ip[at : at+n])
	copy(ip[at:], ip[at+n:at+2*n])
	copy(ip[at+n:], a)
	l4 := ip[len(ip)-12:]
	l4[0], l4[1], l4[2], l4[3] = l4[2], l4[3], l4[0], l4[1]
	return ip
}

func (m *maker) options() {
	for _, opt := range ipOptions {
		for _, b := range bases[:5] {
			m.one("option "+opt.name, b, false, func(o *odd) { o.options = opt.b })
		}
	}
	for _, opt := range hopOptions {
		for _, b := range bases[:5] {
			m.one("hop-by-hop "+opt.name, b, true, func(o *odd) { o.chain = []exthdr{{0, opt.b}} })
		}
	}
}

func (m *maker) chains() {
	for _, b := range bases[:7] {
		for _, h := range exthdrs {
			m.one("behind "+h.name, b, true, func(o *odd) { o.chain = []exthdr{h.exthdr} })
		}
	}
	for _, b := range bases[:2] {
		for _, h := range exthdrs {
			for _, i := range exthdrs {
				m.one("behind "+h.name+", "+i.name, b, true, func(o *odd) { o.chain = []exthdr{h.exthdr, i.exthdr} })
			}
		}
		m.one("behind a routing header of type 0", b, true, func(o *odd) { o.chain = []exthdr{{43, pad8(0, 0, 0, 0, 0, 0, 0, 0)}} })
		m.one("behind a route yet to go", b, true, func(o *odd) { o.chain = []exthdr{{43, append([]byte{0, 2, 0, 1, 0, 0, 0, 0}, far6.AsSlice()...)}} })
		m.one("behind a route of type 2", b, true, func(o *odd) { o.chain = []exthdr{{43, append([]byte{0, 2, 2, 1, 0, 0, 0, 0}, far6.AsSlice()...)}} })
		m.one("behind nothing", b, true, func(o *odd) { o.proto = 59 })
		m.one("behind eight", b, true, func(o *odd) { o.chain = slices.Repeat([]exthdr{exthdrs[1].exthdr}, 8) })
		m.one("behind nine", b, true, func(o *odd) { o.chain = slices.Repeat([]exthdr{exthdrs[1].exthdr}, 9) })
		m.one("behind a header that lies", b, true, func(o *odd) { o.chain = []exthdr{{60, []byte{0, 40, 1, 4, 0, 0, 0, 0}}} })
		m.one("behind ah, ttl 1", b, true, func(o *odd) { o.chain = []exthdr{exthdrs[4].exthdr}; o.ttl = 1 })
		m.one("behind destination, wrong checksum", b, true, func(o *odd) { o.chain = []exthdr{exthdrs[1].exthdr}; o.l4Sum = wrong })
		m.one("first fragment alone", b, true, func(o *odd) { eights(o); o.chain = []exthdr{{44, pad44(1)}} })
		m.one("first fragment of an odd length", b, true, func(o *odd) {
			eights(o)
			o.l4, o.chain = append(o.l4, 0), []exthdr{{44, pad44(1)}}
		})
		m.one("later fragment alone", b, true, func(o *odd) { o.chain = []exthdr{{44, pad44(0x80)}} })
		m.one("ah in ipv4", b, false, func(o *odd) {
			o.l4, o.proto = slices.Concat([]byte{o.proto, 4}, make([]byte, 22), o.l4), 51
		})
	}
}

// fragments are UDP packets in two pieces.
func (m *maker) fragments() {
	for _, b := range []base{bases[3], bases[4], bases[5]} {
		for _, v6 := range []bool{false, true} {
			for _, c := range []struct {
				name        string
				split, from int // bytes of the first; where the second begins
				lastFirst   bool
				sum         sumKind
				ttl         uint8
			}{
				{"in two", 64, 64, false, right, 64}, {"in two, wrong checksum", 64, 64, false, wrong, 64}, {"in two, the last first", 64, 64, true, right, 64},
				{"in two, with a hole", 64, 72, false, right, 64}, {"in two, overlapping", 64, 56, false, right, 64}, {"in two, ttl 1", 64, 64, false, right, 1},
				{"in two, the first tiny", 8, 8, false, right, 64}, {"in two, the first of an odd length", 63, 64, false, right, 64},
				{"in two, the first of an odd length and overlapping", 63, 56, false, right, 64},
			} {
				whole := m.packet(b, v6)
				long(whole, 200)
				whole.l4Sum, whole.ttl = c.sum, c.ttl
				l4 := whole.ip()[map[bool]int{false: 20, true: 40}[v6]:]
				first, last := whole.clone(), whole.clone()
				first.l4, last.l4 = l4[:c.split], l4[c.from:]
				first.fragment, last.fragment = 0x2000, uint16(c.from/8)
				first.chain, last.chain = []exthdr{{44, pad44(1)}}, []exthdr{{44, pad44(uint16(c.from))}}
				sent := []Frame{{Eth: first.raw()}, {Eth: last.raw()}}
				if c.lastFirst {
					slices.Reverse(sent)
				}
				m.cases = append(m.cases, Case{Name: family(v6) + b.name + " " + c.name, Judged: sent})
			}
		}
	}
}

// raw is the frame of a fragment: its L4 checksum is that of the whole packet.
func (o *odd) raw() []byte {
	part := bytes.Clone(o.l4)
	eth := o.eth()
	copy(eth[len(eth)-len(part):], part)
	return eth
}
