package matrix

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"sluice/vnic/frame"
)

// carried are packets of protocols that few policies name, right ones and odd ones. What is inside another packet is
// not looked at.
var carried = []struct {
	name  string
	proto uint8
	b     []byte
}{
	{"udp-lite, right", 136, []byte{4, 12, 0, 53, 0, 0, 0, 0, 'o', 'd', 'd', '!'}},
	{"udp-lite with a wrong checksum", 136, []byte{4, 0, 0, 53, 0, 0, 0x12, 0x34, 'o', 'd', 'd', '!'}},
	{"udp-lite over its header", 136, []byte{4, 1, 0, 53, 0, 8, 0, 0, 'o', 'd', 'd', '!'}},
	{"udp-lite over seven bytes", 136, []byte{4, 2, 0, 53, 0, 7, 0x12, 0x34, 'o', 'd', 'd', '!'}},
	{"udp-lite over more than it has", 136, []byte{4, 3, 0, 53, 0, 90, 0x12, 0x34, 'o', 'd', 'd', '!'}},
	{"udp-lite with no checksum", 136, []byte{4, 4, 0, 53, 0, 0, 0, 0, 'o', 'd', 'd', '!'}},
	{"udp-lite cut in the header", 136, []byte{4, 5, 0, 53, 0}},
	{"dccp request", 33, []byte{4, 6, 0, 80, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}},
	{"dccp data", 33, []byte{4, 7, 0, 80, 4, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 1}},
	{"dccp of an unknown type", 33, []byte{4, 8, 0, 80, 4, 0, 0, 0, 0x1f, 0, 0, 0, 0, 0, 0, 1}},
	{"dccp whose offset lies", 33, []byte{4, 9, 0, 80, 200, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}},
	{"dccp cut in the header", 33, []byte{4, 10, 0, 80, 5}},
	{"ipv4 inside", 4, append([]byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 10, 1, 10, 10, 10, 2, 10}, 4, 11, 0, 53, 0, 8, 0, 0)},
	{"ipv4 inside, cut", 4, []byte{0x45, 0, 0, 28}},
	{"ipv6 inside", 41, append([]byte{0x60, 0, 0, 0, 0, 0, 59, 64}, make([]byte, 32)...)},
	{"ipv6 inside, of no version", 41, make([]byte, 40)},
	{"nothing in a tunnel", 41, nil},
	{"compressed", 108, []byte{17, 0, 0, 2, 1, 2, 3, 4}},
	{"ospf", 89, []byte{2, 1, 0, 24}},
	{"igmp", 2, []byte{0x16, 0, 0, 0, 239, 7, 7, 7}},
	{"pim", 103, []byte{0x20, 0, 0, 0}},
	{"vrrp", 112, []byte{0x21, 1, 100, 1}},
	{"l2tp", 115, []byte{0, 0, 0, 1}},
	{"mpls", 137, []byte{0, 0, 17, 64}},
	{"protocol 253", 253, []byte("odd!")},
	{"protocol 255", 255, []byte("odd!")},
}

func (m *maker) protocols(v6 bool) {
	for _, p := range carried {
		b := base{"ip", p.proto, 0}
		for _, c := range []struct {
			name string
			do   func(o *odd)
		}{
			{p.name, func(*odd) {}}, {p.name + ", ttl 1", func(o *odd) { o.ttl = 1 }}, {p.name + " to the gateway", dst("10.10.1.1", "fd00:10:1::1")},
		} {
			m.one(c.name, b, v6, func(o *odd) {
				o.l4 = bytes.Clone(p.b)
				if c.do(o); strings.HasSuffix(p.name, "right") {
					binary.BigEndian.PutUint16(o.l4[6:], frame.L4Checksum(frame.AddrFrom(o.src), frame.AddrFrom(o.dst), o.proto, o.l4))
				}
			})
		}
	}
	if !v6 { // what ends an IPv6 packet's chain, or begins it, is a protocol of IPv4 as any other
		for _, proto := range []uint8{0, 43, 44, 59, 60, 139, 140} {
			m.one(fmt.Sprintf("protocol %d", proto), base{"ip", proto, 0}, false, func(*odd) {})
		}
	}
}

// links are frames that are odd before IP begins.
func (m *maker) links(v6 bool) {
	group, nobody := frame.MAC{3, 0, 0, 0, 0, 1}, frame.MAC{2, 0, 0, 0, 0, 0x99}
	for _, b := range []base{bases[0], bases[1], bases[3], bases[6]} {
		m.one("from a group MAC", b, v6, func(o *odd) { o.smac = group })
		m.one("from the broadcast MAC", b, v6, func(o *odd) { o.smac = broadcast })
		m.one("from no MAC", b, v6, func(o *odd) { o.smac = frame.MAC{} })
		m.one("from the gateway's MAC", b, v6, func(o *odd) { o.smac = GatewayMAC })
		m.one("from the MAC of another", b, v6, func(o *odd) { o.smac = nobody })
		m.one("to the MAC of nobody", b, v6, func(o *odd) { o.dmac = nobody })
		m.one("to no MAC", b, v6, func(o *odd) { o.dmac = frame.MAC{} })
		m.one("to a reserved group MAC", b, v6, func(o *odd) { o.dmac = frame.MAC{1, 0x80, 0xc2, 0, 0, 0} })
		for _, t := range []struct {
			name string
			b    []byte
		}{
			{"tagged with VLAN 0", []byte{0x81, 0, 0, 0}}, {"tagged with a priority", []byte{0x81, 0, 0xe0, 0}}, {"tagged with VLAN 4095", []byte{0x81, 0, 0x0f, 0xff}},
			{"with a service tag", []byte{0x88, 0xa8, 0, 10}}, {"with a service tag of VLAN 0", []byte{0x88, 0xa8, 0, 0}}, {"with an old service tag", []byte{0x91, 0, 0, 10}},
			{"tagged twice with VLAN 0", []byte{0x81, 0, 0, 0, 0x81, 0, 0, 0}}, {"tagged three times", []byte{0x81, 0, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3}},
			{"in LLC and SNAP", []byte{0, 48, 0xaa, 0xaa, 3, 0, 0, 0}}, {"in PPPoE", []byte{0x88, 0x64, 0x11, 0, 0, 1, 0, 42, 0, 0x21}},
			{"in MPLS", []byte{0x88, 0x47, 0, 1, 0x11, 64}}, {"in NSH", []byte{0x89, 0x4f, 0, 0x42, 1, 1, 0, 0, 1, 255}},
		} {
			m.one(t.name, b, v6, func(o *odd) { o.tag = t.b })
		}
	}
}

// frames are those that carry no IP, or not what their type says.
func (m *maker) frames() {
	add := func(name string, dmac frame.MAC, behind ...byte) {
		m.cases = append(m.cases, Case{Name: "frame " + name, Judged: []Frame{{Eth: slices.Concat(dmac[:], ClientMAC[:], behind)}}})
	}
	pad := make([]byte, 46)
	for _, to := range []struct {
		name string
		mac  frame.MAC
	}{{"", GatewayMAC}, {" to all", broadcast}} {
		add("of 14 bytes, IPv4"+to.name, to.mac, 8, 0)
		add("of 14 bytes, IPv6"+to.name, to.mac, 0x86, 0xdd)
		add("of 14 bytes, ARP"+to.name, to.mac, 8, 6)
		add("of 14 bytes, tagged"+to.name, to.mac, 0x81, 0)
		add("of 33 bytes, IPv4"+to.name, to.mac, slices.Concat([]byte{8, 0, 0x45}, pad[:18])...)
		add("of 53 bytes, IPv6"+to.name, to.mac, slices.Concat([]byte{0x86, 0xdd, 0x60}, pad[:38])...)
		add("LLC"+to.name, to.mac, slices.Concat([]byte{0, 3, 0x42, 0x42, 3}, pad)...)
		add("LLC of length 0"+to.name, to.mac, slices.Concat([]byte{0, 0}, pad)...)
		add("LLC that lies"+to.name, to.mac, slices.Concat([]byte{5, 0xdc, 0xe0, 0xe0, 3}, pad)...)
		add("raw IPX"+to.name, to.mac, slices.Concat([]byte{0, 30, 0xff, 0xff}, pad)...)
		add("of type 1501"+to.name, to.mac, slices.Concat([]byte{5, 0xdd}, pad)...)
		add("RARP"+to.name, to.mac, slices.Concat([]byte{0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3}, pad)...)
		add("wake on LAN"+to.name, to.mac, slices.Concat([]byte{8, 0x42}, bytes.Repeat([]byte{0xff}, 46))...)
		add("loopback test"+to.name, to.mac, slices.Concat([]byte{0x90, 0, 0, 0, 2, 0}, ClientMAC[:], pad)...)
	}
	add("STP", frame.MAC{1, 0x80, 0xc2, 0, 0, 0}, slices.Concat([]byte{0, 38, 0x42, 0x42, 3}, pad)...)
	add("pause", frame.MAC{1, 0x80, 0xc2, 0, 0, 1}, slices.Concat([]byte{0x88, 0x08, 0, 1, 0xff, 0xff}, pad)...)
	add("LACP", frame.MAC{1, 0x80, 0xc2, 0, 0, 2}, slices.Concat([]byte{0x88, 0x09, 1, 1}, pad)...)
	add("EAP", frame.MAC{1, 0x80, 0xc2, 0, 0, 3}, slices.Concat([]byte{0x88, 0x8e, 1, 1, 0, 0}, pad)...)
	add("LLDP", frame.MAC{1, 0x80, 0xc2, 0, 0, 0xe}, slices.Concat([]byte{0x88, 0xcc, 2, 7, 4}, ClientMAC[:], []byte{4, 2, 7, '1', 6, 2, 0, 120, 0, 0}, pad)...)
	add("CDP", frame.MAC{1, 0, 0xc, 0xcc, 0xcc, 0xcc}, slices.Concat([]byte{0, 20, 0xaa, 0xaa, 3, 0, 0, 0xc, 0x20, 0}, pad)...)
}

// arps are ARP packets about an address that no other case has.
func (m *maker) arps() {
	asker := frame.AddrFrom(near4)
	asker[15] = 60
	gateway, far, none := asker, asker, frame.Addr{10: 0xff, 11: 0xff}
	gateway[15] = 1
	far[14], far[15] = 2, 1
	add := func(name string, op uint16, from frame.MAC, sender, target frame.Addr, change func(eth []byte) []byte) {
		b := make([]byte, frame.MinLen+28)
		frame.PutEth(b, broadcast, ClientMAC, frame.EtherARP)
		frame.PutARP(b[frame.MinLen:], op, from, sender, frame.MAC{}, target)
		if change != nil {
			b = change(b)
		}
		m.cases = append(m.cases, Case{Name: "arp " + name, Judged: []Frame{{Eth: b}}})
	}
	set := func(at int, v ...byte) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[at:], v); return b }
	}
	at := func(a frame.Addr, last ...byte) frame.Addr { copy(a[16-len(last):], last); return a }
	add("right", 1, ClientMAC, asker, gateway, nil)
	add("by its MAC", 1, ClientMAC, asker, gateway, set(0, GatewayMAC[:]...))
	add("to a group MAC", 1, ClientMAC, asker, gateway, set(0, 1, 0, 0x5e, 0, 0, 1))
	add("to the MAC of nobody", 1, ClientMAC, asker, gateway, set(0, 2, 0, 0, 0, 0, 0x99))
	add("from nobody", 1, ClientMAC, none, gateway, nil)
	add("about the far gateway", 1, ClientMAC, asker, far, nil)
	add("about the far server", 1, ClientMAC, asker, at(far, 2, 10), nil)
	add("about the network", 1, ClientMAC, asker, at(gateway, 0), nil)
	add("about all", 1, ClientMAC, asker, at(gateway, 255), nil)
	add("about loopback", 1, ClientMAC, asker, at(gateway, 127, 0, 0, 1), nil)
	add("about a group", 1, ClientMAC, asker, at(gateway, 224, 0, 0, 1), nil)
	add("from loopback", 1, ClientMAC, at(asker, 127, 0, 0, 1), gateway, nil)
	add("from a group", 1, ClientMAC, at(asker, 224, 0, 0, 1), gateway, nil)
	add("from all", 1, ClientMAC, at(asker, 255, 255, 255, 255), gateway, nil)
	add("from the far segment", 1, ClientMAC, at(asker, 2, 60), gateway, nil)
	add("from elsewhere", 1, ClientMAC, at(asker, 192, 0, 2, 60), gateway, nil)
	add("of the gateway", 1, ClientMAC, gateway, gateway, nil)
	add("reply of the gateway", 2, ClientMAC, gateway, gateway, nil)
	add("reply to all", 2, ClientMAC, asker, asker, nil)
	add("for another MAC", 1, frame.MAC{2, 0, 0, 0, 0, 0x60}, asker, gateway, nil)
	add("for a group MAC", 1, broadcast, asker, gateway, nil)
	add("for no MAC", 1, frame.MAC{}, asker, gateway, nil)
	add("for the gateway's MAC", 1, GatewayMAC, asker, gateway, nil)
	for _, op := range []uint16{0, 3, 4, 8, 9, 0x0101, 0xffff} {
		add(fmt.Sprintf("of operation %d", op), op, ClientMAC, asker, gateway, nil)
	}
	add("of other hardware", 1, ClientMAC, asker, gateway, set(14, 0, 6))
	add("of no hardware", 1, ClientMAC, asker, gateway, set(14, 0, 0))
	add("of IPv6", 1, ClientMAC, asker, gateway, set(16, 0x86, 0xdd))
	add("with hardware addresses of 8 bytes", 1, ClientMAC, asker, gateway, set(18, 8))
	add("with addresses of 16 bytes", 1, ClientMAC, asker, gateway, set(19, 16))
	add("with addresses of no bytes", 1, ClientMAC, asker, gateway, set(18, 0, 0))
	add("cut", 1, ClientMAC, asker, gateway, func(b []byte) []byte { return b[:41] })
	add("cut in the header", 1, ClientMAC, asker, gateway, func(b []byte) []byte { return b[:20] })
	add("padded", 1, ClientMAC, asker, gateway, func(b []byte) []byte { return append(b, make([]byte, 18)...) })
	add("with a long trailer", 1, ClientMAC, asker, gateway, func(b []byte) []byte { return append(b, bytes.Repeat([]byte{0xa5}, 900)...) })
	add("tagged", 1, ClientMAC, asker, gateway, func(b []byte) []byte { return slices.Insert(b, 12, 0x81, 0, 0, 10) })
}

// orders are longer chains of IPv6 headers, in orders that no sender should make, and kinds of headers that are not
// told elsewhere.
func (m *maker) orders() {
	kinds := exthdrs[:4] // those that lead on
	for _, b := range []base{bases[0], bases[4]} {
		for _, h := range kinds {
			for _, i := range kinds {
				for _, j := range kinds {
					m.one("behind "+h.name+", "+i.name+", "+j.name, b, true, func(o *odd) { o.chain = []exthdr{h.exthdr, i.exthdr, j.exthdr} })
				}
			}
			m.one("behind five of "+h.name, b, true, func(o *odd) { o.chain = slices.Repeat([]exthdr{h.exthdr}, 5) })
			m.one("behind "+h.name+" and nothing", b, true, func(o *odd) { o.chain, o.proto, o.l4 = []exthdr{h.exthdr}, 59, nil })
			m.one("behind "+h.name+", ttl 1", b, true, func(o *odd) { o.chain, o.ttl = []exthdr{h.exthdr}, 1 })
			m.one("to the gateway, behind "+h.name, b, true, func(o *odd) { o.chain = []exthdr{h.exthdr}; dst("", "fd00:10:1::1")(o) })
		}
		for _, kind := range []byte{0, 1, 2, 3, 4, 5, 253, 255} {
			for left := range byte(3) {
				m.one(fmt.Sprintf("behind a route of kind %d, %d to go", kind, left), b, true, func(o *odd) {
					o.chain = []exthdr{{43, append([]byte{0, 2, kind, left, 0, 0, 0, 0}, far6.AsSlice()...)}}
				})
			}
		}
		m.one("behind a route longer than the packet", b, true, func(o *odd) { o.chain = []exthdr{{43, []byte{0, 200, 4, 0, 0, 0, 0, 0}}} })
		for _, opt := range hopOptions {
			m.one("destination option "+opt.name, b, true, func(o *odd) { o.chain = []exthdr{{60, opt.b}} })
			m.one("second hop-by-hop "+opt.name, b, true, func(o *odd) { o.chain = []exthdr{exthdrs[1].exthdr, {0, opt.b}} })
		}
		for _, opt := range []struct {
			name string
			b    []byte
		}{
			{"router alert of RSVP", pad8(0, 0, 5, 2, 0, 1, 1, 0)}, {"router alert reserved", pad8(0, 0, 5, 2, 0xff, 0xff, 1, 0)}, {"router alert twice", pad8(0, 0, 5, 2, 0, 0, 5, 2, 0, 0, 1, 2, 0, 0, 1, 0)},
			{"quick start", pad8(0, 0, 0x26, 6, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0)}, {"ioam in the wrong place", pad8(0, 0, 0x31, 2, 0, 0, 1, 0)}, {"ioam", pad8(0, 0, 1, 0, 0x31, 2, 0, 0)},
			{"calipso, short", pad8(0, 0, 7, 4, 0, 0, 0, 1)}, {"calipso", pad8(0, 0, 7, 8, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 0, 0)},
			{"rpl", pad8(0, 0, 0x63, 4, 0, 0, 0, 0)}, {"rpl, to be passed over", pad8(0, 0, 0x23, 4, 0, 0, 0, 0)}, {"path MTU", pad8(0, 0, 0x30, 4, 5, 220, 0, 0)},
			{"one of padding", pad8(0, 0, 0, 1, 3, 0, 0, 0)}, {"eight of single padding", pad8(append([]byte{0, 0}, make([]byte, 14)...)...)},
			{"jumbogram without a value", pad8(0, 0, 0xc2, 0, 1, 2, 0, 0)}, {"option that ends at the edge", pad8(0, 0, 1, 3, 0, 0, 0, 0x1e)},
		} {
			m.one("hop-by-hop "+opt.name, b, true, func(o *odd) { o.chain = []exthdr{{0, opt.b}} })
		}
		m.one("hop-by-hop jumbogram with no length", b, true, func(o *odd) {
			o.chain, o.length = []exthdr{{0, []byte{0, 0, 0xc2, 4, 0, 0, 0, 28}}}, -len(o.l4)-8
		})
		m.one("hop-by-hop huge jumbogram with no length", b, true, func(o *odd) {
			o.chain, o.length = []exthdr{{0, []byte{0, 0, 0xc2, 4, 0, 1, 0, 1}}}, -len(o.l4)-8
		})
	}
}

// pieces are fragments that fragments does not make.
func (m *maker) pieces(v6 bool) {
	for _, b := range []base{bases[0], bases[1], bases[3], bases[6], bases[7]} {
		whole := m.packet(b, v6)
		long(whole, 240)
		l4 := whole.ip()[map[bool]int{false: 20, true: 40}[v6]:]
		piece := func(from, to int) Frame {
			p := whole.clone()
			p.l4 = l4[from:to]
			more := uint16(0)
			if to < len(l4) {
				more = 1
			}
			p.fragment = more<<13 | uint16(from/8)
			p.chain = []exthdr{{44, pad44(uint16(from) | more)}}
			return Frame{Eth: p.raw()}
		}
		add := func(name string, sent ...Frame) {
			m.cases = append(m.cases, Case{Name: family(v6) + b.name + " in pieces, " + name, Judged: sent})
			whole = m.packet(b, v6) // the next has another number
			long(whole, 240)
			l4 = whole.ip()[map[bool]int{false: 20, true: 40}[v6]:]
		}
		n := len(l4)
		add("three", piece(0, 64), piece(64, 128), piece(128, n))
		add("three, mixed", piece(128, n), piece(0, 64), piece(64, 128))
		add("the first twice", piece(0, 64), piece(0, 64), piece(64, n))
		add("the last twice", piece(0, 64), piece(64, n), piece(64, n))
		add("the header again", piece(0, 64), piece(8, 72), piece(72, n))
		add("one inside another", piece(0, 128), piece(32, 64), piece(128, n))
		add("two ends", piece(0, 64), piece(64, n), piece(128, n-8))
		add("only the middle", piece(64, 128))
		add("of no multiple of eight", piece(0, 60), piece(64, n))
		add("of nothing", piece(0, 64), piece(64, 64), piece(64, n))
	}
}

// about are ICMP errors of the server about packets that are no plain ones.
func (m *maker) about(v6 bool) {
	for _, c := range []struct {
		name string
		do   func(in *odd)
	}{
		{"a first piece", func(in *odd) { in.fragment, in.chain = 0x2000, []exthdr{{44, pad44(1)}} }},
		{"a later piece", func(in *odd) { in.fragment, in.chain = 0x0010, []exthdr{{44, pad44(0x80)}} }},
		{"an atomic piece", func(in *odd) { in.fragment, in.chain = 0x4000, []exthdr{{44, pad44(0)}} }},
		{"a packet with options", func(in *odd) {
			in.options, in.chain = []byte{1, 1, 1, 0}, []exthdr{exthdrs[0].exthdr, exthdrs[1].exthdr}
		}},
		{"a packet with a bad option", func(in *odd) { in.options, in.chain = []byte{222, 0, 0, 0}, []exthdr{{60, pad8(0, 0, 0xc2, 90)}} }},
		{"a packet behind ah", func(in *odd) { in.chain = []exthdr{exthdrs[4].exthdr} }},
		{"a packet of ttl 0", func(in *odd) { in.ttl = 0 }},
		{"a packet that is longer", func(in *odd) { in.length = 900 }},
	} {
		for _, t := range [][2]uint8{{3, 1}, {11, 3}} {
			before := m.packet(bases[3], v6)
			e, in := m.packet(bases[6], v6), before.clone()
			e.smac, e.src, e.dst = ServerMAC, before.dst, before.src
			c.do(&in)
			kind := t[map[bool]int{true: 1}[v6]]
			e.l4 = append([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, in.ip()...)
			m.cases = append(m.cases, Case{
				Name:   fmt.Sprintf("%serror %d, about %s", family(v6), kind, c.name),
				Before: []Frame{{Eth: before.eth()}}, Judged: []Frame{{Server: true, Eth: e.eth()}},
			})
		}
	}
	for _, t := range [][]byte{
		{3, 4, 0, 0, 0, 0, 0, 68}, {3, 4, 0, 0, 0, 0, 0, 0}, {3, 4, 0, 0, 0, 0, 0xff, 0xff}, {3, 13, 0, 0, 0, 0, 0, 0}, {3, 99, 0, 0, 0, 0, 0, 0},
		{11, 1, 0, 0, 0, 0, 0, 0}, {2, 0, 0, 0, 0, 0, 5, 0}, {2, 0, 0, 0, 0, 0, 0, 0}, {1, 4, 0, 0, 0, 0, 0, 0}, {4, 0, 0, 0, 0, 0, 0, 0}, {4, 1, 0, 0, 0, 0, 0, 40},
	} {
		before := m.packet(bases[3], v6)
		e := m.packet(bases[6], v6)
		e.smac, e.src, e.dst = ServerMAC, before.dst, before.src
		e.l4 = append(bytes.Clone(t), before.ip()...)
		m.cases = append(m.cases, Case{
			Name:   fmt.Sprintf("%serror %d/%d of %d", family(v6), t[0], t[1], binary.BigEndian.Uint32(t[4:])),
			Before: []Frame{{Eth: before.eth()}}, Judged: []Frame{{Server: true, Eth: e.eth()}},
		})
	}
}
