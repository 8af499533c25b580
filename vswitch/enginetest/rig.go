package enginetest

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vswitch"
	"sluice/vswitch/walk"
)

// patience is how long a test waits for what must come. It is a limit, not a measure: nothing waits longer than needed.
const patience = 30 * time.Second

// rig is a switch with the reference lab on it: client and other on lan, server on dmz, and the appliance between.
type rig struct {
	t       testing.TB
	sw      *vswitch.Switch
	engine  vswitch.Engine
	inv     *firewall.Inventory
	client  *guest
	other   *guest
	server  *guest
	guests  []*guest // all of them
	fw      *fakeAppliance
	clock   *clock
	wires   Wires
	markers atomic.Uint64 // that were sent to the appliance
}

const (
	portClient frame.PortID = iota + 1
	portServer
	portOther
	portLAN // the appliance's
	portDMZ
	portSteer
)

var (
	gatewayMAC = frame.MAC{2, 0, 0, 0, 0, 0xfe}
	lan4, dmz4 = netip.MustParseAddr("10.10.1.1"), netip.MustParseAddr("10.10.2.1")
	lan6, dmz6 = netip.MustParseAddr("fd00:10:1::1"), netip.MustParseAddr("fd00:10:2::1")
)

// referencePolicy leaves windows alone: the streams of these tests are never acknowledged.
const referencePolicy = `
services:
  ping: {icmp: echo}
  web: {tcp: 80}
  speed: {udp: 5201}
  shy: {tcp: 22}
default: drop
tcp-windows: liberal
rules:
  - {name: ping, from: client, to: server, service: ping, action: allow}
  - {name: web, from: client, to: server, service: web, action: allow}
  - {name: speed, from: client, to: server, service: speed, action: allow}
  - {name: shy, from: client, to: server, service: shy, action: reject}
`

// rig makes a switch on the engine, with all that the cases need.
func (bed Bed) rig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, clock: newClock(t), wires: bed.Wires, inv: &firewall.Inventory{Segments: []firewall.InvSegment{
		{Name: "lan", ID: 1, Prefixes: prefixes("10.10.1.0/24", "fd00:10:1::/64")},
		{Name: "dmz", ID: 2, Prefixes: prefixes("10.10.2.0/24", "fd00:10:2::/64")},
		{Name: "island", ID: 3, Prefixes: prefixes("10.10.3.0/24", "fd00:10:3::/64")},
	}}}
	makeEngine := func(c walk.Config) (e vswitch.Engine, err error) {
		r.engine, err = bed.Engine(c)
		return r.engine, err
	}
	sw, err := vswitch.New(vswitch.Config{
		Name: "test", Engine: makeEngine, Clock: r.clock.now, Log: slog.New(slog.DiscardHandler),
		Segments: r.segments(), Outer: switchOuter,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sw.Close(); err != nil {
			t.Error(err)
		}
	})
	r.sw = sw
	r.client = r.addGuest(portClient, "client", 1, "10.10.1.10", "fd00:10:1::10")
	r.server = r.addGuest(portServer, "server", 2, "10.10.2.10", "fd00:10:2::10")
	r.other = r.addGuest(portOther, "other", 1, "10.10.1.11", "fd00:10:1::11")
	r.fw = r.addAppliance()
	return r
}

// segments are lan and dmz, each with a gateway of both families, and an island without one.
func (r *rig) segments() []vswitch.Segment {
	segs := make([]vswitch.Segment, 3)
	gateways := [][]netip.Addr{{lan4, lan6}, {dmz4, dmz6}, nil}
	for i, s := range r.inv.Segments {
		segs[i] = vswitch.Segment{Name: s.Name, Prefixes: s.Prefixes, Gateways: gateways[i], GatewayMAC: gatewayMAC, MTU: 1500}
	}
	return segs
}

func prefixes(s ...string) (p []netip.Prefix) {
	for _, x := range s {
		p = append(p, netip.MustParsePrefix(x))
	}
	return p
}

// addPort joins a new wire to the switch, and returns the guest's end.
func (r *rig) addPort(p vswitch.Port) vnic.NIC {
	r.t.Helper()
	sw, end := r.wires.Wire(r.t, p.Name)
	if err := r.sw.AddPort(context.Background(), p, sw); err != nil {
		r.t.Fatal(err)
	}
	return end
}

func (r *rig) addGuest(id frame.PortID, name string, seg frame.SegmentID, v4, v6 string) *guest {
	r.t.Helper()
	p := vswitch.Port{
		ID: id, Name: name, Segment: seg, MAC: frame.MAC{2, 0, 0, 0, 0, byte(id)},
		Addrs: []netip.Addr{netip.MustParseAddr(v4), netip.MustParseAddr(v6)}, MaxMACs: 8,
	}
	r.inv.Guests = append(r.inv.Guests, firewall.InvGuest{Name: name, VNICs: []firewall.InvVNIC{
		{Port: id, Segment: seg, MAC: p.MAC, Addrs: p.Addrs},
	}})
	g := newGuest(r.t, r.addPort(p), p)
	r.guests = append(r.guests, g)
	return g
}

// policy loads and applies a policy.
func (r *rig) policy(src string) *firewall.Policy {
	r.t.Helper()
	p, err := firewall.Load("policy.yaml", []byte(src), r.inv)
	if err != nil {
		r.t.Fatal(err)
	}
	r.fw.next(p)
	if _, err := r.sw.SetPolicy(context.Background(), p); err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *rig) place(to firewall.Placement) vswitch.Receipt {
	r.t.Helper()
	return r.placeBy(to, "")
}

// placeBy changes the placement by a handover; empty is the switch's own.
func (r *rig) placeBy(to firewall.Placement, by vswitch.Handover) vswitch.Receipt {
	r.t.Helper()
	rec, err := r.sw.Place(context.Background(), to, vswitch.PlaceOptions{Handover: by})
	if err != nil {
		r.t.Fatal(err)
	}
	return rec
}

// balanced waits until the switch has dealt with everything that the guests have sent and the books balance.
func (r *rig) balanced() vswitch.Stats {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		s := r.sw.Stats()
		var in uint64
		for _, p := range s.Ports {
			for _, g := range r.guests {
				if p.ID == g.port.ID {
					in += p.InFrames + r.wires.Missed(p)
				}
			}
		}
		var sent uint64
		for _, g := range r.guests {
			sent += g.sent.Load()
		}
		if in == sent && balance(s) {
			return s
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("sent %d, came in %d; in all: in %d + copies %d, out %d + dropped %v", sent, in, s.In, s.Copies, s.Out, s.Dropped)
		}
		time.Sleep(time.Millisecond) // a poll with a deadline
	}
}

// balance says whether a switch's books do.
func balance(s vswitch.Stats) bool {
	var dropped uint64
	for _, n := range s.Dropped {
		dropped += n
	}
	return s.In+s.Copies == s.Out+dropped
}

func checkBooks(t *testing.T, s vswitch.Stats) {
	t.Helper()
	if !balance(s) {
		t.Fatalf("in %d + copies %d, out %d + dropped %v", s.In, s.Copies, s.Out, s.Dropped)
	}
}
