package user_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vswitch"
	"sluice/vswitch/user"
	"sluice/vswitch/walk"
)

// patience is how long a test waits for what must come. It is a limit, not a measure: nothing waits longer than needed.
const patience = 10 * time.Second

// rig is a switch with the reference lab on it: client and other on lan, server on dmz, and the appliance between.
type rig struct {
	t      testing.TB
	sw     *vswitch.Switch
	engine vswitch.Engine
	inv    *firewall.Inventory
	client *guest
	other  *guest
	server *guest
	guests []*guest // all of them
	fw     *fakeAppliance
	began  time.Time
	ahead  atomic.Int64 // ns: how much later it is for the switch than it is
	heldAt atomic.Int64 // ns: what the switch's clock shows while it is held; 0 while it runs
}

// now is the switch's clock: monotonic ns.
func (r *rig) now() int64 {
	if held := r.heldAt.Load(); held != 0 {
		return held
	}
	return int64(time.Since(r.began)) + r.ahead.Load()
}

// holdClock stops the switch's clock until the caller lets it run again, from where it stood: however long a busy
// machine takes for what a test does meanwhile, nothing comes to be late by it.
func (r *rig) holdClock() (run func()) {
	held := r.now()
	r.heldAt.Store(held)
	return func() {
		r.ahead.Store(held - int64(time.Since(r.began)))
		r.heldAt.Store(0)
	}
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

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, began: time.Now(), inv: &firewall.Inventory{Segments: []firewall.InvSegment{
		{Name: "lan", ID: 1, Prefixes: prefixes("10.10.1.0/24", "fd00:10:1::/64")},
		{Name: "dmz", ID: 2, Prefixes: prefixes("10.10.2.0/24", "fd00:10:2::/64")},
		{Name: "island", ID: 3, Prefixes: prefixes("10.10.3.0/24", "fd00:10:3::/64")},
	}}}
	sw, err := vswitch.New(vswitch.Config{Name: "test", Engine: r.makeEngine, Clock: r.now, Log: slog.New(slog.DiscardHandler), Segments: r.segments(), Outer: switchOuter})
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

// makeEngine makes the engine under test, and remembers it.
func (r *rig) makeEngine(c walk.Config) (e vswitch.Engine, err error) {
	r.engine, err = user.New(c)
	return r.engine, err
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

// addPort joins a new pipe to the switch, and returns the guest's end.
func (r *rig) addPort(p vswitch.Port) vnic.NIC {
	r.t.Helper()
	sw, end := vnic.Pipe(p.Name, vnic.PipeOptions{Queue: 1024, Offloads: frame.OffloadAll})
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
	rec, err := r.sw.Place(context.Background(), to, vswitch.PlaceOptions{})
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
					in += p.InFrames
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

// guest plays a machine at the far end of a pipe.
type guest struct {
	t        testing.TB
	nic      vnic.NIC
	port     vswitch.Port
	got      chan *frame.Frame
	done     chan struct{}
	sent     atomic.Uint64
	received atomic.Uint64
	counting atomic.Bool // frames are only counted, as a benchmark needs it
}

func newGuest(t testing.TB, nic vnic.NIC, p vswitch.Port) *guest {
	g := &guest{t: t, nic: nic, port: p, got: make(chan *frame.Frame, 1<<16), done: make(chan struct{})}
	go g.read()
	t.Cleanup(func() { g.nic.Close(); <-g.done })
	return g
}

func (g *guest) read() {
	defer close(g.done)
	var b frame.Batch
	for g.nic.ReadBatch(&b) == nil {
		g.received.Add(uint64(b.N))
		for i := 0; i < b.N && !g.counting.Load(); i++ {
			f := &frame.Frame{}
			f.CopyFrom(&b.Frames[i])
			g.got <- f
		}
	}
}

func (g *guest) addr(v6 bool) frame.Addr {
	for _, a := range g.port.Addrs {
		if a.Is6() == v6 {
			return frame.AddrFrom(a)
		}
	}
	return frame.Addr{}
}

// send hands a frame to the switch, and tries again where the queue is full.
func (g *guest) send(f *frame.Frame) {
	g.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		n, err := g.nic.WriteBatch([]*frame.Frame{f})
		if err != nil {
			g.t.Fatal(err)
		}
		if n == 1 {
			g.sent.Add(1)
			return
		}
		if time.Now().After(deadline) {
			g.t.Fatal("the switch does not read")
		}
		time.Sleep(100 * time.Microsecond) // a poll with a deadline
	}
}

// next waits for a frame that want takes; others are put aside.
func (g *guest) next(what string, want func(*frame.Key) bool) (*frame.Frame, frame.Key) {
	g.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case f := <-g.got:
			var k frame.Key
			if frame.Parse(f, &k); want(&k) {
				return f, k
			}
		case <-deadline:
			g.t.Fatalf("%s: no %s came", g.port.Name, what)
		}
	}
}

// none says that nothing that bad takes has come, once everything that was sent before has been dealt with.
func (g *guest) none(what string, bad func(*frame.Key) bool) {
	g.t.Helper()
	for {
		select {
		case f := <-g.got:
			var k frame.Key
			if frame.Parse(f, &k); bad(&k) {
				g.t.Fatalf("%s got %s: %x", g.port.Name, what, f.Eth())
			}
		default:
			return
		}
	}
}

// packet describes a frame to build.
type packet struct {
	src, dst     frame.Addr
	smac, dmac   frame.MAC
	proto        uint8
	sport, dport uint16
	flags        uint8 // TCP
	icmp         uint8
	seq, ack     uint32
	ttl          uint8
	payload      []byte
}

// to fills in the addresses from one guest to another, through the gateway where they are on different segments.
func (g *guest) to(o *guest, v6 bool, p packet) packet {
	p.src, p.dst, p.smac, p.dmac = g.addr(v6), o.addr(v6), g.port.MAC, gatewayMAC
	if g.port.Segment == o.port.Segment {
		p.dmac = o.port.MAC
	}
	return p
}

func (p packet) build() *frame.Frame {
	v4 := p.src.IP().Is4()
	if p.ttl == 0 {
		p.ttl = 64
	}
	head := map[uint8]int{frame.ProtoTCP: 20}[p.proto]
	if head == 0 {
		head = 8
	}
	l3 := 40
	if v4 {
		l3 = 20
	}
	f := frame.New(frame.MinLen + l3 + head + len(p.payload))
	b := f.Eth()
	m := b[frame.MinLen+l3:]
	copy(m[head:], p.payload)
	binary.BigEndian.PutUint16(m, p.sport)
	binary.BigEndian.PutUint16(m[2:], p.dport)
	sum := 0
	switch p.proto {
	case frame.ProtoTCP:
		binary.BigEndian.PutUint32(m[4:], p.seq)
		binary.BigEndian.PutUint32(m[8:], p.ack)
		m[12], m[13], sum = 5<<4, p.flags, 16
	case frame.ProtoUDP:
		binary.BigEndian.PutUint16(m[4:], uint16(len(m)))
		sum = 6
	case frame.ProtoICMP, frame.ProtoICMPv6:
		m[0], m[1], m[2], m[3] = p.icmp, 0, 0, 0
		binary.BigEndian.PutUint16(m[4:], p.sport)
		sum = 2
	}
	if v4 {
		frame.PutEth(b, p.dmac, p.smac, frame.EtherIPv4)
		frame.PutIPv4(b[frame.MinLen:], p.src, p.dst, p.proto, p.ttl, l3+len(m))
	} else {
		frame.PutEth(b, p.dmac, p.smac, frame.EtherIPv6)
		frame.PutIPv6(b[frame.MinLen:], p.src, p.dst, p.proto, p.ttl, len(m))
	}
	c := frame.L4Checksum(p.src, p.dst, p.proto, m)
	if p.proto == frame.ProtoICMP {
		c = frame.Checksum(m)
	}
	binary.BigEndian.PutUint16(m[sum:], c)
	return f
}

func isProto(proto uint8, dport uint16) func(*frame.Key) bool {
	return func(k *frame.Key) bool { return k.Has(frame.KeyL4) && k.Proto == proto && k.DstPort == dport }
}

func addr(s string) frame.Addr { return frame.AddrFrom(netip.MustParseAddr(s)) }
