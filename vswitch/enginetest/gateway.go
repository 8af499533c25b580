package enginetest

import (
	"bytes"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
)

var broadcast = frame.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func arp(op uint16, smac, dmac frame.MAC, sender, target frame.Addr) *frame.Frame {
	f := frame.New(frame.MinLen + 28)
	frame.PutEth(f.Eth(), dmac, smac, frame.EtherARP)
	frame.PutARP(f.Eth()[frame.MinLen:], op, smac, sender, dmac, target)
	return f
}

// testGatewayAnswersARP says that the switch answers for the gateway in every placement, for its own segment only.
func testGatewayAnswersARP(t *testing.T, bed Bed) {
	for _, to := range []firewall.Placement{firewall.Off, firewall.Fast, firewall.Slow} {
		r := bed.rig(t)
		r.policy(referencePolicy)
		r.place(to)
		r.client.send(arp(1, r.client.port.MAC, broadcast, r.client.addr(false), frame.AddrFrom(dmz4)))
		r.client.send(arp(1, r.client.port.MAC, broadcast, r.client.addr(false), frame.AddrFrom(lan4)))
		f, k := r.client.next("ARP reply", func(k *frame.Key) bool { return k.Has(frame.KeyARP) })
		if k.ARPOp != 2 || frame.ARPSender(f, &k) != gatewayMAC || k.Src != frame.AddrFrom(lan4) || k.Dst != r.client.addr(false) {
			t.Errorf("%s: %x", to, f.Eth())
		}
		// The question for the gateway of another segment is flooded like any other.
		r.other.next("ARP request", func(k *frame.Key) bool { return k.Dst == frame.AddrFrom(dmz4) })
		r.balanced()
		r.other.none("a question that was answered", func(k *frame.Key) bool { return k.Dst == frame.AddrFrom(lan4) })
	}
}

// testGatewayAnswersND is the same for IPv6, also for who has no address yet.
func testGatewayAnswersND(t *testing.T, bed Bed) {
	for _, asker := range []string{"fd00:10:1::10", "::"} {
		r := bed.rig(t)
		r.policy(referencePolicy)
		r.place(firewall.Fast)
		r.client.send(solicit(r.client.port.MAC, addr(asker), frame.AddrFrom(lan6)))
		f, k := r.client.next("advertisement", func(k *frame.Key) bool { return k.Proto == frame.ProtoICMPv6 })
		body := f.Eth()[k.L4:]
		target, option := frame.Addr(body[8:24]), body[24:26] // the target's link-layer address, 8 bytes long
		if k.ICMPType != 136 || k.TTL != 255 || target != frame.AddrFrom(lan6) || !bytes.Equal(option, []byte{2, 1}) ||
			frame.MAC(body[26:32]) != gatewayMAC {
			t.Errorf("%s: %x", asker, f.Eth())
		}
		wantDst := addr(asker)
		if asker == "::" {
			wantDst = addr("ff02::1")
		}
		if k.Dst != wantDst || !checksumOK(f, &k) {
			t.Errorf("%s: to %s: %x", asker, k.Dst.IP(), f.Eth())
		}
		r.balanced()
	}
}

// testRouting says what a routed packet looks like when it arrives.
func testRouting(t *testing.T, bed Bed) {
	for _, v6 := range []bool{false, true} {
		r := bed.rig(t)
		f := r.client.to(r.server, v6, packet{proto: frame.ProtoUDP, sport: 5, dport: 6, ttl: 9, payload: []byte("hello")}).build()
		r.client.send(f)
		got, k := r.server.next("packet", isProto(frame.ProtoUDP, 6))
		if k.TTL != 8 || k.SrcMAC != gatewayMAC || k.DstMAC != r.server.port.MAC || !checksumOK(got, &k) {
			t.Errorf("IPv6 %v: %x", v6, got.Eth())
		}
		if !bytes.Equal(got.Eth()[k.Payload:], []byte("hello")) {
			t.Errorf("payload %q", got.Eth()[k.Payload:])
		}
	}
}

// testICMPErrors says what the gateway answers to what it cannot route, and that the error quotes the packet.
func testICMPErrors(t *testing.T, bed Bed) {
	for _, c := range []struct {
		name                     string
		dst4, dst6               string
		ttl                      uint8
		payload                  int
		type4, code4, typ6, cod6 uint8
	}{
		{"time exceeded", "10.10.2.10", "fd00:10:2::10", 1, 8, 11, 0, 3, 0},
		{"no route", "192.0.2.1", "2001:db8::1", 64, 8, 3, 0, 1, 0},
		{"a segment that keeps to itself", "10.10.3.9", "fd00:10:3::9", 64, 8, 3, 0, 1, 0},
		{"too big", "10.10.2.10", "fd00:10:2::10", 64, 1600, 3, 4, 2, 0},
		{"UDP to the gateway", "10.10.2.1", "fd00:10:2::1", 64, 8, 3, 3, 1, 4},
	} {
		for _, v6 := range []bool{false, true} {
			r := bed.rig(t)
			p := r.client.to(r.server, v6, packet{proto: frame.ProtoUDP, sport: 5, dport: 6, ttl: c.ttl, payload: make([]byte, c.payload)})
			typ, code, proto, own := c.type4, c.code4, uint8(frame.ProtoICMP), frame.AddrFrom(lan4)
			p.dst = addr(c.dst4)
			if v6 {
				typ, code, proto, own = c.typ6, c.cod6, frame.ProtoICMPv6, frame.AddrFrom(lan6)
				p.dst = addr(c.dst6)
			}
			sent := p.build()
			r.client.send(sent)
			f, k := r.client.next(c.name, func(k *frame.Key) bool { return k.Proto == proto })
			if k.ICMPType != typ || k.ICMPCode != code || k.Src != own || k.DstMAC != r.client.port.MAC || !checksumOK(f, &k) {
				t.Errorf("%s, IPv6 %v: type %d code %d from %s", c.name, v6, k.ICMPType, k.ICMPCode, k.Src.IP())
			}
			quoted := f.Eth()[k.Payload:]
			if len(quoted) < 28 || !bytes.Equal(quoted[12:28], sent.Eth()[frame.MinLen+12:frame.MinLen+28]) {
				t.Errorf("%s, IPv6 %v: quotes %x", c.name, v6, quoted)
			}
			r.balanced()
		}
	}
}

// testNoErrorAboutErrors says that what must not be answered is not (RFC 1122 3.2.2).
func testNoErrorAboutErrors(t *testing.T, bed Bed) {
	r := bed.rig(t)
	p := r.client.to(r.server, false, packet{proto: frame.ProtoICMP, icmp: 3, ttl: 1, payload: make([]byte, 28)})
	r.client.send(p.build())
	p = r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 1, dport: 2, ttl: 1})
	p.dst = addr("224.1.2.3")
	r.client.send(p.build())
	r.balanced()
	r.client.none("an error about what must not be answered", func(k *frame.Key) bool { return k.Proto == frame.ProtoICMP })
}

// testEchoToGateway pings the gateway, with more than any scratch memory holds.
func testEchoToGateway(t *testing.T, bed Bed) {
	for _, v6 := range []bool{false, true} {
		r := bed.rig(t)
		p := r.client.to(r.server, v6, packet{proto: frame.ProtoICMP, icmp: 8, sport: 77, ttl: 3, payload: bytes.Repeat([]byte("ab"), 2000)})
		p.dst = frame.AddrFrom(lan4)
		want := uint8(0)
		if v6 {
			p.proto, p.icmp, p.dst, want = frame.ProtoICMPv6, 128, frame.AddrFrom(lan6), 129
		}
		r.client.send(p.build())
		f, k := r.client.next("echo reply", func(k *frame.Key) bool { return k.ICMPType == want })
		if k.Src != p.dst || k.Dst != p.src || k.SrcPort != 77 || k.PayloadLen != 4000 || k.TTL != 64 || !checksumOK(f, &k) {
			t.Errorf("IPv6 %v: %+v", v6, k)
		}
		r.balanced()
	}
}

// testNeighbours routes to a guest that the plan does not know: the gateway asks, keeps the packet, and delivers it
// once it has learnt.
func testNeighbours(t *testing.T, bed Bed) {
	for _, v6 := range []bool{false, true} {
		for _, to := range []firewall.Placement{firewall.Fast, firewall.Tunnel} {
			r := bed.rig(t)
			r.policy("default: allow")
			r.place(to)
			stranger := r.server.addr(v6)
			stranger[15] = 99
			r.fw.knows(stranger, 2, frame.MAC{})
			p := r.client.to(r.server, v6, packet{proto: frame.ProtoUDP, sport: 5, dport: 6})
			p.dst = stranger
			r.client.send(p.build())
			r.server.next("question", asksFor(stranger))
			if v6 {
				r.server.send(advertise(r.server.port.MAC, gatewayMAC, stranger, addr("fd00:10:2::1"), 0x60))
			} else {
				r.server.send(arp(2, r.server.port.MAC, gatewayMAC, stranger, frame.AddrFrom(dmz4)))
			}
			if _, k := r.server.next("the first packet", isProto(frame.ProtoUDP, 6)); k.Dst != stranger || k.TTL != 63 {
				t.Errorf("%s: %+v", to, k)
			}
			if d := r.balanced().Dropped; d["no-neighbour"] != 0 {
				t.Errorf("%s: dropped %v", to, d)
			}
		}
	}
}

// asksFor takes a question by ARP or ND.
func asksFor(a frame.Addr) func(*frame.Key) bool {
	group := addr("ff02::1:ff00:0")
	copy(group[13:], a[13:])
	return func(k *frame.Key) bool {
		return k.Has(frame.KeyARP) && k.ARPOp == 1 && k.Dst == a || k.Proto == frame.ProtoICMPv6 && k.ICMPType == 135 && k.Dst == group
	}
}

// testNobodyThere says that who sends to an address that nobody has is told so, once it has been asked for in vain: the
// router does it for a single packet, without another that reminds it.
func testNobodyThere(t *testing.T, bed Bed) {
	for _, v6 := range []bool{false, true} {
		r := bed.rig(t)
		p := r.client.to(r.server, v6, packet{proto: frame.ProtoUDP, sport: 5, dport: 6, payload: []byte("hello")})
		p.dst[15] = 99
		typ, code, proto := uint8(3), uint8(1), uint8(frame.ProtoICMP)
		if v6 {
			typ, code, proto = 1, 3, frame.ProtoICMPv6
		}
		r.client.send(p.build())
		for range 3 {
			r.server.next("question", asksFor(p.dst))
		}
		f, k := r.client.next("host unreachable", func(k *frame.Key) bool { return k.Proto == proto && k.ICMPType == typ })
		if k.ICMPCode != code || !checksumOK(f, &k) {
			t.Errorf("%+v", k)
		}
		if d := r.balanced().Dropped; d["no-neighbour"] != 1 || len(d) != 1 {
			t.Errorf("dropped %v", d)
		}
	}
}

// testReject says how the two kinds of reject are answered, in the words of nft's reject.
func testReject(t *testing.T, bed Bed) {
	for _, v6 := range []bool{false, true} {
		r := bed.rig(t)
		r.policy(referencePolicy)
		r.place(firewall.Fast)
		r.client.send(r.client.to(r.server, v6, packet{proto: frame.ProtoTCP, sport: 1234, dport: 22, flags: frame.TCPSyn, seq: 41}).build())
		f, k := r.client.next("reset", isProto(frame.ProtoTCP, 1234))
		if k.TCPFlags != frame.TCPRst|frame.TCPAck || k.Ack != 42 || k.Seq != 0 || k.Src != r.server.addr(v6) || !checksumOK(f, &k) {
			t.Errorf("IPv6 %v: %x", v6, f.Eth())
		}
		if d := r.balanced().Dropped; d["reject"] != 1 {
			t.Errorf("dropped %v", d)
		}
	}
	r := bed.rig(t)
	r.policy("services: {all: {udp: 1-65535}}\ndefault: drop\nrules:\n  - {name: no, from: client, to: any, service: all, action: reject}\n")
	r.place(firewall.Fast)
	r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 1, dport: 2}).build())
	if _, k := r.client.next("prohibited", func(k *frame.Key) bool { return k.Proto == frame.ProtoICMP }); k.ICMPType != 3 || k.ICMPCode != 13 {
		t.Errorf("type %d code %d", k.ICMPType, k.ICMPCode)
	}
}

// testErrorsAreLimited says that a guest that begs for errors gets about as many as Linux would send: a burst of 50,
// and 1,000 a second.
func testErrorsAreLimited(t *testing.T, bed Bed) {
	const begged = 3000
	r := bed.rig(t)
	began := time.Now()
	p := r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 5, dport: 6, ttl: 1}).build()
	for range begged {
		r.client.send(p)
	}
	s := r.balanced()
	most := 50 + 1000*time.Since(began).Seconds() + 1
	if got := s.Ports[0].InFrames; s.Dropped["ttl"] != begged || got == 0 || float64(got) > most {
		t.Errorf("%d errors about %d frames, expected at most %.0f", got, s.Dropped["ttl"], most)
	}
}

func solicit(smac frame.MAC, from, target frame.Addr) *frame.Frame {
	group := addr("ff02::1:ff00:0")
	copy(group[13:], target[13:])
	p := packet{smac: smac, dmac: frame.MAC{0x33, 0x33, 0xff, target[13], target[14], target[15]}, src: from, dst: group}
	p.icmp = frame.ICMP6NeighbourSolicit
	return neighbourMessage(p, target, 0)
}

// checksumOK verifies the checksums of a frame from its bytes.
func checksumOK(f *frame.Frame, k *frame.Key) bool {
	b := f.Eth()
	if k.Has(frame.KeyIPv4) && frame.Checksum(b[k.L3:k.L4]) != 0 {
		return false
	}
	l4 := b[k.L4 : uint32(k.L3)+k.L3Len]
	if k.Proto == frame.ProtoICMP {
		return frame.Checksum(l4) == 0
	}
	return frame.L4Checksum(k.Src, k.Dst, k.Proto, l4) == 0
}
