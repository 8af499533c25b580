package firewall

import (
	"testing"

	"sluice/vnic/frame"
)

// guarded is a program, in which nothing is enforced, over the reference lab with the client's vNIC guarded.
func guarded(t *testing.T) *Program {
	p, err := Load("p.yaml", []byte("default: allow"), guardedLab())
	if err != nil {
		t.Fatal(err)
	}
	return mustCompile(t, p, Off)
}

func TestGuardOfPackets(t *testing.T) {
	for _, c := range []struct {
		packet string
		pass   bool
	}{
		{"client > server udp 1 2", true},
		{"client6 > server6 udp 1 2", true},
		{"other > server udp 1 2", false},
		{"other6 > server6 tcp 1 2 S", false},
		{"10.10.1.12 > server udp 1 2", false},
		{"fe80::5 > server6 udp 1 2", true}, // the first that it was seen with
		{"other > server proto 47", false},
	} {
		w := newWorld(t, guarded(t))
		if v := w.at(Point{client, FromGuest}, c.packet); (v.Action == Pass) != c.pass || !c.pass && v.Reason != frame.ReasonSpoof {
			t.Errorf("%s: %+v", c.packet, v)
		}
		if v := w.at(Point{client, ToGuest}, c.packet); v.Action != Pass {
			t.Errorf("to the guest, %s: %+v", c.packet, v)
		}
		if v := w.at(Point{other, FromGuest}, c.packet); v.Action != Pass {
			t.Errorf("from a guest that is not guarded, %s: %+v", c.packet, v)
		}
	}
	w := newWorld(t, guarded(t))
	f, k := parsePacket("client > server udp 1 2").frame(t)
	k.SrcMAC[5]++
	w.cx.Eth = f.Eth()
	if v := w.g.Check(&w.cx, Point{client, FromGuest}, k); v.Reason != frame.ReasonSpoof {
		t.Errorf("another MAC: %+v", v)
	}
}

func TestGuardOfARP(t *testing.T) {
	mac, otherMAC := lab.Guests[0].VNICs[0].MAC, lab.Guests[2].VNICs[0].MAC
	own, others := frame.AddrFrom(guestAddr("client")), frame.AddrFrom(guestAddr("other"))
	for _, c := range []struct {
		name   string
		op     uint16
		sender frame.MAC
		ip     frame.Addr
		target frame.Addr
		pass   bool
	}{
		{"own", 1, mac, own, others, true},
		{"own answer", 2, mac, own, others, true},
		{"announcement", 1, mac, own, own, true},
		{"probe of its own", 1, mac, unspecifiedIPv4, own, true},
		{"probe of nobody's", 1, mac, unspecifiedIPv4, frame.AddrFrom(guestAddr("10.10.1.77")), true},
		{"probe of another's", 1, mac, unspecifiedIPv4, others, false},
		{"probe of the gateway's", 1, mac, unspecifiedIPv4, frame.AddrFrom(guestAddr("10.10.1.1")), false},
		{"answer from nobody", 2, mac, unspecifiedIPv4, own, false},
		{"another's address", 1, mac, others, own, false},
		{"another's address, announced", 2, mac, others, others, false},
		{"the gateway's address", 1, mac, frame.AddrFrom(guestAddr("10.10.1.1")), own, false},
		{"another's MAC", 1, otherMAC, own, others, false},
		{"InARP", 8, mac, own, others, true},
		{"InARP of another", 9, mac, others, own, false},
		{"reverse ARP as ARP", 3, mac, own, own, false},
		{"an operation that nobody knows", 25, mac, own, own, false},
	} {
		f := frame.New(frame.MinLen + 28)
		frame.PutEth(f.Eth(), frame.MAC{255, 255, 255, 255, 255, 255}, mac, frame.EtherARP)
		frame.PutARP(f.Eth()[frame.MinLen:], c.op, c.sender, c.ip, frame.MAC{}, c.target)
		var k frame.Key
		if r := frame.Parse(f, &k); r != frame.ReasonNone {
			t.Fatal(c.name, r)
		}
		g := guarded(t)
		cx := Context{Flows: mustFlows(FlowsConfig{Max: 4096}), Eth: f.Eth()}
		if v := g.Check(&cx, Point{client, FromGuest}, &k); (v.Action == Pass) != c.pass {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}

func TestGuardOfNeighbourDiscovery(t *testing.T) {
	mac, otherMAC := lab.Guests[0].VNICs[0].MAC, lab.Guests[2].VNICs[0].MAC
	own, others := frame.AddrFrom(guestAddr("client6")), frame.AddrFrom(guestAddr("other6"))
	for _, c := range []struct {
		name   string
		kind   byte
		target frame.Addr
		option byte
		mac    frame.MAC
		pass   bool
	}{
		{"solicitation", frame.ICMP6NeighbourSolicit, others, frame.NDSource, mac, true},
		{"solicitation with another's MAC", frame.ICMP6NeighbourSolicit, others, frame.NDSource, otherMAC, false},
		{"advertisement", frame.ICMP6NeighbourAdvert, own, frame.NDTarget, mac, true},
		{"advertisement of another's address", frame.ICMP6NeighbourAdvert, others, frame.NDTarget, mac, false},
		{"advertisement of another's MAC", frame.ICMP6NeighbourAdvert, own, frame.NDTarget, otherMAC, false},
		{"router advertisement", frame.ICMP6RouterAdvert, own, frame.NDSource, mac, false},
		{"redirect", frame.ICMP6Redirect, own, frame.NDTarget, mac, false},
	} {
		f := frame.New(frame.MinLen + 40 + 32)
		b := f.Eth()
		frame.PutEth(b, otherMAC, mac, frame.EtherIPv6)
		frame.PutIPv6(b[frame.MinLen:], own, others, frame.ProtoICMPv6, 255, 32)
		icmp := b[frame.MinLen+40:]
		icmp[0] = c.kind
		copy(icmp[8:], c.target[:])
		icmp[24], icmp[25] = c.option, 1
		copy(icmp[26:], c.mac[:])
		var k frame.Key
		if r := frame.Parse(f, &k); r != frame.ReasonNone {
			t.Fatal(c.name, r)
		}
		cx := Context{Flows: mustFlows(FlowsConfig{Max: 4096}), Eth: f.Eth()}
		if v := guarded(t).Check(&cx, Point{client, FromGuest}, &k); (v.Action == Pass) != c.pass {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}
