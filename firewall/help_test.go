package firewall

import (
	"net/netip"
	"testing"

	"sluice/vnic/frame"
)

// lab is the reference lab's inventory, with a third guest beside the client.
var lab = &Inventory{
	Segments: []InvSegment{
		{Name: "lan", ID: 1, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.10.1.0/24"), netip.MustParsePrefix("fd00:10:1::/64")}},
		{Name: "dmz", ID: 2, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.10.2.0/24"), netip.MustParsePrefix("fd00:10:2::/64")}},
	},
	Guests: []InvGuest{
		{Name: "client", VNICs: []InvVNIC{{Port: 1, Segment: 1, MAC: frame.MAC{2, 0, 0, 0, 0, 1}, Addrs: addrs("10.10.1.10", "fd00:10:1::10")}}},
		{Name: "server", VNICs: []InvVNIC{{Port: 2, Segment: 2, MAC: frame.MAC{2, 0, 0, 0, 0, 2}, Addrs: addrs("10.10.2.10", "fd00:10:2::10")}}},
		{Name: "other", VNICs: []InvVNIC{{Port: 3, Segment: 1, MAC: frame.MAC{2, 0, 0, 0, 0, 3}, Addrs: addrs("10.10.1.11", "fd00:10:1::11")}}},
	},
}

const (
	client frame.PortID = 1
	server frame.PortID = 2
	other  frame.PortID = 3
)

func addrs(s ...string) (out []netip.Addr) {
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// reference is the policy of the lab fast-vs-slow.
const reference = `
services:
  ping: {icmp: echo}
  web: {tcp: 80}
  echo: {tcp: 7777}
  iperf: [{tcp: 5201}, {udp: 5201}]
default: drop
rules:
  - {name: ping, from: client, to: server, service: ping, action: allow}
  - {name: web, from: client, to: server, service: [web, echo], action: allow}
  - {name: iperf, from: client, to: server, service: iperf, action: allow}
`

func mustLoad(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := Load("policy.yaml", []byte(text), lab)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustCompile(t testing.TB, p *Policy, pl Placement) *Program {
	t.Helper()
	g, err := Compile(p, pl)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func addrPort(a frame.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a.IP(), port) }

// portless is an address, of either family, without a port.
func portless(s string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(s), 0) }
