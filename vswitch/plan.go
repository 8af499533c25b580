// Package vswitch is the pure core of the switch: the plan, the FDB, the gateway, Decide and Trace, the change of
// placement and its receipt. It moves no frames by itself (an engine under it does), touches no device, and does not
// know what a lab or a QEMU is.
package vswitch

import (
	"net/netip"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// Plan is an immutable snapshot of everything an engine needs. A batch of frames sees exactly one.
type Plan struct {
	Epoch    uint64
	Program  *firewall.Program
	Segments []Segment // by SegmentID; index 0 is unused
	Ports    []Port    // by PortID; index 0 is unused; a zero Port is a hole
}

// Segment is one broadcast domain.
type Segment struct {
	ID         frame.SegmentID
	Name       string
	Prefixes   []netip.Prefix // at most one IPv4 and one IPv6
	Gateways   []netip.Addr   // the gateway's address in each prefix
	GatewayMAC frame.MAC      // the same whoever serves it
	// GatewayPort is the service port that serves the gateway, a static FDB entry; 0 means that the switch routes.
	GatewayPort frame.PortID
	MTU         int // bytes of IP packet
}

// Port is the switch's side of one vNIC.
type Port struct {
	ID      frame.PortID
	Name    string // the guest's name, with /N where it has several vNICs
	Segment frame.SegmentID
	MAC     frame.MAC
	Addrs   []netip.Addr // static neighbours; empty where unknown
	Service bool         // a port of the appliance: never learns, never flooded to, no insertion point
	Accept  bool         // service ports: frames from it are accepted (the plan, or the draining one, steers to it)
	MaxMACs int          // FDB entries this port may hold
}
