package enginetest

import (
	"encoding/binary"
	"testing"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// advertise is a neighbour advertisement of an address, with the MAC as its option; flags are R 0x80, S 0x40, O 0x20
// (RFC 4861 4.4).
func advertise(smac, dmac frame.MAC, target, to frame.Addr, flags byte) *frame.Frame {
	return neighbourMessage(packet{smac: smac, dmac: dmac, src: target, dst: to, icmp: frame.ICMP6NeighbourAdvert}, target, flags)
}

// neighbourMessage is a neighbour solicitation or advertisement of a target, with the sender's MAC as its option. Of p
// it takes MACs, addresses and ICMP's type.
func neighbourMessage(p packet, target frame.Addr, flags byte) *frame.Frame {
	f := frame.New(frame.MinLen + 40 + 32)
	b := f.Eth()
	frame.PutEth(b, p.dmac, p.smac, frame.EtherIPv6)
	frame.PutIPv6(b[frame.MinLen:], p.src, p.dst, frame.ProtoICMPv6, 255, 32)
	m := b[frame.MinLen+40:]
	m[0], m[4], m[24], m[25] = p.icmp, flags, frame.NDSource, 1
	if p.icmp == frame.ICMP6NeighbourAdvert {
		m[24] = frame.NDTarget
	}
	copy(m[8:], target[:])
	copy(m[26:], p.smac[:])
	binary.BigEndian.PutUint16(m[2:], frame.L4Checksum(p.src, p.dst, frame.ProtoICMPv6, m))
	return f
}

// claims announces an address as a kernel does that has just taken it over.
func (g *guest) claims(a frame.Addr, mac frame.MAC, override bool) {
	g.t.Helper()
	if a.IP().Is4() {
		g.send(arp(1, mac, broadcast, a, a))
		return
	}
	flags := byte(0)
	if override {
		flags = 0x20
	}
	g.send(advertise(mac, frame.MAC{0x33, 0x33, 5: 1}, a, addr("ff02::1"), flags))
}

// addSpare puts a second guest beside server.
func (r *rig) addSpare() *guest {
	return r.addGuest(9, "spare", 2, "10.10.2.12", "fd00:10:2::12")
}

// testAddressMoves says that an address which another guest announces is routed to that one at once: one that the plan
// gives to a guest, and one that it does not know; with the guest's own MAC, and with one that moves along.
func testAddressMoves(t *testing.T, bed Bed) {
	virtual := frame.MAC{0, 0, 0x5e, 0, 1, 7}
	for _, to := range []firewall.Placement{firewall.Off, firewall.Fast, firewall.Slow, firewall.Tunnel, firewall.Inspect, firewall.Push} {
		r := bed.rig(t)
		spare := r.addSpare()
		for _, a := range []string{"10.10.2.100", "fd00:10:2::100"} {
			r.fw.knows(addr(a), 2, frame.MAC{2, 9})
		}
		r.policy("default: allow\ntcp-windows: liberal")
		r.place(to)
		for number, a := range []string{"10.10.2.10", "fd00:10:2::10", "10.10.2.100", "fd00:10:2::100"} {
			for _, shared := range []bool{false, true} {
				for turn, holder := range []*guest{r.server, spare, r.server} {
					mac := holder.port.MAC
					if shared {
						mac = virtual
					}
					holder.claims(addr(a), mac, true)
					r.settled()
					p := r.client.to(r.server, addr(a).IP().Is6(), packet{proto: frame.ProtoUDP, sport: uint16(100*number + turn + 1), dport: 6})
					p.dst = addr(a)
					r.client.send(p.build())
					_, k := holder.next(to.String()+": what is sent to "+a, func(k *frame.Key) bool { return k.SrcPort == p.sport && k.Proto == frame.ProtoUDP })
					if k.DstMAC != mac {
						t.Errorf("%s, %s: to %x", to, a, k.DstMAC)
					}
				}
			}
		}
		r.balanced()
	}
}

// testClaimsThatDoNotHold says what moves no address: an advertisement without the override flag, one that came through
// a router or with a wrong checksum, a claim of the gateway's own address or with its MAC, a group as a MAC, and what a
// router does not hear.
func testClaimsThatDoNotHold(t *testing.T, bed Bed) {
	a4, a6 := addr("10.10.2.10"), addr("fd00:10:2::10")
	for name, claim := range map[string]func(g *guest){
		"no override": func(g *guest) { g.claims(a6, g.port.MAC, false) },
		"solicited, to all": func(g *guest) {
			g.send(advertise(g.port.MAC, frame.MAC{0x33, 0x33, 5: 1}, a6, addr("ff02::1"), 0x60))
		},
		"hop limit": func(g *guest) {
			f := advertise(g.port.MAC, gatewayMAC, a6, addr("fd00:10:2::1"), 0x20)
			f.Eth()[frame.MinLen+7] = 254
			g.send(f)
		},
		"checksum": func(g *guest) {
			f := advertise(g.port.MAC, gatewayMAC, a6, addr("fd00:10:2::1"), 0x20)
			f.Eth()[frame.MinLen+42] ^= 1
			g.send(f)
		},
		"an option of no length": func(g *guest) {
			f := advertise(g.port.MAC, gatewayMAC, a6, addr("fd00:10:2::1"), 0x20)
			f.Eth()[frame.MinLen+40+25] = 0
			g.send(f)
		},
		"the gateway's address": func(g *guest) { g.claims(frame.AddrFrom(dmz4), g.port.MAC, true) },
		"the gateway's MAC": func(g *guest) {
			f := arp(1, g.port.MAC, broadcast, a4, a4)
			copy(f.Eth()[frame.MinLen+8:], gatewayMAC[:])
			g.send(f)
		},
		"a group's MAC": func(g *guest) {
			f := arp(1, g.port.MAC, broadcast, a4, a4)
			f.Eth()[frame.MinLen+8] |= 1
			g.send(f)
		},
		"said to another":           func(g *guest) { g.send(arp(2, g.port.MAC, frame.MAC{2, 0, 0, 0, 0, 2}, a4, a4)) },
		"another segment's address": func(g *guest) { g.claims(addr("10.10.1.11"), g.port.MAC, true) },
	} {
		r := bed.rig(t)
		spare := r.addSpare()
		r.policy("default: allow")
		r.place(firewall.Fast)
		claim(spare)
		r.settled()
		for i, v6 := range []bool{false, true} {
			r.client.send(r.client.to(r.server, v6, packet{proto: frame.ProtoUDP, sport: uint16(i + 1), dport: 6}).build())
			r.server.next(name+": what is sent to it", func(k *frame.Key) bool { return k.SrcPort == uint16(i+1) })
			r.client.send(r.client.to(r.other, v6, packet{proto: frame.ProtoUDP, sport: uint16(i + 1), dport: 6}).build())
			r.other.next(name+": what is sent on the segment", func(k *frame.Key) bool { return k.SrcPort == uint16(i+1) })
		}
		r.balanced()
	}
}

// testGuardedMovesNothing says that a guest under SpoofGuard takes nobody's address.
func testGuardedMovesNothing(t *testing.T, bed Bed) {
	r := bed.rig(t)
	spare := r.addSpare()
	r.inv.Guests[len(r.inv.Guests)-1].VNICs[0].Guarded = true
	r.policy("default: allow")
	for _, to := range []firewall.Placement{firewall.Off, firewall.Fast, firewall.Slow, firewall.Tunnel} {
		r.place(to)
		before := r.sw.Stats().Dropped["spoofguard"]
		for _, a := range []string{"10.10.2.10", "fd00:10:2::10"} {
			spare.claims(addr(a), spare.port.MAC, true)
		}
		if got := r.balanced().Dropped["spoofguard"]; got != before+2 {
			t.Errorf("%s: %d claims were refused", to, got-before)
		}
	}
	for _, v6 := range []bool{false, true} {
		r.client.send(r.client.to(r.server, v6, packet{proto: frame.ProtoUDP, sport: 1, dport: 6}).build())
		r.server.next("what is sent to it", isProto(frame.ProtoUDP, 6))
	}
}

// testApplianceFollows says that the appliance, which hears no broadcasts, is told of each address that moves: while it
// routes, and when it begins to. What it asks the switch answers.
func testApplianceFollows(t *testing.T, bed Bed) {
	r := bed.rig(t)
	spare := r.addSpare()
	r.policy("default: allow")
	said := r.hears()
	next := func(what string, a frame.Addr, mac frame.MAC) {
		t.Helper()
		said.next(what, func(k *frame.Key) bool {
			return k.Src == a && k.SrcMAC == mac && (k.Has(frame.KeyARP) && k.Dst == a || k.ICMPType == 133 && k.TTL == 255)
		})
	}
	v4, v6 := addr("10.10.2.10"), addr("fd00:10:2::10")
	spare.claims(v4, spare.port.MAC, true)
	r.balanced()
	r.place(firewall.Slow)
	moved, stayed := false, false // they come in no order
	said.next("where the addresses are", func(k *frame.Key) bool {
		moved = moved || k.Src == v4 && k.SrcMAC == spare.port.MAC
		stayed = stayed || k.Src == v6 && k.SrcMAC == r.server.port.MAC
		return moved && stayed
	})
	spare.claims(v6, spare.port.MAC, true)
	next("a move", v6, spare.port.MAC)
	r.server.claims(v4, r.server.port.MAC, true)
	next("a move back", v4, r.server.port.MAC)

	r.fw.nics[2].WriteBatch([]*frame.Frame{arp(1, gatewayMAC, broadcast, frame.AddrFrom(dmz4), v4)})
	f, _ := said.next("the switch's answer", func(k *frame.Key) bool { return k.Has(frame.KeyARP) && k.ARPOp == 2 })
	if mac := frame.MAC(f.Eth()[frame.MinLen+8:]); mac != r.server.port.MAC {
		t.Errorf("%s is at %x", v4.IP(), mac)
	}
	r.fw.nics[2].WriteBatch([]*frame.Frame{solicit(gatewayMAC, addr("fe80::fe"), v6)})
	f, k := said.next("the switch's answer", func(k *frame.Key) bool { return k.ICMPType == 136 })
	if mac := frame.MAC(f.Eth()[k.Payload+18:]); mac != spare.port.MAC || k.Dst != addr("fe80::fe") || !checksumOK(f, &k) {
		t.Errorf("%s is at %x", v6.IP(), mac)
	}
	r.balanced()
}
