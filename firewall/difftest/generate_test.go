package difftest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// host is an address that packets come from and go to. Strangers have one that no guest owns.
type host struct {
	guest   string
	segment int
	port    frame.PortID
	addr    netip.Addr
}

var hosts = []host{
	{"client", 0, 1, netip.MustParseAddr("10.10.1.10")}, {"client", 0, 1, netip.MustParseAddr("fd00:10:1::10")},
	{"other", 0, 2, netip.MustParseAddr("10.10.1.11")}, {"other", 0, 2, netip.MustParseAddr("fd00:10:1::11")},
	{"", 0, 5, netip.MustParseAddr("10.10.1.99")}, {"", 0, 5, netip.MustParseAddr("fd00:10:1::99")},
	{"server", 1, 3, netip.MustParseAddr("10.10.2.10")}, {"server", 1, 3, netip.MustParseAddr("fd00:10:2::10")},
	{"backup", 1, 4, netip.MustParseAddr("10.10.2.11")}, {"backup", 1, 4, netip.MustParseAddr("fd00:10:2::11")},
	{"", 1, 6, netip.MustParseAddr("10.10.2.99")}, {"", 1, 6, netip.MustParseAddr("fd00:10:2::99")},
}

func inventory() *firewall.Inventory {
	inv := &firewall.Inventory{}
	for i, name := range []string{"lan", "dmz"} {
		inv.Segments = append(inv.Segments, firewall.InvSegment{Name: name, ID: frame.SegmentID(i + 1), Prefixes: []netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("10.10.%d.0/24", i+1)), netip.MustParsePrefix(fmt.Sprintf("fd00:10:%d::/64", i+1)),
		}})
	}
	for i := 0; i < len(hosts); i += 2 {
		if h := hosts[i]; h.guest != "" {
			inv.Guests = append(inv.Guests, firewall.InvGuest{Name: h.guest, VNICs: []firewall.InvVNIC{{
				Port: h.port, Segment: frame.SegmentID(h.segment + 1), Addrs: []netip.Addr{h.addr, hosts[i+1].addr},
			}}})
		}
	}
	return inv
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// policyText draws a policy.
func policyText(r *rand.Rand) string {
	var b strings.Builder
	b.WriteString(`groups: {web: [server, backup], left: [lan], odd: [client, 10.10.2.0/28, "fd00:10:2::/124"], deep: [odd, other], none: [], outside: [!left, !backup]}
services:
  low: {tcp: [80, 81]}
  range: {tcp: 80-83, udp: [80-82]}
  ping: {icmp: echo}
  icmp: {icmp: any}
  gre: {protocol: gre}
  ends: {protocol: [ah, 135, 140]}
  hip: {protocol: 139}
  mixed: [{tcp: any}, {protocol: [gre, esp]}]
  zero: {icmpv4: 0, icmpv6: 0}
  codes: {icmp: [host-unreachable, ttl-exceeded], icmpv4: [3/0, 8/1-3], icmpv6: 128/0}
  routing: {protocol: [ospf, vrrp, igmp]}
  from: [{tcp: 80-82, from-port: [80, 82-1000]}, {udp: any, from-port: 81}, {protocol: gre}]
  begins: {tcp: any, flags: syn/syn|ack}
  odd-flags: {tcp: any, from-port: 80-81, flags: [none/all, "psh,ack/psh,ack", fin, rst/rst|ack]}
`)
	if r.IntN(5) == 0 {
		fmt.Fprintf(&b, "exclude: %s\n", pick(r, "client", "web", "[other, backup]"))
	}
	if r.IntN(4) == 0 {
		b.WriteString("tcp-windows: liberal\n")
	}
	if r.IntN(3) == 0 { // nothing here speaks FTP or TFTP: what nft must take, and no more
		fmt.Fprintf(&b, "helpers: %s\n", pick(r, "ftp", "tftp", "[tftp, ftp]"))
	}
	fmt.Fprintf(&b, "default: %s\nrules:\n", pick(r, "allow", "drop", "reject"))
	nouns := []string{"any", "client", "server", "other", "lan", "dmz", "web", "left", "odd", "deep", "none", "10.10.1.0/27", "0.0.0.0/0", `"::/0"`, "10.10.2.99", "[client, backup]",
		"!client", "!web", "[lan, !other]", "!10.10.1.0/27", "[any, !odd, !server]", "outside"}
	services := []string{
		"low", "range", "ping", "icmp", "zero", "gre", "ends", "[hip, low]", "mixed", "codes", "routing", "[codes, low]", "from", "begins", "odd-flags", "[from, odd-flags]", "[begins, ping]", "[low, ping]", "[range, gre]", "any",
	}
	stateless := r.IntN(6) - 2 // so many rules, before all others
	for i := range r.IntN(8) {
		fmt.Fprintf(&b, "  - {name: r%d, from: %s, to: %s, action: %s, direction: %s", i, pick(r, nouns...), pick(r, nouns...),
			pick(r, "allow", "allow", "drop", "reject"), pick(r, "in", "out", "in-out", "in-out"))
		if r.IntN(4) > 0 {
			fmt.Fprintf(&b, ", service: %s", pick(r, services...))
		}
		if i < stateless {
			b.WriteString(", stateless: true")
		}
		if r.IntN(4) == 0 {
			fmt.Fprintf(&b, ", applied-to: %s", pick(r, "client", "server", "lan", "web", "[other, backup]"))
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// sent is one packet of a session.
type sent struct {
	segment int // where it enters
	from    host
	to      host
	whole   []byte // the frame, before it was fragmented
	eth     []byte
	rest    []byte // the second fragment, where eth is only the first

	excluded bool // the policy is not for either end
}

// alone says whether only the packet's second fragment is sent. Nobody answers that.
func (s *sent) alone() bool { return s.rest == nil && len(s.eth) != len(s.whole) }

// magic marks a packet's payload; after it comes its number in 4 bytes.
var magic = []byte("sluice-diff:")

// generator draws packets. Few ports and addresses, so that packets meet each other's flows.
type generator struct {
	*rand.Rand
	rig   *rig
	hosts []host
	ports int // how many
	talks map[talk]*side
}

// newGenerator draws the few addresses and ports of a session. Half of the sessions have so few that most packets meet
// a flow.
func newGenerator(r *rand.Rand, rig *rig) *generator {
	g := &generator{Rand: r, rig: rig, hosts: hosts, ports: 4, talks: map[talk]*side{}}
	if r.IntN(3) > 0 {
		family := r.IntN(2)
		lan, dmz := r.IntN(3)*2+family, 6+r.IntN(3)*2+family
		g.hosts, g.ports = []host{hosts[lan], hosts[dmz]}, 1+r.IntN(3)
	}
	return g
}

func (g *generator) port() uint16 { return 80 + uint16(g.IntN(g.ports)) }

// packet draws one packet and numbers it.
func (g *generator) packet(number uint32) sent {
	s := sent{}
	for {
		s.from, s.to = pick(g.Rand, g.hosts...), pick(g.Rand, g.hosts...)
		if s.from.segment != s.to.segment && s.from.addr.Is4() == s.to.addr.Is4() {
			break
		}
	}
	s.segment = s.from.segment
	mark := binary.BigEndian.AppendUint32(append([]byte{}, magic...), number)
	fragmented := g.IntN(12) == 0
	if fragmented {
		mark = append(make([]byte, splitAt), mark...) // the mark is in the second fragment
	}
	ip, rest := g.ip(s.from.addr, s.to.addr, mark)
	eth := &layers.Ethernet{SrcMAC: g.rig.mac[s.segment][:], DstMAC: g.rig.gw[s.segment][:], EthernetType: layers.EthernetTypeIPv4}
	if s.from.addr.Is6() {
		eth.EthernetType = layers.EthernetTypeIPv6
	}
	s.whole = serialize(append([]gopacket.SerializableLayer{eth, ip}, rest...))
	s.eth = s.whole
	if slices.ContainsFunc(rest, func(l gopacket.SerializableLayer) bool { return l.LayerType() == layers.LayerTypeTCP }) {
		fragmented = false // how long such a segment is the engine does not know, so it checks no windows after it
	}
	if fragmented {
		g.rig.fragmented++ // over all sessions: what is incomplete stays in the router's memory for a while
		if s.eth, s.rest = split(s.eth, g.rig.fragmented); g.IntN(3) == 0 {
			s.eth, s.rest = s.rest, nil // a later fragment alone
		}
	}
	return s
}

// splitAt is where packets are fragmented, in bytes of IP payload.
const splitAt = 64

// split makes two fragments of a frame.
func split(eth []byte, id uint32) (first, second []byte) {
	const head4, head6 = 14 + 20, 14 + 40
	if eth[12] == 8 {
		first, second = bytes.Clone(eth[:head4+splitAt]), append(bytes.Clone(eth[:head4]), eth[head4+splitAt:]...)
		for i, f := range [][]byte{first, second} {
			binary.BigEndian.PutUint16(f[16:], uint16(len(f)-14))
			binary.BigEndian.PutUint16(f[18:], uint16(id))
			binary.BigEndian.PutUint16(f[20:], []uint16{1 << 13, splitAt / 8}[i])
			frame.SetIPv4Checksum(f[14:])
		}
		return first, second
	}
	header := []byte{eth[20], 0, 0, 1, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(header[4:], id)
	first = slices.Concat(eth[:head6], header, eth[head6:head6+splitAt])
	binary.BigEndian.PutUint16(header[2:], splitAt)
	second = slices.Concat(eth[:head6], header, eth[head6+splitAt:])
	for _, f := range [][]byte{first, second} {
		f[20] = 44
		binary.BigEndian.PutUint16(f[18:], uint16(len(f)-head6))
	}
	return first, second
}

func serialize(l []gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...); err != nil {
		panic(err)
	}
	return b.Bytes()
}

type ipLayer interface {
	gopacket.SerializableLayer
	gopacket.NetworkLayer
}

// ip draws the IP packet and what it carries.
func (g *generator) ip(src, dst netip.Addr, mark []byte) (ipLayer, []gopacket.SerializableLayer) {
	var ip ipLayer
	ip4 := &layers.IPv4{Version: 4, TTL: 64, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	ip6 := &layers.IPv6{Version: 6, HopLimit: 64, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	if ip = ip4; src.Is6() {
		ip = ip6
	}
	var l []gopacket.SerializableLayer
	var proto layers.IPProtocol
	switch g.IntN(10) {
	case 0, 1, 2, 3:
		mark = append(make([]byte, pick(g.Rand, 0, 0, 100, 400)), mark...)
		t := g.tcp(src, dst, len(mark))
		_ = t.SetNetworkLayerForChecksum(ip)
		l, proto = []gopacket.SerializableLayer{t, gopacket.Payload(mark)}, layers.IPProtocolTCP
	case 4, 5:
		u := &layers.UDP{SrcPort: layers.UDPPort(g.port()), DstPort: layers.UDPPort(g.port())}
		_ = u.SetNetworkLayerForChecksum(ip)
		l, proto = []gopacket.SerializableLayer{u, gopacket.Payload(mark)}, layers.IPProtocolUDP
	case 6:
		proto = pick(g.Rand, layers.IPProtocolGRE, layers.IPProtocolESP, layers.IPProtocolOSPF, layers.IPProtocolVRRP, layers.IPProtocolIGMP)
		l = []gopacket.SerializableLayer{gopacket.Payload(append([]byte{0, 0, 0, 0, 0, 0, 0, 0}, mark...))}
	default:
		if l, proto = g.icmp(ip, src, dst, mark); g.IntN(12) == 0 { // in the family that it does not belong to
			proto = map[layers.IPProtocol]layers.IPProtocol{1: 58, 58: 1}[proto]
		}
	}
	if src.Is6() && g.IntN(5) == 0 {
		l, proto = g.chain(l, proto)
	}
	ip4.Protocol, ip6.NextHeader = proto, proto
	return ip, l
}

// chain puts headers of IPv6 before what a packet carries: extension headers, or some that are none and end the chain.
func (g *generator) chain(l []gopacket.SerializableLayer, proto layers.IPProtocol) ([]gopacket.SerializableLayer, layers.IPProtocol) {
	kinds := []layers.IPProtocol{43, 60, 60, 0}
	switch end := pick(g.Rand, layers.IPProtocol(6), 51, 135, 139, 140); end {
	case 51: // conntrack looks behind it, nft does not: so what is there is of a kind that it tracks just the same
		l, proto = append([]gopacket.SerializableLayer{gopacket.Payload(append([]byte{254, 4}, make([]byte, 22)...))}, l...), end
	case 135, 139, 140:
		l, proto = append([]gopacket.SerializableLayer{gopacket.Payload{byte(proto), 0, 1, 4, 0, 0, 0, 0}}, l...), end
	}
	for range g.IntN(3) {
		kind := pick(g.Rand, kinds...)
		h := gopacket.Payload{byte(proto), 0, 1, 4, 0, 0, 0, 0} // options: four bytes of padding
		if kind == 43 {
			h = gopacket.Payload{byte(proto), 0, 0, 0, 0, 0, 0, 0} // nothing left to visit
		}
		l, proto = append([]gopacket.SerializableLayer{h}, l...), kind
	}
	return l, proto
}

// icmp draws an ICMP message: echoes and their replies mostly, errors about packets that may have been sent, and
// others.
func (g *generator) icmp(ip ipLayer, src, dst netip.Addr, mark []byte) ([]gopacket.SerializableLayer, layers.IPProtocol) {
	types := [][2]uint8{{8, 128}, {8, 128}, {0, 129}, {3, 1}, {11, 3}, {13, 139}, {14, 140}, {40, 200}, {9, 135}}
	t := pick(g.Rand, types...)
	body := append([]byte{}, mark...)
	code := [2]uint8{}
	if g.IntN(2) == 0 {
		code = pick(g.Rand, [2]uint8{0, 4}, [2]uint8{1, 3}, [2]uint8{1, 0}) // not those of the router's own answers
	}
	id := g.port()
	if t == [2]uint8{3, 1} || t == [2]uint8{11, 3} {
		id = 0
		from, to := dst, src // about a packet of whom it goes to
		if g.IntN(8) == 0 {
			from = pick(g.Rand, hosts...).addr
		}
		if from.Is4() == to.Is4() {
			inner, rest := g.ip(to, from, mark)
			body = append(serialize(append([]gopacket.SerializableLayer{inner}, rest...)), mark...)
		}
	}
	if src.Is4() {
		c := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(t[0], code[0]), Id: id}
		return []gopacket.SerializableLayer{c, gopacket.Payload(body)}, layers.IPProtocolICMPv4
	}
	c := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(t[1], code[1])}
	_ = c.SetNetworkLayerForChecksum(ip)
	body = append([]byte{byte(id >> 8), byte(id), 0, 0}, body...)
	return []gopacket.SerializableLayer{c, gopacket.Payload(body)}, layers.IPProtocolICMPv6
}
