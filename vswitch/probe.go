package vswitch

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch/walk"
)

// A probe is a UDP packet of the switch's own that takes the guests' way through the appliance: in the tunnel as the
// frame of port 0, in slow by a segment's vNIC in and by the steer vNIC out. It carries a number that nobody can guess,
// so that no guest can answer in the appliance's place. Probes are nobody's frames: they are not in the books.
const (
	probeLen   = 16
	probesKept = 64 // those that may be answered: of 1.6 s
	probesDue  = 4  // of a kind, all without an answer: enough to make something of it
	probeTTL   = 64
)

// probeFrom is where probes come from; they go to the switch's end of the tunnel.
var probeFrom = frame.AddrFrom(frame.TunnelProbe)

// probes are those that were sent, and what their answers say. Walkers hand in answers; the monitor reads.
type probes struct {
	mu       sync.Mutex
	sent     [probesKept]probe
	next     int
	answered [2]int64 // monotonic ns of the last answer; by untracked, tracked
	open     [2]int   // how many were sent since
	took     int64    // ns, of the last answer
}

type probe struct {
	number  [probeLen]byte
	at      int64 // monotonic ns; 0 is none, or answered
	tracked bool
}

// ask notes a new probe, and gives its number.
func (p *probes) ask(now int64, tracked bool) (number [probeLen]byte) {
	rand.Read(number[:])
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent[p.next%probesKept] = probe{number, now, tracked}
	p.next++
	p.open[kindOf(tracked)]++
	return number
}

func kindOf(tracked bool) int {
	if tracked {
		return 1
	}
	return 0
}

// answer says whether a packet's payload answers a probe.
func (p *probes) answer(payload []byte, now int64) bool {
	if len(payload) < probeLen {
		return false
	}
	number := [probeLen]byte(payload)
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.sent {
		q := &p.sent[i]
		if q.at == 0 || q.number != number {
			continue
		}
		kind := kindOf(q.tracked)
		p.answered[kind], p.open[kind], p.took = now, 0, now-q.at
		q.at = 0
		return true
	}
	return false
}

// came says whether a probe has been answered.
func (p *probes) came(number [probeLen]byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.sent[:], func(q probe) bool { return q.number == number })
	return i >= 0 && p.sent[i].at == 0
}

// silentFor says whether there has been no answer of a kind for so many ns, though some were due: a switch that was not
// given the processor has not asked. Before start nothing counts.
func (p *probes) silentFor(ns, start, now int64, tracked bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	kind := kindOf(tracked)
	return now-max(start, p.answered[kind]) > ns && p.open[kind] >= probesDue
}

// last is how long the last answer took, in ns.
func (p *probes) last() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.took
}

// newProbe makes a probe's packet. to is the MAC that it goes to.
func newProbe(o *frame.Outer, to frame.MAC, number [probeLen]byte, tracked uint16) *frame.Frame {
	const head = 20 + 8
	f := frame.New(frame.MinLen + head + probeLen)
	b := f.Eth()
	frame.PutEth(b, to, o.LocalMAC, frame.EtherIPv4)
	frame.PutIPv4(b[frame.MinLen:], probeFrom, o.Local, frame.ProtoUDP, probeTTL, head+probeLen)
	u := b[frame.MinLen+20:]
	port := uint16(frame.ProbeUntracked)
	if tracked > 0 {
		port = frame.ProbeTracked + tracked%0xfff0
	}
	u[0], u[1] = byte(port>>8), byte(port)
	u[2], u[3] = frame.GenevePort>>8, frame.GenevePort&0xff
	u[5] = 8 + probeLen
	copy(u[8:], number[:])
	return f
}

// way is how probes get to the appliance in a placement: by a port, and where the placement steers, in a session.
type way struct {
	outer frame.Outer
	in    walk.Session
	port  *Port
}

// ways are those by which guests' frames get there.
func (s *Switch) ways(placement firewall.Placement, in walk.Session) (all []way) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.ports {
		if p := s.ports[i]; p.ID != 0 && p.Serves(placement) && p.Steer == placement.Steers() {
			all = append(all, way{s.outer, in, &p})
		}
	}
	return all
}

// probe sends one; tracked is 0 for one that conntrack does not look at.
func (s *Switch) probe(w way, tracked uint16) (number [probeLen]byte) {
	number = s.probes.ask(s.clock(), tracked > 0)
	f := newProbe(&w.outer, w.port.MAC, number, tracked)
	if w.in.ID != 0 {
		var ticket *frame.Ticket
		if w.in.Ticketed {
			ticket = &frame.Ticket{}
		}
		f.Wrap(&w.outer, frame.NewVNI(w.in.ID, 0, false), ticket, frame.ProbeUntracked)
	}
	s.engine.Send(w.port.ID, f) // one that finds no room is one that is not answered
	return number
}

// sendProbes sends one probe of each kind by the way that guests' frames take in a placement, and in its session.
func (s *Switch) sendProbes(round uint16, placement firewall.Placement, in walk.Session) {
	ways := s.ways(placement, in)
	if len(ways) == 0 {
		return
	}
	w := ways[int(round)%len(ways)]
	s.probe(w, 0)
	s.probe(w, round%0xfff0+1)
}

// proveAtMost is how long the new way of a change is tried: an appliance that does not answer for so long is not one to
// send frames to.
const proveAtMost = 3 * time.Second

// prove sees that the new way leads through the appliance and back, before any frame takes it; and the appliance's
// first packet, which is slow where a processor is emulated, is none of a guest's. Meanwhile the ledger sees what a
// stream is like without a change.
func (c *change) prove(ctx context.Context) error {
	s := c.s
	began := s.clock()
	var ways []way
	if c.to.Visits() {
		ways = s.ways(c.to, c.session)
	}
	if c.to == firewall.Slow {
		s.introduce(ways)
	}
	n := &sounding{s: s, ways: ways, sent: make([][][probeLen]byte, len(ways))}
	for !n.empty() || s.clock()-began < int64(watchBefore) {
		if s.clock()-began > int64(proveAtMost) {
			return fmt.Errorf("the appliance gives back no probe by the way of %s", c.to)
		}
		if err := pause(ctx, proveStep); err != nil {
			return err
		}
	}
	return nil
}

// proveStep is how often it is looked whether the probes have come back.
const proveStep = 2 * time.Millisecond

// sounding asks an appliance by every way of a placement that is left whether it is empty: a probe comes back behind
// all that was handed over before it.
type sounding struct {
	s    *Switch
	ways []way
	sent [][][probeLen]byte // by way
	next int64              // when it sends again, monotonic ns: what was sent may have found no room
}

// soundEvery leaves the monitor's own probes their places.
const soundEvery = 200 * time.Millisecond

// sound begins with the old ways that a change drains; nil where there are none, or the appliance would not answer.
func (c *change) sound() *sounding {
	if !c.drains() || c.failed || c.s.noMachine() {
		return nil
	}
	n := &sounding{s: c.s}
	if c.from.Visits() && c.from != c.to {
		n.ways = c.s.ways(c.from, c.ending)
	}
	if c.keeping == nil && c.was.visits() {
		n.ways = append(n.ways, c.s.ways(c.was.placement, c.was.session)...)
	}
	n.sent = make([][][probeLen]byte, len(n.ways))
	return n
}

// empty says whether one has come back by each way. Nil is empty.
func (n *sounding) empty() bool {
	if n == nil {
		return true
	}
	all, now := true, n.s.clock()
	again := now >= n.next
	for i, w := range n.ways {
		if slices.ContainsFunc(n.sent[i], n.s.probes.came) {
			continue
		}
		if all = false; again {
			n.sent[i] = append(n.sent[i], n.s.probe(w, 0))
		}
	}
	if again {
		n.next = now + int64(soundEvery)
	}
	return all
}

// introduce tells an appliance that begins to route where the guests' addresses are: some may have moved since it was
// told last. The probes that follow by the same ways come back behind it.
func (s *Switch) introduce(ways []way) {
	type claim struct {
		at frame.SegmentID
		a  frame.Addr
	}
	plan, claimed := s.plan.Load(), map[claim]frame.MAC{}
	s.engine.Neighbours(func(at frame.SegmentID, a frame.Addr, mac frame.MAC) { claimed[claim{at, a}] = mac })
	for _, w := range ways {
		var frames []*frame.Frame
		put := func(a frame.Addr, mac frame.MAC) {
			frames = append(frames, walk.Announcement(a, mac, w.port.MAC))
		}
		for a, h := range plan.Hosts {
			if _, elsewhere := claimed[claim{h.Segment, a}]; h.Segment == w.port.Segment && h.Port != 0 && !elsewhere {
				put(a, h.MAC)
			}
		}
		for k, mac := range claimed {
			if k.at == w.port.Segment {
				put(k.a, mac)
			}
		}
		s.engine.Send(w.port.ID, frames...) // where one finds no room, the appliance asks
	}
}
