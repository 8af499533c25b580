// Package walk says how one frame is decided: the plan, Decide and what it looks up (FDB, neighbours, sessions), the
// gateway, steering, flows that are kept, and Trace. It moves no frames by itself, touches no device, and changes
// nothing of a switch: engines stand on it.
package walk

import (
	"encoding/binary"
	"net/netip"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// Plan is an immutable snapshot of everything by which frames are moved: flat data, complete, and shared by all who
// read it. What lives (tables, sessions, counters, records) is the engine's, and outlives plans. A batch of frames sees
// exactly one.
type Plan struct {
	Epoch      uint64 // from 1, and never the same twice
	Generation uint64 // of the policy that Program was compiled from; 0 is none
	Placement  firewall.Placement
	Program    *firewall.Program // nil before the first policy: everything passes
	Segments   []Segment         // by SegmentID; index 0 is unused
	Ports      []Port            // by PortID; index 0 is unused; a zero Port is a hole
	Bypassed   bool              // the appliance has failed, and frames pass it by
	Steering   Steering
	Beside     *Plan // the one that flows walk by which the engine has marked to be kept; nil where there are none

	// What follows is derived from the above, for whoever decides.
	Net   []Network               // by SegmentID
	Hosts map[frame.Addr]Host     // by address: the guests' own, and the gateways'
	MACs  map[uint64]frame.PortID // by MACKey: the guests' own
}

// Steering is the part of a plan that says what becomes of frames whose verdict is steer.
type Steering struct {
	Port  frame.PortID // the appliance's service port for them; 0: there is none
	Outer frame.Outer  // the headers of the tunnel
	Out   Session      // that frames are steered in; zero is none
	In    [3]Session   // those from which frames may come back: the present one, the draining one, and that of flows that are kept
	Stale bool         // what comes back now is too old: only probes are taken
}

// Session is one stay in a placement that steers. What is counted of it lives in the engine for as long as a plan names
// it.
type Session struct {
	ID       uint8 // from 1; 0 is no session
	Ticketed bool  // the far end is our own, and echoes tickets
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

// Network is what the walk needs of a segment, worked out once for each plan.
type Network struct {
	Flood    []frame.PortID // the guests' ports
	Gateway4 frame.Addr     // zero where the segment has no IPv4 gateway
	Gateway6 frame.Addr
	// LinkLocal is the gateway's own, as a kernel makes it of the MAC (RFC 4291 A); zero where the segment has no IPv6
	// gateway.
	LinkLocal frame.Addr
	Broadcast frame.Addr // of the IPv4 subnet; zero where it has none
	// Orphan says that the appliance should serve the gateway, but has no port here: nothing is routed, since what the
	// switch routes in this placement nobody checks.
	Orphan bool
}

// Host is who has an address by the plan: a guest, or the gateway of a segment, which has no port.
type Host struct {
	Port    frame.PortID
	Segment frame.SegmentID
	MAC     frame.MAC
}

// Derive works out what the walk looks up. It is the last that is done to a plan before it is in force.
func (p *Plan) Derive() {
	p.Net = make([]Network, len(p.Segments))
	p.Hosts, p.MACs = map[frame.Addr]Host{}, map[uint64]frame.PortID{}
	for i, s := range p.Segments {
		p.Net[i].Orphan = p.Placement == firewall.Slow && s.GatewayPort == 0 && !p.Bypassed
		for _, a := range s.Gateways {
			p.Hosts[frame.AddrFrom(a)] = Host{Segment: s.ID, MAC: s.GatewayMAC}
			if a.Is4() {
				p.Net[i].Gateway4 = frame.AddrFrom(a)
			} else {
				p.Net[i].Gateway6 = frame.AddrFrom(a)
				p.Net[i].LinkLocal = frame.LinkLocal(s.GatewayMAC)
			}
		}
		for _, prefix := range s.Prefixes {
			if prefix.Addr().Is4() && prefix.Bits() < 31 { // RFC 3021: a link of two has none
				p.Net[i].Broadcast = lastOf(prefix)
			}
		}
	}
	for _, q := range p.Ports {
		if q.ID == 0 || q.Service {
			continue
		}
		p.Net[q.Segment].Flood = append(p.Net[q.Segment].Flood, q.ID)
		p.MACs[MACKey(q.Segment, q.MAC)] = q.ID
		for _, a := range q.Addrs {
			p.Hosts[frame.AddrFrom(a)] = Host{Port: q.ID, Segment: q.Segment, MAC: q.MAC}
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
	return a == p.Net[seg].Broadcast && a != frame.Addr{}
}

// Port finds a port; a hole or a number beyond the plan is nil.
func (p *Plan) Port(id frame.PortID) *Port {
	if int(id) >= len(p.Ports) || p.Ports[id].ID == 0 {
		return nil
	}
	return &p.Ports[id]
}

// Route finds the segment that an address belongs to, and its owner where the plan knows it.
func (p *Plan) Route(a frame.Addr) (seg frame.SegmentID, h Host, known bool) {
	if h, known = p.Hosts[a]; known {
		return h.Segment, h, true
	}
	ip := a.IP()
	for i := range p.Segments {
		for _, prefix := range p.Segments[i].Prefixes {
			if prefix.Contains(ip) {
				return frame.SegmentID(i), Host{}, false
			}
		}
	}
	return 0, Host{}, false
}
