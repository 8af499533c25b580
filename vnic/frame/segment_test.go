package frame

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"pgregory.net/rapid"
)

// gsoFrame is a GSO frame as a guest's kernel would send it: only the pseudo-header is in its L4 checksum.
func gsoFrame(proto uint8, v6 bool, payload []byte, size int) *Frame {
	l4 := tcp(5)
	l4[13] = TCPAck | TCPPsh | TCPFin | tcpCWR
	kind, at := uint8(GSOTCPv4), 16
	if v6 {
		kind = GSOTCPv6
	}
	if proto == ProtoUDP {
		l4, kind, at = udp(0), GSOUDPL4, 6
		binary.BigEndian.PutUint16(l4[4:], uint16(8+len(payload)))
	}
	n := len(l4) + len(payload)
	etherType, ip, src, dst := uint16(EtherIPv4), []byte(nil), addrA, addrB
	if v6 {
		etherType, src, dst = EtherIPv6, addrX, addrY
		ip = ip6(proto, n)
	} else {
		ip = ip4(proto, 0x4000, n)
		binary.BigEndian.PutUint16(ip[4:], 0xfffe) // an identification that wraps
		SetIPv4Checksum(ip)
	}
	binary.BigEndian.PutUint16(l4[at:], ^fold(pseudo(src, dst, proto, n)))
	f := From(raw(etherType, ip, l4, payload))
	f.Vnet().SetChecksum(MinLen+len(ip), at)
	f.Vnet().SetGSO(kind, size, MinLen+len(ip)+len(l4))
	return f
}

// checksumsHold says whether another implementation finds every checksum of a finished frame right.
func checksumsHold(t interface{ Fatalf(string, ...any) }, eth []byte) gopacket.Packet {
	p := gopacket.NewPacket(eth, layers.LayerTypeEthernet, gopacket.Default)
	if p.ErrorLayer() != nil {
		t.Fatalf("gopacket: %v", p.ErrorLayer().Error())
	}
	if ip, ok := p.NetworkLayer().(*layers.IPv4); ok && Checksum(ip.Contents) != 0 {
		t.Fatalf("IPv4 header's checksum is wrong")
	}
	// To have gopacket compute the sums, the packet is serialized again and compared.
	var all []gopacket.SerializableLayer
	want := bytes.Clone(eth)
	l4, at := len(p.LinkLayer().LayerContents())+len(p.NetworkLayer().LayerContents()), 0
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.TCP:
			l.SetNetworkLayerForChecksum(p.NetworkLayer())
			at = l4 + 16
		case *layers.UDP:
			l.SetNetworkLayerForChecksum(p.NetworkLayer())
			at = l4 + 6
		}
		if s, ok := l.(gopacket.SerializableLayer); ok {
			all = append(all, s)
		}
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{ComputeChecksums: true, FixLengths: true}, all...); err != nil {
		t.Fatalf("gopacket: %v", err)
	}
	if want[at] == 0xff && want[at+1] == 0xff {
		want[at], want[at+1] = 0, 0 // the same number, and gopacket does not write UDP's zero as RFC 768 asks
	}
	if !bytes.HasPrefix(buf.Bytes(), want) { // it pads short frames
		t.Fatalf("gopacket would have written\n% x\nnot\n% x", buf.Bytes(), eth)
	}
	return p
}

func TestSplitReassembles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		proto := rapid.SampledFrom([]uint8{ProtoTCP, ProtoUDP}).Draw(t, "proto")
		v6 := rapid.Bool().Draw(t, "v6")
		payload := make([]byte, rapid.IntRange(1, 20000).Draw(t, "payload"))
		seed := rapid.Uint32().Draw(t, "bytes")
		for i := range payload {
			seed = seed*1664525 + 1013904223
			payload[i] = byte(seed >> 24)
		}
		least := map[uint8]int{ProtoTCP: minTCPGSOSize, ProtoUDP: 1}[proto]
		size := rapid.IntRange(max(least, len(payload)/maxSegments+1), 3000).Draw(t, "size")
		f := gsoFrame(proto, v6, payload, size)
		before := bytes.Clone(f.Wire())
		var k Key
		if r := Parse(f, &k); r != ReasonNone {
			t.Fatalf("refused: %v", r)
		}
		var s Segmenter
		var got []byte
		var n uint16
		for p := range s.Split(f, &k) {
			if *p.Vnet() != (Vnet{}) {
				t.Fatalf("packet %d asks for more: % x", n, *p.Vnet())
			}
			var pk Key
			if r := Parse(p, &pk); r != ReasonNone {
				t.Fatalf("packet %d refused: %v", n, r)
			}
			if int(pk.PayloadLen) > size {
				t.Fatalf("packet %d has %d bytes of payload, not %d", n, pk.PayloadLen, size)
			}
			packet := checksumsHold(t, p.Eth())
			checkPacket(t, packet, &k, n, len(got), len(got)+int(pk.PayloadLen) == len(payload))
			got = append(got, p.Eth()[pk.Payload:int(pk.Payload)+int(pk.PayloadLen)]...)
			n++
		}
		if !bytes.Equal(got, payload) {
			t.Fatalf("%d bytes of payload became %d", len(payload), len(got))
		}
		if !bytes.Equal(before, f.Wire()) {
			t.Fatalf("the frame itself was changed")
		}
	})
}

// checkPacket looks at what differs from packet to packet.
func checkPacket(t *rapid.T, p gopacket.Packet, k *Key, n uint16, at int, last bool) {
	if ip, ok := p.NetworkLayer().(*layers.IPv4); ok && ip.Id != 0xfffe+n {
		t.Fatalf("packet %d has identification %d", n, ip.Id)
	}
	if l, ok := p.TransportLayer().(*layers.TCP); ok {
		if l.Seq != k.Seq+uint32(at) {
			t.Fatalf("packet %d has sequence %d", n, l.Seq)
		}
		if l.FIN != last || l.PSH != last || l.CWR != (n == 0) || !l.ACK {
			t.Fatalf("packet %d of which last is %v: FIN %v PSH %v CWR %v ACK %v", n, last, l.FIN, l.PSH, l.CWR, l.ACK)
		}
	}
}

func TestSplitFinishesSinglePacket(t *testing.T) {
	for _, proto := range []uint8{ProtoTCP, ProtoUDP} {
		f := gsoFrame(proto, false, []byte("odd"), 1000)
		var k Key
		if r := Parse(f, &k); r != ReasonNone || k.Has(KeyGSO) {
			t.Fatalf("%v %b", r, k.Flags)
		}
		var s Segmenter
		n := 0
		for p := range s.Split(f, &k) {
			checksumsHold(t, p.Eth())
			n++
		}
		if n != 1 {
			t.Fatalf("%d packets", n)
		}
	}
}

func TestFinishChecksum(t *testing.T) {
	f := gsoFrame(ProtoTCP, true, []byte("some payload"), 1000)
	f.Vnet()[1] = 0
	FinishChecksum(f)
	checksumsHold(t, f.Eth())
	if !f.Vnet().Plain() {
		t.Error("the request is still there")
	}
}

// A UDP checksum of zero means that there is none, so the sum zero is written as its other form (RFC 768).
func TestFinishChecksumNeverWritesZero(t *testing.T) {
	f := gsoFrame(ProtoUDP, false, []byte{0, 0}, 1000)
	f.Vnet()[1] = 0
	b := f.Eth()
	binary.BigEndian.PutUint16(b[42:], Checksum(b[34:])) // a sum and its complement add up to nothing
	if Checksum(b[34:]) != 0 {
		t.Fatalf("the frame was to have the sum 0, not %#x", Checksum(b[34:]))
	}
	FinishChecksum(f)
	if got := binary.BigEndian.Uint16(b[40:]); got != 0xffff {
		t.Fatalf("wrote %#x", got)
	}
}

func TestDecTTL(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := raw(EtherIPv4, ip4(ProtoTCP, 0, 20), tcp(5))
		ip := b[MinLen:]
		ip[1], ip[8], ip[9] = rapid.Byte().Draw(t, "tos"), rapid.Uint8Range(2, 255).Draw(t, "ttl"), ProtoTCP
		binary.BigEndian.PutUint16(ip[4:], rapid.Uint16().Draw(t, "id"))
		SetIPv4Checksum(ip)
		f := From(b)
		var k Key
		Parse(f, &k)
		DecTTL(f, &k)
		if got := f.Eth()[22]; got != ip[8]-1 || k.TTL != got {
			t.Fatalf("TTL %d became %d", ip[8], got)
		}
		if Checksum(f.Eth()[14:34]) != 0 {
			t.Fatalf("checksum is wrong")
		}
	})
}

func TestSplitDoesNotAllocate(t *testing.T) {
	f := gsoFrame(ProtoTCP, false, make([]byte, 20000), 1448)
	var k Key
	Parse(f, &k)
	var s Segmenter
	split := func() {
		for range s.Split(f, &k) {
		}
	}
	split()
	if n := testing.AllocsPerRun(100, split); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkSplit(b *testing.B) {
	f := gsoFrame(ProtoTCP, false, make([]byte, 60000), 1448)
	var k Key
	Parse(f, &k)
	var s Segmenter
	b.SetBytes(60000)
	for b.Loop() {
		for range s.Split(f, &k) {
		}
	}
}
