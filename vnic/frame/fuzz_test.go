package frame

import (
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// fromWire is a frame of fuzzed bytes: a virtio_net_hdr and what follows it.
func fromWire(wire []byte) *Frame {
	if len(wire) < VnetLen || len(wire) > VnetLen+MaxLen {
		return nil
	}
	f := New(len(wire) - VnetLen)
	copy(f.Wire(), wire)
	return f
}

func addSeeds(f *testing.F) {
	for _, s := range []*Frame{
		gsoFrame(ProtoTCP, false, make([]byte, 100), 50),
		gsoFrame(ProtoTCP, true, make([]byte, 100), 50),
		gsoFrame(ProtoUDP, false, make([]byte, 100), 50),
		From(raw(EtherIPv6, ip6(60, 16+20), extensions(2, ProtoTCP), tcp(5))),
		From(raw(EtherIPv6, ip6(44, 28), with(extension(ProtoTCP), 3, 1), tcp(5))),
		From(raw(EtherIPv4, ip4(ProtoICMP, 0, 8), echoRequest(8))),
		From(raw(EtherARP, arp(1))),
	} {
		f.Add(s.Wire())
	}
}

// FuzzParse holds that Parse believes only what is within the frame, and agrees with gopacket where both read it.
func FuzzParse(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, wire []byte) {
		fr := fromWire(wire)
		if fr == nil {
			return
		}
		var k Key
		if Parse(fr, &k) != ReasonNone {
			return
		}
		if k.Flags&(KeyIPv4|KeyIPv6) != 0 && int(k.L3)+int(k.L3Len) > fr.Len {
			t.Fatalf("L3 ends at %d of %d", int(k.L3)+int(k.L3Len), fr.Len)
		}
		if k.Has(KeyL4) && (k.L4 < k.L3 || k.Payload < k.L4 || int(k.Payload)+int(k.PayloadLen) > int(k.L3)+int(k.L3Len)) {
			t.Fatalf("offsets %d %d %d, payload %d, of %d", k.L3, k.L4, k.Payload, k.PayloadLen, fr.Len)
		}
		if k.Has(KeyLater) && k.Has(KeyL4) {
			t.Fatal("a later fragment has no L4 header")
		}
		agree(t, fr, &k)
	})
}

// agree compares a key with what gopacket reads.
func agree(t *testing.T, f *Frame, k *Key) {
	p := gopacket.NewPacket(f.Eth(), layers.LayerTypeEthernet, gopacket.NoCopy)
	switch ip := p.NetworkLayer().(type) {
	case *layers.IPv4:
		if !k.Has(KeyIPv4) {
			return // gopacket looks into tunnels and tags; we do not
		}
		if k.Src.IP().String() != ip.SrcIP.String() || k.Dst.IP().String() != ip.DstIP.String() || k.TTL != ip.TTL ||
			k.Proto != uint8(ip.Protocol) || int(k.L3Len) != int(ip.Length) {
			t.Fatalf("%+v\ngopacket reads %+v", k, ip)
		}
	case *layers.IPv6:
		if !k.Has(KeyIPv6) {
			return
		}
		if string(k.Src[:]) != string(ip.SrcIP) || string(k.Dst[:]) != string(ip.DstIP) || k.TTL != ip.HopLimit || k.TOS != ip.TrafficClass {
			t.Fatalf("%+v\ngopacket reads %+v", k, ip)
		}
	}
	if !k.Has(KeyL4) || p.NetworkLayer() == nil || k.Flags&(KeyIPv4|KeyIPv6) == 0 {
		return
	}
	switch l := p.TransportLayer().(type) {
	case *layers.TCP:
		if k.Proto == ProtoTCP && (k.SrcPort != uint16(l.SrcPort) || k.DstPort != uint16(l.DstPort) || k.Seq != l.Seq || k.Ack != l.Ack ||
			k.Window != l.Window || int(k.Payload-k.L4) != int(l.DataOffset)*4) {
			t.Fatalf("%+v\ngopacket reads %+v", k, l)
		}
	case *layers.UDP:
		if k.Proto == ProtoUDP && (k.SrcPort != uint16(l.SrcPort) || k.DstPort != uint16(l.DstPort)) {
			t.Fatalf("%+v\ngopacket reads %+v", k, l)
		}
	}
}

// FuzzSegment holds that whatever Parse accepts can be cut, and that what comes out is accepted, finished and complete.
func FuzzSegment(f *testing.F) {
	addSeeds(f)
	var s Segmenter
	f.Fuzz(func(t *testing.T, wire []byte) {
		fr := fromWire(wire)
		if fr == nil {
			return
		}
		var k Key
		if Parse(fr, &k) != ReasonNone {
			return
		}
		total := 0
		for p := range s.Split(fr, &k) {
			var pk Key
			if r := Parse(p, &pk); r != ReasonNone || !p.Vnet().Plain() {
				t.Fatalf("a packet is refused (%v), or not finished (% x)", r, *p.Vnet())
			}
			total += int(pk.PayloadLen)
		}
		if total != int(k.PayloadLen) {
			t.Fatalf("%d bytes of payload became %d", k.PayloadLen, total)
		}
	})
}
