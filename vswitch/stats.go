package vswitch

import (
	"slices"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// books are sums of counters.
type books struct {
	in, copies, out uint64
	dropped         [frame.Reasons]uint64
}

func (b *books) add(c *counters) {
	b.in += c.inFrames.Load()
	b.copies += c.copies.Load()
	b.out += c.outFrames.Load()
	for r := range c.dropped {
		b.dropped[r] += c.dropped[r].Load()
	}
}

// books sums up all ports, those that are gone included. The caller has the mutex.
func (s *Switch) books() (b books) {
	b.add(&s.gone)
	for _, c := range s.counters {
		if c != nil {
			b.add(c)
		}
	}
	return b
}

// since names the drops beyond those of an earlier moment.
func (b books) since(old books) map[string]uint64 {
	m := map[string]uint64{}
	for r, n := range b.dropped {
		if n > old.dropped[r] {
			m[frame.Reason(r).String()] = n - old.dropped[r]
		}
	}
	return m
}

// share is what the fast share is made of.
type share struct {
	guests    uint64 // frames that guests sent
	appliance uint64 // frames that went to the appliance
}

// share counts from the beginning. The caller has the mutex.
func (s *Switch) share() (n share) {
	for id, p := range s.ports {
		switch {
		case p.ID == 0:
		case p.Service:
			n.appliance += s.counters[id].outFrames.Load()
		default:
			n.guests += s.counters[id].inFrames.Load()
		}
	}
	return n
}

// fast is the share of the guests' frames since an earlier moment that did not go to the appliance.
func (n share) fast(from share) float64 {
	guests := n.guests - min(n.guests, from.guests)
	if guests == 0 {
		return 1
	}
	return max(0, 1-float64(n.appliance-min(n.appliance, from.appliance))/float64(guests))
}

// Stats are the counters now.
func (s *Switch) Stats() Stats {
	plan := s.plan.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.books()
	st := Stats{
		Placement: plan.Placement, Epoch: plan.Epoch,
		In: b.in, Copies: b.copies, Out: b.out, Dropped: b.since(books{}),
		FastShare: s.share().fast(s.shareFrom),
		Flows:     s.core.flows.Len(),
		Ports:     []PortStats{portStats(s.counters[0], Port{Name: "switch"}, "")},
		Rules:     []RuleStats{},
	}
	for id, p := range s.ports {
		if p.ID == 0 {
			continue
		}
		ps := portStats(s.counters[id], p, s.segments[p.Segment].Name)
		ps.MACs = s.core.fdb.len(p.ID)
		if n, ok := s.nics[id].(interface{ Drops() uint64 }); ok {
			ps.NICDrops = n.Drops()
		}
		st.Ports = append(st.Ports, ps)
	}
	if plan.Program != nil {
		for _, r := range plan.Program.Rules() {
			st.Rules = append(st.Rules, RuleStats{Rule: r.Name, Frames: r.Hits, Bytes: r.Bytes})
		}
	}
	return st
}

func portStats(c *counters, p Port, segment string) PortStats {
	return PortStats{
		Name: p.Name, ID: p.ID, Segment: segment, Up: !c.down.Load(),
		InFrames: c.inFrames.Load(), InBytes: c.inBytes.Load(),
		OutFrames: c.outFrames.Load(), OutBytes: c.outBytes.Load(),
		Copies: c.copies.Load(), Dropped: c.drops(),
	}
}

// Status is how the switch is now.
func (s *Switch) Status() Status {
	plan := s.plan.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{
		Name: s.name, Placement: plan.Placement, Epoch: plan.Epoch, Generation: s.generation,
		Appliance: s.appliance != nil, Flows: s.core.flows.Len(), Changing: s.placing.Load(),
	}
	for _, p := range s.ports {
		if p.ID != 0 {
			st.Ports++
		}
	}
	return st
}

// Flows lists the flows that are alive.
func (s *Switch) Flows() []firewall.FlowRecord {
	list := []firewall.FlowRecord{}
	s.core.flows.Each(s.core.Now(), s.plan.Load().Program, func(r firewall.FlowRecord) bool {
		list = append(list, r)
		return true
	})
	return list
}

// History lists the receipts of the latest changes, oldest first.
func (s *Switch) History() []Receipt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.history)
}
