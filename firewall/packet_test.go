package firewall

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"sluice/vnic/frame"
)

// packet is a packet in a test's words, such as "client > server tcp 40000 80 S", "server6 > client6 echo-reply 7", or
// "other > client unreachable client > server udp 5000 53".
type packet struct {
	src, dst netip.Addr
	kind     string // tcp, udp, echo, echo-reply, unreachable, or proto
	args     []string
	numbers  map[string]uint32 // of TCP, as seq=100: seq, ack, win, len, scale, sackok, and sack, a right edge
	fragment string            // first or later, of a packet with identification 77; or stray, the later one of another packet
}

func parsePacket(s string) packet {
	w := strings.Fields(s)
	if last := w[len(w)-1]; last == "first" || last == "later" || last == "stray" && len(w) > 5 {
		p := parsePacket(strings.Join(w[:len(w)-1], " "))
		p.fragment = last
		return p
	}
	p := packet{src: guestAddr(w[0]), dst: guestAddr(w[2]), kind: w[3], numbers: map[string]uint32{}}
	for _, a := range w[4:] {
		if name, value, ok := strings.Cut(a, "="); ok {
			var n uint32
			if _, err := fmt.Sscan(value, &n); err != nil {
				panic(a)
			}
			p.numbers[name] = n
			continue
		}
		p.args = append(p.args, a)
	}
	return p
}

// guestAddr is an address of the reference lab: a guest's name, its name and 6, or an address itself.
func guestAddr(name string) netip.Addr {
	for _, g := range lab.Guests {
		switch name {
		case g.Name:
			return g.VNICs[0].Addrs[0]
		case g.Name + "6":
			return g.VNICs[0].Addrs[1]
		}
	}
	return netip.MustParseAddr(name)
}

func number(s string) (n uint16) {
	if _, err := fmt.Sscan(s, &n); err != nil {
		panic(s + ": " + err.Error())
	}
	return n
}

// bytes is the packet from its IP header on.
func (p packet) bytes() []byte {
	var l []gopacket.SerializableLayer
	var ip gopacket.NetworkLayer
	var proto layers.IPProtocol
	ip4 := &layers.IPv4{Version: 4, TTL: 64, SrcIP: p.src.AsSlice(), DstIP: p.dst.AsSlice()}
	ip6 := &layers.IPv6{Version: 6, HopLimit: 64, SrcIP: p.src.AsSlice(), DstIP: p.dst.AsSlice()}
	if ip = ip4; p.src.Is6() {
		ip = ip6
	}
	switch p.kind {
	case "tcp":
		t := &layers.TCP{SrcPort: layers.TCPPort(number(p.args[0])), DstPort: layers.TCPPort(number(p.args[1])), Window: 1000, Seq: 1}
		f := p.args[2]
		t.SYN, t.ACK, t.FIN, t.RST = strings.Contains(f, "S"), strings.Contains(f, "A"), strings.Contains(f, "F"), strings.Contains(f, "R")
		p.number(t)
		_ = t.SetNetworkLayerForChecksum(ip)
		l, proto = append(l, t), layers.IPProtocolTCP
	case "udp":
		u := &layers.UDP{SrcPort: layers.UDPPort(number(p.args[0])), DstPort: layers.UDPPort(number(p.args[1]))}
		_ = u.SetNetworkLayerForChecksum(ip)
		l, proto = append(l, u), layers.IPProtocolUDP
	case "proto":
		proto = layers.IPProtocol(number(p.args[0]))
	default:
		l, proto = p.icmp(ip)
	}
	ip4.Protocol, ip6.NextHeader = proto, proto
	switch p.fragment {
	case "first":
		ip4.Id, ip4.Flags = 77, layers.IPv4MoreFragments
		l = append([]gopacket.SerializableLayer{p.fragmentHeader(ip6, 1)}, l...)
	case "later", "stray":
		ip4.Id, ip4.FragOffset = 77, 64
		if p.fragment == "stray" {
			ip4.Id++
		}
		l = []gopacket.SerializableLayer{p.fragmentHeader(ip6, 64<<3)}
	}
	l = append([]gopacket.SerializableLayer{ip.(gopacket.SerializableLayer)}, l...)
	payload := []byte("payload of a test")
	if n, ok := p.numbers["len"]; ok {
		payload = make([]byte, n)
	}
	b := serialize(append(l, gopacket.Payload(payload)))
	if p.fragment == "first" { // whole octets
		octets := len(b) - map[bool]int{true: 20, false: 40}[p.src.Is4()]
		b = serialize(append(l, gopacket.Payload(append(payload, make([]byte, -octets&7)...))))
	}
	return b
}

// number sets what a packet's text says of TCP's numbers and options.
func (p packet) number(t *layers.TCP) {
	for name, n := range p.numbers {
		switch name {
		case "seq":
			t.Seq = n
		case "ack":
			t.Ack = n
		case "win":
			t.Window = uint16(n)
		case "scale":
			t.Options = append(t.Options, layers.TCPOption{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{byte(n)}})
		case "sackok":
			t.Options = append(t.Options, layers.TCPOption{OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2})
		case "sack":
			block := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, n-1), n)
			t.Options = append(t.Options, layers.TCPOption{OptionType: layers.TCPOptionKindSACK, OptionLength: 10, OptionData: block})
		case "len":
		default:
			panic(name)
		}
	}
}

// fragmentHeader is IPv6's, which gopacket only reads; nothing for IPv4.
func (p packet) fragmentHeader(ip *layers.IPv6, offset uint16) gopacket.Payload {
	if p.src.Is4() {
		return nil
	}
	next := byte(ip.NextHeader)
	ip.NextHeader = layers.IPProtocolIPv6Fragment
	return gopacket.Payload{next, 0, byte(offset >> 8), byte(offset), 0, 0, 0, 77}
}

func serialize(l []gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// icmpTypes are ICMP's and ICMPv6's types of the words that tests use.
var icmpTypes = map[string][2]uint8{"echo": {8, 128}, "echo-reply": {0, 129}, "unreachable": {3, 1}, "timestamp": {13, 139}, "stray": {40, 200}, "ns": {135, 135}}

func (p packet) icmp(ip gopacket.NetworkLayer) ([]gopacket.SerializableLayer, layers.IPProtocol) {
	var rest []byte
	id := uint16(0)
	if p.kind == "unreachable" {
		rest = parsePacket(strings.Join(p.args, " ")).bytes()
	} else if len(p.args) > 0 {
		id = number(p.args[0])
	}
	t := icmpTypes[p.kind]
	if p.src.Is4() {
		return []gopacket.SerializableLayer{
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(t[0], 0), Id: id}, gopacket.Payload(rest),
		}, layers.IPProtocolICMPv4
	}
	c := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(t[1], 0)}
	_ = c.SetNetworkLayerForChecksum(ip)
	body := append([]byte{byte(id >> 8), byte(id), 0, 0}, rest...)
	return []gopacket.SerializableLayer{c, gopacket.Payload(body)}, layers.IPProtocolICMPv6
}

// frame is the packet on the wire, and its key.
func (p packet) frame(t testing.TB) (*frame.Frame, *frame.Key) {
	t.Helper()
	eth := &layers.Ethernet{
		SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4,
	}
	if p.src.Is6() {
		eth.EthernetType = layers.EthernetTypeIPv6
	}
	f := frame.From(serialize([]gopacket.SerializableLayer{eth, gopacket.Payload(p.bytes())}))
	k := &frame.Key{}
	if r := frame.Parse(f, k); r != frame.ReasonNone {
		t.Fatalf("parse %+v: %v", p, r)
	}
	return f, k
}

// world is a program with a flow table and a clock: both insertion points of each packet's way, and no switch between
// them.
type world struct {
	t  testing.TB
	g  *Program
	cx Context
}

func newWorld(t testing.TB, g *Program) *world {
	w := &world{t: t, g: g}
	w.cx = Context{Now: 1e15, Flows: mustFlows(FlowsConfig{Max: 4096})}
	return w
}

// send takes a packet along its whole way, and says "pass", also where it would be steered, or the reason and the point
// of the drop: "rule from-guest".
func (w *world) send(text string) string {
	w.t.Helper()
	p := parsePacket(text)
	v := w.at(Point{w.g.policy.PortOf(p.src), FromGuest}, text)
	if v.Action == Drop {
		return v.Reason.String() + " from-guest"
	}
	v = w.at(Point{w.g.policy.PortOf(p.dst), ToGuest}, text)
	if v.Action == Drop {
		return v.Reason.String() + " to-guest"
	}
	return "pass"
}

// at asks one insertion point.
func (w *world) at(pt Point, text string) Verdict {
	w.t.Helper()
	f, k := parsePacket(text).frame(w.t)
	w.cx.Eth = f.Eth()
	return w.g.Check(&w.cx, pt, k)
}
