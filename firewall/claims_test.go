package firewall

import (
	"slices"
	"testing"
	"time"

	"sluice/vnic/frame"
)

// The vNICs of these tests: client's, which is guarded, and other's on the same segment.
var (
	ownMAC   = lab.Guests[0].VNICs[0].MAC
	otherMAC = lab.Guests[2].VNICs[0].MAC
	ownLocal = frame.LinkLocal(ownMAC)
)

func addrOf(name string) frame.Addr { return frame.AddrFrom(guestAddr(name)) }

// withGateways is the reference lab's segments with their gateways.
func withGateways() []InvSegment {
	out := slices.Clone(lab.Segments)
	out[0].Gateways, out[0].GatewayMAC = addrs("10.10.1.1", "fd00:10:1::1"), frame.MAC{2, 1, 5: 1}
	out[1].Gateways, out[1].GatewayMAC = addrs("10.10.2.1", "fd00:10:2::1"), frame.MAC{2, 1, 5: 2}
	return out
}

// guardRig is a guarded program with a flow table that lasts.
type guardRig struct {
	t  *testing.T
	g  *Program
	cx Context
}

func newGuardRig(t *testing.T, all bool) *guardRig {
	inv := &Inventory{Segments: withGateways()}
	for _, g := range lab.Guests {
		v := g.VNICs[0]
		v.Guarded = all || g.Name == "client"
		inv.Guests = append(inv.Guests, InvGuest{Name: g.Name, VNICs: []InvVNIC{v}})
	}
	p, err := Load("p.yaml", []byte("default: allow"), inv)
	if err != nil {
		t.Fatal(err)
	}
	return &guardRig{t, mustCompile(t, p, Off), Context{Now: 1e15, Flows: mustFlows(FlowsConfig{Max: 4096})}}
}

// passes says whether a frame that a vNIC sends gets past its guard.
func (r *guardRig) passes(port frame.PortID, eth []byte) bool {
	r.t.Helper()
	f := frame.From(eth)
	var k frame.Key
	if reason := frame.Parse(f, &k); reason != frame.ReasonNone {
		r.t.Fatalf("%v: %x", reason, eth)
	}
	r.cx.Eth = f.Eth()
	v := r.g.Check(&r.cx, Point{port, FromGuest}, &k)
	if v.Action == Drop && v.Reason != frame.ReasonSpoof {
		r.t.Errorf("dropped for another reason: %v", v.Reason)
	}
	return v.Action == Pass
}

// icmp6 is an ICMPv6 message in a frame.
func icmp6(mac frame.MAC, src, dst frame.Addr, m []byte) []byte {
	b := make([]byte, frame.MinLen+40+len(m))
	frame.PutEth(b, frame.MAC{0x33, 0x33, 5: 1}, mac, frame.EtherIPv6)
	frame.PutIPv6(b[frame.MinLen:], src, dst, frame.ProtoICMPv6, 255, len(m))
	copy(b[frame.MinLen+40:], m)
	sum := frame.L4Checksum(src, dst, frame.ProtoICMPv6, b[frame.MinLen+40:])
	b[frame.MinLen+42], b[frame.MinLen+43] = byte(sum>>8), byte(sum)
	return b
}

// nd is a message of neighbour discovery about a target, with an option where its kind is not 0.
func nd(kind byte, target frame.Addr, option byte, mac frame.MAC) []byte {
	m := make([]byte, 24)
	m[0] = kind
	if copy(m[8:], target[:]); kind == frame.ICMP6RouterSolicit {
		m = m[:8]
	}
	if option != 0 {
		m = append(append(m, option, 1), mac[:]...)
	}
	return m
}

// TestGuardOfLinkLocal says which link-local addresses a vNIC may use, try and speak of: its own, and one other, once
// it was seen with it.
func TestGuardOfLinkLocal(t *testing.T) {
	none, all := frame.Addr{}, addrOf("ff02::1")
	others, gateway, private, second := frame.LinkLocal(otherMAC), frame.LinkLocal(withGateways()[0].GatewayMAC), addrOf("fe80::1234"), addrOf("fe80::5678")
	for _, c := range []struct {
		name string
		src  frame.Addr
		m    []byte
		pass bool
	}{
		{"its own, advertised", ownLocal, nd(frame.ICMP6NeighbourAdvert, ownLocal, frame.NDTarget, ownMAC), true},
		{"another's, advertised from its own", ownLocal, nd(frame.ICMP6NeighbourAdvert, others, frame.NDTarget, ownMAC), false},
		{"another's, advertised", others, nd(frame.ICMP6NeighbourAdvert, others, frame.NDTarget, ownMAC), false},
		{"the gateway's, advertised", ownLocal, nd(frame.ICMP6NeighbourAdvert, gateway, frame.NDTarget, ownMAC), false},
		{"another's as a source", others, nd(frame.ICMP6NeighbourSolicit, addrOf("client6"), frame.NDSource, ownMAC), false},
		{"its own, tried", none, nd(frame.ICMP6NeighbourSolicit, ownLocal, 0, ownMAC), true},
		{"another's, tried", none, nd(frame.ICMP6NeighbourSolicit, others, 0, ownMAC), false},
		{"another's global one, tried", none, nd(frame.ICMP6NeighbourSolicit, addrOf("other6"), 0, ownMAC), false},
		{"the gateway's global one, tried", none, nd(frame.ICMP6NeighbourSolicit, addrOf("fd00:10:1::1"), 0, ownMAC), false},
		{"its own global one, tried", none, nd(frame.ICMP6NeighbourSolicit, addrOf("client6"), 0, ownMAC), true},
		{"nobody's global one, tried", none, nd(frame.ICMP6NeighbourSolicit, addrOf("fd00:10:1::77"), 0, ownMAC), true},
		{"tried with a MAC", none, nd(frame.ICMP6NeighbourSolicit, ownLocal, frame.NDSource, ownMAC), false},
		{"a router is looked for", none, nd(frame.ICMP6RouterSolicit, none, 0, ownMAC), true},
		{"by another's", others, nd(frame.ICMP6RouterSolicit, none, frame.NDSource, ownMAC), false},
		{"by its own", ownLocal, nd(frame.ICMP6RouterSolicit, none, frame.NDSource, ownMAC), true},
		{"a router is one", ownLocal, nd(frame.ICMP6RouterAdvert, none, frame.NDSource, ownMAC), false},
		{"a redirect", ownLocal, nd(frame.ICMP6Redirect, addrOf("server6"), frame.NDTarget, ownMAC), false},
		{"listeners, before it has an address", none, []byte{143, 0, 0, 0, 0, 0, 0, 0}, true},
		{"listeners, by another's", others, []byte{143, 0, 0, 0, 0, 0, 0, 0}, false},
		{"a question to all, from nobody", none, []byte{128, 0, 0, 0, 0, 1, 0, 1}, false},
		{"advertised from nobody", none, nd(frame.ICMP6NeighbourAdvert, ownLocal, frame.NDTarget, ownMAC), false},
		{"one that is seen first", private, nd(frame.ICMP6NeighbourAdvert, private, frame.NDTarget, ownMAC), true},
	} {
		r := newGuardRig(t, false)
		if got := r.passes(client, icmp6(ownMAC, c.src, all, c.m)); got != c.pass {
			t.Errorf("%s: passes %v", c.name, got)
		}
	}

	r := newGuardRig(t, true)
	try := func(port frame.PortID, mac frame.MAC, a frame.Addr, want bool) {
		t.Helper()
		if got := r.passes(port, icmp6(mac, a, all, nd(frame.ICMP6NeighbourAdvert, a, frame.NDTarget, mac))); got != want {
			t.Errorf("port %d with %s: passes %v", port, a.IP(), got)
		}
	}
	r.cx.Dry = true
	try(other, otherMAC, private, true) // a trace takes nothing
	r.cx.Dry = false
	if !r.passes(client, icmp6(ownMAC, none, all, nd(frame.ICMP6NeighbourSolicit, private, 0, ownMAC))) {
		t.Error("it may not try one that is nobody's")
	}
	try(other, otherMAC, private, false)
	if r.passes(other, icmp6(otherMAC, none, all, nd(frame.ICMP6NeighbourSolicit, private, 0, otherMAC))) {
		t.Error("another may try it")
	}
	try(client, ownMAC, private, true)
	try(client, ownMAC, second, false)
	try(client, ownMAC, ownLocal, true)
	r.cx.Now += linkLocalTime - int64(time.Second)
	try(client, ownMAC, private, true) // it is in use
	r.cx.Now += linkLocalTime - int64(time.Second)
	try(client, ownMAC, second, false)
	r.cx.Now += 2 * int64(time.Second)
	try(client, ownMAC, second, true) // it has begun anew
	try(other, otherMAC, private, true)
	if n := len(r.cx.Flows.linkLocals.of); n != 2 {
		t.Errorf("%d addresses of two vNICs are remembered", n)
	}
}

// TestGuardOfNoAddress says what may come from a vNIC that has no address yet, and what else claims one.
func TestGuardOfNoAddress(t *testing.T) {
	ip4 := func(proto byte, src string, ttl byte, l4 ...byte) []byte {
		b := make([]byte, frame.MinLen+20+len(l4))
		frame.PutEth(b, frame.MAC{255, 255, 255, 255, 255, 255}, ownMAC, frame.EtherIPv4)
		frame.PutIPv4(b[frame.MinLen:], addrOf(src), addrOf("255.255.255.255"), proto, ttl, 20+len(l4))
		copy(b[frame.MinLen+20:], l4)
		return b
	}
	fragment := func(b []byte, field byte) []byte {
		b[frame.MinLen+6] = field
		frame.SetIPv4Checksum(b[frame.MinLen:])
		return b
	}
	rarp := func(op uint16, sender, target frame.MAC, ip string) []byte {
		b := make([]byte, frame.MinLen+28)
		frame.PutEth(b, frame.MAC{255, 255, 255, 255, 255, 255}, ownMAC, 0x8035)
		frame.PutARP(b[frame.MinLen:], op, sender, unspecifiedIPv4, target, addrOf(ip))
		return b
	}
	dhcp, echo := []byte{0, 68, 0, 67, 0, 8, 0, 0}, []byte{8, 0, 0, 0, 0, 1, 0, 1}
	for name, c := range map[string]struct {
		eth  []byte
		pass bool
	}{
		"DHCP":                     {ip4(frame.ProtoUDP, "0.0.0.0", 64, dhcp...), true},
		"DHCP in fragments":        {fragment(ip4(frame.ProtoUDP, "0.0.0.0", 64, dhcp...), 0x20), false},
		"IGMP":                     {ip4(frame.ProtoIGMP, "0.0.0.0", 1, 0x22, 0, 0, 0, 0, 0, 0, 0), true},
		"other UDP":                {ip4(frame.ProtoUDP, "0.0.0.0", 64, 0, 9, 0, 9, 0, 8, 0, 0), false},
		"echo":                     {ip4(frame.ProtoICMP, "0.0.0.0", 64, echo...), false},
		"a link-local address":     {ip4(frame.ProtoICMP, "169.254.7.7", 64, echo...), false},
		"a redirect":               {ip4(frame.ProtoICMP, "client", 64, 5, 1, 0, 0, 10, 10, 1, 10), false},
		"a router":                 {ip4(frame.ProtoICMP, "client", 64, 9, 0, 0, 0, 0, 0, 0, 0), false},
		"an error":                 {ip4(frame.ProtoICMP, "client", 64, 3, 1, 0, 0, 0, 0, 0, 0), true},
		"RARP about itself":        {rarp(3, ownMAC, ownMAC, "0.0.0.0"), true},
		"RARP about another":       {rarp(3, ownMAC, otherMAC, "0.0.0.0"), false},
		"RARP as another":          {rarp(3, otherMAC, otherMAC, "0.0.0.0"), false},
		"RARP for another address": {rarp(3, ownMAC, ownMAC, "10.10.1.11"), false},
		"a RARP answer":            {rarp(4, ownMAC, ownMAC, "client"), false},
	} {
		if got := newGuardRig(t, false).passes(client, c.eth); got != c.pass {
			t.Errorf("%s: passes %v", name, got)
		}
	}
}

// TestGuardOfFragments says that nothing about neighbours hides in a fragment, nor a forged address behind one.
func TestGuardOfFragments(t *testing.T) {
	own := icmp6(ownMAC, ownLocal, addrOf("ff02::1"), nd(frame.ICMP6NeighbourAdvert, frame.LinkLocal(otherMAC), frame.NDTarget, ownMAC))
	split := func(src frame.Addr, offset byte) []byte {
		b := append(append(append([]byte{}, own[:frame.MinLen+40]...), frame.ProtoICMPv6, 0, 0, offset, 0, 0, 0, 7), own[frame.MinLen+40:]...)
		b[frame.MinLen+5] += 8
		b[frame.MinLen+6] = 44
		copy(b[frame.MinLen+8:], src[:])
		return b
	}
	for name, c := range map[string]struct {
		eth  []byte
		pass bool
	}{
		"an advertisement":                {split(ownLocal, 1), false},
		"a later fragment":                {split(ownLocal, 8), true},
		"a later fragment from another's": {split(frame.LinkLocal(otherMAC), 8), false},
		"a later fragment from nobody":    {split(frame.Addr{}, 8), false},
	} {
		if got := newGuardRig(t, false).passes(client, c.eth); got != c.pass {
			t.Errorf("%s: passes %v", name, got)
		}
	}
}

// TestMembership says that IGMP to a group on the segment is housekeeping, as MLD is: no rule is asked, and it is no
// flow.
func TestMembership(t *testing.T) {
	p, err := Load("p.yaml", []byte("default: drop"), lab)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dst  string
		ttl  byte
		pass bool
	}{{"224.0.0.22", 1, true}, {"239.7.7.7", 1, true}, {"224.0.0.22", 64, false}, {"other", 1, false}, {"255.255.255.255", 1, false}} {
		b := make([]byte, frame.MinLen+20+8)
		frame.PutEth(b, frame.MAC{1, 0, 0x5e, 0, 0, 22}, ownMAC, frame.EtherIPv4)
		frame.PutIPv4(b[frame.MinLen:], addrOf("client"), addrOf(c.dst), frame.ProtoIGMP, c.ttl, 28)
		for _, dir := range []Dir{FromGuest, ToGuest} {
			var k frame.Key
			if r := frame.Parse(frame.From(b), &k); r != frame.ReasonNone {
				t.Fatal(r)
			}
			cx := Context{Now: 1e15, Flows: mustFlows(FlowsConfig{Max: 64}), Eth: b}
			v := mustCompile(t, p, Fast).Check(&cx, Point{client, dir}, &k)
			if (v.Action == Pass) != c.pass || cx.Flows.Len() != 0 {
				t.Errorf("to %s, TTL %d, %s: %+v, %d flows", c.dst, c.ttl, dir, v, cx.Flows.Len())
			}
		}
	}
}
