package vswitch

import (
	"crypto/rand"
	"net/netip"
	"slices"
	"sync"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// A probe is a UDP packet of the switch's own that takes the guests' way through the appliance: in the tunnel as the frame of
// port 0, in slow by a segment's vNIC in and by the steer vNIC out. It carries a number that nobody can guess, so that no
// guest can answer in the appliance's place. Probes are nobody's frames: they are not in the books.
const (
	probeLen   = 16
	probesKept = 64 // those that may be answered: of 1.6 s
	// The source port says what conntrack does with a probe: nothing, or, from probeTracked on, a flow of its own.
	probeUntracked = 1
	probeTracked   = 2
)

// probeFrom is where probes come from; they go to the switch's end of the tunnel.
var probeFrom = frame.AddrFrom(netip.AddrFrom4([4]byte{169, 254, 83, 5}))

// probes are those that were sent, and what their answers say. Walkers hand in answers; the monitor reads.
type probes struct {
	mu       sync.Mutex
	sent     [probesKept]probe
	next     int
	answered [2]int64 // monotonic ns of the last answer; by untracked, tracked
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
	return number
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
		kind := 0
		if q.tracked {
			kind = 1
		}
		p.answered[kind], p.took = now, now-q.at
		q.at = 0
		return true
	}
	return false
}

// since says how long there has been no answer of a kind, and how long the last one took, in ns. Before start nothing counts.
func (p *probes) since(start, now int64, tracked bool) (silent, took int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.answered[0]
	if tracked {
		last = p.answered[1]
	}
	return now - max(start, last), p.took
}

// probe takes a frame that came from the steer port as the answer to a probe, if it is one. k is of the probe itself.
func (w *Walker) probe(f *frame.Frame, k *frame.Key) bool {
	return k.Has(frame.KeyIPv4|frame.KeyL4) && k.Proto == frame.ProtoUDP && k.Src == probeFrom && k.Dst == w.plan.steering.outer.Local &&
		w.core.probes.answer(f.Eth()[k.Payload:int(k.Payload)+int(k.PayloadLen)], w.cx.Now)
}

// newProbe makes a probe's packet. to is the MAC that it goes to.
func newProbe(o *frame.Outer, to frame.MAC, number [probeLen]byte, tracked uint16) *frame.Frame {
	const head = 20 + 8
	f := frame.New(frame.MinLen + head + probeLen)
	b := f.Eth()
	frame.PutEth(b, to, o.LocalMAC, frame.EtherIPv4)
	frame.PutIPv4(b[frame.MinLen:], probeFrom, o.Local, frame.ProtoUDP, ourTTL, head+probeLen)
	u := b[frame.MinLen+20:]
	port := uint16(probeUntracked)
	if tracked > 0 {
		port = probeTracked + tracked%0xfff0
	}
	u[0], u[1] = byte(port>>8), byte(port)
	u[2], u[3] = frame.GenevePort>>8, frame.GenevePort&0xff
	u[5] = 8 + probeLen
	copy(u[8:], number[:])
	return f
}

// sendProbes sends one probe of each kind by the way that guests' frames take in a placement, and in its session.
func (s *Switch) sendProbes(round uint16, placement firewall.Placement, in *session) {
	s.mu.Lock()
	ports, nics, outer := slices.Clone(s.ports), slices.Clone(s.nics), s.outer
	s.mu.Unlock()
	var ways []*Port
	for i := range ports {
		if p := &ports[i]; p.ID != 0 && p.serves(placement) && p.Steer == placement.Steers() {
			ways = append(ways, p)
		}
	}
	if len(ways) == 0 {
		return
	}
	way := ways[int(round)%len(ways)]
	for _, tracked := range []uint16{0, round%0xfff0 + 1} {
		number := s.core.probes.ask(s.core.Now(), tracked > 0)
		f := newProbe(&outer, way.MAC, number, tracked)
		if in != nil {
			var ticket *frame.Ticket
			if in.ticketed {
				ticket = &frame.Ticket{}
			}
			f.Wrap(&outer, frame.NewVNI(in.id, 0, false), ticket, probeUntracked)
		}
		if nic := nics[way.ID]; nic != nil {
			_, _ = nic.WriteBatch([]*frame.Frame{f}) // one that finds no room is one that is not answered
		}
	}
}
