// Package vswitch is the pure core of the switch: the plan, the FDB, the gateway, Decide and Trace, the change of
// placement and its receipt. It moves no frames by itself (an engine under it does), touches no device, and does not
// know what a lab or a QEMU is.
package vswitch

import (
	"encoding/binary"
	"net/netip"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// Plan is an immutable snapshot of everything an engine needs. A batch of frames sees exactly one.
type Plan struct {
	Epoch      uint64
	Generation uint64 // of the policy that Program was compiled from; 0 is none
	Placement  firewall.Placement
	Program    *firewall.Program // nil before the first policy: everything passes
	Segments   []Segment         // by SegmentID; index 0 is unused
	Ports      []Port            // by PortID; index 0 is unused; a zero Port is a hole
	Bypassed   bool              // the appliance has failed, and frames pass it by
	// Hold makes the engine's goroutines wait with their batches until it is closed, and then walk by the plan that is
	// in force by then. It is nil in every plan but the one between two placements.
	Hold <-chan struct{}

	steering *steering // never nil
	keeping  *keeping  // the way of flows that are kept; nil where there are none
	kept     *Plan     // that they walk by

	net      []network               // by SegmentID
	hosts    map[frame.Addr]host     // by address: the guests' own, and the gateways'
	macs     map[uint64]frame.PortID // by fdbKey: the guests' own
	counters []*counters             // by PortID; 0 is the switch itself
	ledger   *ledger                 // nil when no change is watched
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
	MTU         int           // bytes of IP packet; 0 is no limit
	MACAge      time.Duration // how long a silent MAC is remembered; 0 is 5 minutes
}

// Port is the switch's side of one vNIC.
type Port struct {
	ID      frame.PortID
	Name    string // the guest's name, with /N where it has several vNICs
	Segment frame.SegmentID
	MAC     frame.MAC
	Addrs   []netip.Addr // static neighbours; empty where unknown
	Service bool         // a port of the appliance: never learns, never flooded to, no insertion point
	Steer   bool         // the service port that steered frames go to; it is on no segment
	Accept  bool         // service ports: frames from it are accepted (the plan, or the draining one, steers to it)
	MaxMACs int          // FDB entries this port may hold
}

// network is what the walk needs of a segment, worked out once for each plan.
type network struct {
	flood    []frame.PortID // the guests' ports
	gateway4 frame.Addr     // zero where the segment has no IPv4 gateway
	gateway6 frame.Addr
	// linkLocal is the gateway's own, as a kernel makes it of the MAC (RFC 4291 A); zero where the segment has no IPv6 gateway.
	linkLocal frame.Addr
	broadcast frame.Addr // of the IPv4 subnet; zero where it has none
	// orphan says that the appliance should serve the gateway, but has no port here: nothing is routed, since what the
	// switch routes in this placement nobody checks.
	orphan bool
}

// host is who has an address by the plan: a guest, or the gateway of a segment, which has no port.
type host struct {
	port    frame.PortID
	segment frame.SegmentID
	mac     frame.MAC
}

// derive works out what the walk looks up.
func (p *Plan) derive() {
	p.net = make([]network, len(p.Segments))
	p.hosts, p.macs = map[frame.Addr]host{}, map[uint64]frame.PortID{}
	for i, s := range p.Segments {
		p.net[i].orphan = p.Placement == firewall.Slow && s.GatewayPort == 0 && !p.Bypassed
		for _, a := range s.Gateways {
			p.hosts[frame.AddrFrom(a)] = host{segment: s.ID, mac: s.GatewayMAC}
			if a.Is4() {
				p.net[i].gateway4 = frame.AddrFrom(a)
			} else {
				p.net[i].gateway6 = frame.AddrFrom(a)
				p.net[i].linkLocal = frame.LinkLocal(s.GatewayMAC)
			}
		}
		for _, prefix := range s.Prefixes {
			if prefix.Addr().Is4() && prefix.Bits() < 31 { // RFC 3021: a link of two has none
				p.net[i].broadcast = lastOf(prefix)
			}
		}
	}
	for _, q := range p.Ports {
		if q.ID == 0 || q.Service {
			continue
		}
		p.net[q.Segment].flood = append(p.net[q.Segment].flood, q.ID)
		p.macs[fdbKey(q.Segment, q.MAC)] = q.ID
		for _, a := range q.Addrs {
			p.hosts[frame.AddrFrom(a)] = host{port: q.ID, segment: q.Segment, mac: q.MAC}
		}
	}
}

// lastOf is the highest address of an IPv4 subnet.
func lastOf(prefix netip.Prefix) frame.Addr {
	b := prefix.Masked().Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|uint32(1<<(32-prefix.Bits())-1))
	return frame.AddrFrom(netip.AddrFrom4(b))
}

// aside says whether an address of a segment is nobody's: the subnet's broadcast address.
func (p *Plan) aside(seg frame.SegmentID, a frame.Addr) bool {
	return a == p.net[seg].broadcast && a != frame.Addr{}
}

// port finds a port; a hole or a number beyond the plan is nil.
func (p *Plan) port(id frame.PortID) *Port {
	if int(id) >= len(p.Ports) || p.Ports[id].ID == 0 {
		return nil
	}
	return &p.Ports[id]
}

// route finds the segment that an address belongs to, and its owner where the plan knows it.
func (p *Plan) route(a frame.Addr) (seg frame.SegmentID, h host, known bool) {
	if h, known = p.hosts[a]; known {
		return h.segment, h, true
	}
	ip := a.IP()
	for i := range p.Segments {
		for _, prefix := range p.Segments[i].Prefixes {
			if prefix.Contains(ip) {
				return frame.SegmentID(i), host{}, false
			}
		}
	}
	return 0, host{}, false
}
