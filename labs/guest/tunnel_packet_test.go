package guest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"sluice/vnic/frame"
)

func serialize(l ...gopacket.SerializableLayer) *frame.Frame {
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...); err != nil {
		panic(err)
	}
	f := frame.From(b.Bytes())
	if b := f.Eth(); binary.BigEndian.Uint16(b[12:]) == frame.EtherIPv4 {
		f.Len = frame.MinLen + int(binary.BigEndian.Uint16(b[16:])) // without padding: conntrack takes it off
	}
	return f
}

// packet is a frame in a few words: "client > server tcp 1000 80 S", "server6 > client6 echo-reply 7"; a fourth of TCP
// is the length of its payload.
func packet(words string) *frame.Frame {
	w := strings.Fields(words)
	src, srcMAC := endOf(w[0])
	dst, dstMAC := endOf(w[2])
	switch { // all guests are on segments of their own
	case dstMAC != gateways[lan] && srcMAC == serverMAC:
		dstMAC = gateways[dmz]
	case dstMAC != gateways[lan]:
		dstMAC = gateways[lan]
	}
	ip4 := &layers.IPv4{Version: 4, TTL: 64, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	ip6 := &layers.IPv6{Version: 6, HopLimit: 64, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	if src.Is6() {
		proto, l4 := transport(ip6, w[3], w[4:])
		ip6.NextHeader = proto
		return serialize(append([]gopacket.SerializableLayer{ethernet(srcMAC, dstMAC, layers.EthernetTypeIPv6), ip6}, l4...)...)
	}
	proto, l4 := transport(ip4, w[3], w[4:])
	ip4.Protocol = proto
	return serialize(append([]gopacket.SerializableLayer{ethernet(srcMAC, dstMAC, layers.EthernetTypeIPv4), ip4}, l4...)...)
}

// transport is what a packet has behind its IP header.
func transport(ip gopacket.NetworkLayer, kind string, args []string) (layers.IPProtocol, []gopacket.SerializableLayer) {
	var n [4]uint16
	for i, a := range args {
		if i != 2 {
			fmt.Sscan(a, &n[i])
		}
	}
	switch kind {
	case "tcp":
		has := func(flag string) bool { return strings.Contains(args[2], flag) }
		t := &layers.TCP{SrcPort: layers.TCPPort(n[0]), DstPort: layers.TCPPort(n[1]), Window: 60000, Seq: 1, Ack: 1,
			SYN: has("S"), ACK: has("A"), RST: has("R")}
		_ = t.SetNetworkLayerForChecksum(ip)
		return layers.IPProtocolTCP, []gopacket.SerializableLayer{t, gopacket.Payload(make([]byte, n[3]))}
	case "udp":
		u := &layers.UDP{SrcPort: layers.UDPPort(n[0]), DstPort: layers.UDPPort(n[1])}
		_ = u.SetNetworkLayerForChecksum(ip)
		return layers.IPProtocolUDP, []gopacket.SerializableLayer{u}
	case "proto":
		return layers.IPProtocol(n[0]), []gopacket.SerializableLayer{gopacket.Payload("payload")}
	}
	t4, t6 := uint8(layers.ICMPv4TypeEchoRequest), uint8(layers.ICMPv6TypeEchoRequest)
	if kind == "echo-reply" {
		t4, t6 = layers.ICMPv4TypeEchoReply, layers.ICMPv6TypeEchoReply
	}
	if ip.LayerType() == layers.LayerTypeIPv4 {
		return layers.IPProtocolICMPv4, []gopacket.SerializableLayer{&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(t4, 0), Id: n[0]}}
	}
	i := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(t6, 0)}
	_ = i.SetNetworkLayerForChecksum(ip)
	return layers.IPProtocolICMPv6, []gopacket.SerializableLayer{i, gopacket.Payload(binary.BigEndian.AppendUint32(nil, uint32(n[0])<<16))}
}

func endOf(name string) (netip.Addr, frame.MAC) {
	for _, g := range steeredLab.Guests {
		v := g.VNICs[0]
		switch name {
		case g.Name:
			return v.Addrs[0], v.MAC
		case g.Name + "6":
			return v.Addrs[1], v.MAC
		}
	}
	return netip.MustParseAddr(name), gateways[lan]
}

var broadcast = frame.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func ethernet(src, dst frame.MAC, kind layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: src[:], DstMAC: dst[:], EthernetType: kind}
}

func icmp6(src, dst string, hops, kind uint8) *frame.Frame {
	ip := &layers.IPv6{
		Version: 6, HopLimit: hops, NextHeader: layers.IPProtocolICMPv6,
		SrcIP: netip.MustParseAddr(src).AsSlice(), DstIP: netip.MustParseAddr(dst).AsSlice(),
	}
	i := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	_ = i.SetNetworkLayerForChecksum(ip)
	return serialize(ethernet(clientMAC, frame.MAC{0x33, 0x33, 0, 0, 0, 1}, layers.EthernetTypeIPv6), ip, i, gopacket.Payload(make([]byte, 20)))
}

func tagged(f *frame.Frame) *frame.Frame {
	b := f.Eth()
	return frame.From(append(append(bytes.Clone(b[:12]), 0x81, 0, 0, 5), b[12:]...))
}

// pseudoSum is what a sender that leaves its checksum open puts there.
func pseudoSum(eth []byte, l4 int) uint16 {
	addrs := eth[26:34]
	if binary.BigEndian.Uint16(eth[12:]) == frame.EtherIPv6 {
		addrs = eth[22:54]
	}
	sum := uint32(frame.ProtoTCP) + uint32(len(eth)-l4)
	for i := 0; i < len(addrs); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(addrs[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

func onesSum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// fragment is a piece of an IPv4 packet without options.
func fragment(eth []byte, from, to int, more bool) *frame.Frame {
	f := frame.From(append(bytes.Clone(eth[:34]), eth[34+from:34+to]...))
	ip := f.Eth()[14:]
	binary.BigEndian.PutUint16(ip[2:], uint16(20+to-from))
	at := uint16(from / 8)
	if more {
		at |= 1 << 13
	}
	binary.BigEndian.PutUint16(ip[4:], 77)
	binary.BigEndian.PutUint16(ip[6:], at)
	frame.SetIPv4Checksum(ip)
	return f
}

func toSteer(f *frame.Frame) *frame.Frame {
	copy(f.Eth(), steerMAC[:])
	copy(f.Eth()[6:], switchMAC[:])
	return f
}
