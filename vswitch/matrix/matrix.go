// Package matrix is for tests only: odd packets, wrong in one way each, what a real Linux router made of them, and in
// what each placement may differ from it. Tests of engines and of labs send the same packets through what they test.
// TestRootMatrixRouter holds what is said of the router against the kernel.
package matrix

import (
	"bytes"
	_ "embed"
	"fmt"
	"net/netip"
	"strings"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// Policy allows, rejects and drops some of each.
const Policy = `
services:
  yes: [{tcp: 80, udp: 53}, {icmp: echo}, {protocol: [4, 33, 41, 47, 51, 108, 132, 135, 136]}]
  no: [{tcp: 22, udp: 22}, {protocol: [50, 89, 115, 139]}]
default: drop
rules:
  - {name: yes, from: any, to: any, service: yes, action: allow}
  - {name: no, from: any, to: any, service: no, action: reject}
`

// Case is one odd packet: what is sent before, and what is judged.
type Case struct {
	Name   string
	Before []Frame // each is dealt with before the next is sent
	Judged []Frame
	Stands [][]byte // the packets that what is judged stands for, where its sender has left work to the NIC
}

// Frame is what one of the two guests sends.
type Frame struct {
	Server bool // it is the server that sends
	Eth    []byte
	Vnet   frame.Vnet
}

// Made is the frame with its virtio_net_hdr.
func (f *Frame) Made() *frame.Frame {
	made := frame.From(f.Eth)
	*made.Vnet() = f.Vnet
	return made
}

// Finished are the packets that frames which came stand for, with all checksums filled in.
func Finished(came ...*frame.Frame) (packets [][]byte) {
	var s frame.Segmenter
	for _, f := range came {
		var k frame.Key
		if f.Vnet().Plain() || frame.Parse(f, &k) != frame.ReasonNone {
			packets = append(packets, bytes.Clone(f.Eth()))
			continue
		}
		for p := range s.Split(f, &k) {
			packets = append(packets, bytes.Clone(p.Eth()))
		}
	}
	return packets
}

// The client is on lan, the server on dmz, and the gateway between them.
var (
	near4, far4 = netip.MustParseAddr("10.10.1.10"), netip.MustParseAddr("10.10.2.10")
	near6, far6 = netip.MustParseAddr("fd00:10:1::10"), netip.MustParseAddr("fd00:10:2::10")

	ClientMAC  = frame.MAC{2, 0, 0, 0, 0, 1}
	ServerMAC  = frame.MAC{2, 0, 0, 0, 0, 2}
	GatewayMAC = frame.MAC{2, 0, 0, 0, 0, 0xfe}
	broadcast  = frame.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// Strangers is how many addresses of the client's segment a router must know to be behind its MAC, from 10.10.1.100 on.
const Strangers = 40

// Inventory is the two segments with the two guests.
func Inventory() *firewall.Inventory {
	inv := &firewall.Inventory{}
	for i, g := range []struct {
		guest, segment string
		mac            frame.MAC
		v4, v6         netip.Addr
	}{{"client", "lan", ClientMAC, near4, near6}, {"server", "dmz", ServerMAC, far4, far6}} {
		id := frame.SegmentID(i + 1)
		inv.Segments = append(inv.Segments, firewall.InvSegment{
			Name: g.segment, ID: id, Prefixes: []netip.Prefix{netip.PrefixFrom(g.v4, 24).Masked(), netip.PrefixFrom(g.v6, 64).Masked()},
			Gateways: []netip.Addr{netip.PrefixFrom(g.v4, 24).Masked().Addr().Next(), netip.PrefixFrom(g.v6, 64).Masked().Addr().Next()}, GatewayMAC: GatewayMAC,
		})
		inv.Guests = append(inv.Guests, firewall.InvGuest{Name: g.guest, VNICs: []firewall.InvVNIC{{
			Port: frame.PortID(i + 1), Segment: id, MAC: g.mac, Addrs: []netip.Addr{g.v4, g.v6},
		}}})
	}
	return inv
}

//go:embed testdata/router.txt
var routerText string

// Router is what a Linux router made of each case, by its name.
type Router map[string]struct{ Policy, Plain string } // with the policy, and without one

// Said is what the file of this package says of the router.
func Said() Router {
	said := Router{}
	for line := range strings.Lines(routerText) {
		if f := strings.Split(strings.TrimSpace(line), " | "); len(f) == 3 {
			said[f[0]] = struct{ Policy, Plain string }{f[1], f[2]}
		}
	}
	return said
}

// In is what the router said of a case that a placement should make the same of: in off there is no policy.
func (r Router) In(p firewall.Placement, name string) string {
	if p == firewall.Off {
		return r[name].Plain
	}
	return r[name].Policy
}

// Text is the file that Said reads, of what a router has just said.
func (r Router) Text(cases []Case) string {
	var b strings.Builder
	b.WriteString("# What a Linux router made of each odd packet, with the policy and without; written by TestRootMatrixRouter -args -write-router.\n")
	for _, c := range cases {
		fmt.Fprintf(&b, "%s | %s | %s\n", c.Name, r[c.Name].Policy, r[c.Name].Plain)
	}
	return b.String()
}

// Result is what came of a case at the client's side and at the server's, in words. Where the server sends what is
// judged, near is its side.
func (c *Case) Result(came [2][][]byte) string {
	var sent [][]byte
	for _, f := range c.Judged {
		sent = append(sent, f.Eth)
	}
	var o cameOf
	fromServer := c.Judged[0].Server
	if c.Stands != nil {
		came[1] = o.addAll(came[1], c.Stands)
	}
	for side, frames := range came {
		for _, f := range frames {
			o.add(f, (side == 1) != fromServer, sent)
		}
	}
	return o.String()
}
