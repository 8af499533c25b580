package vswitch

import (
	"cmp"
	"slices"
	"time"

	"sluice/firewall"
	"sluice/vnic"
	"sluice/vnic/frame"
)

// books are what counters said at one moment, or a sum of such.
type books struct {
	in, inBytes   uint64
	copies        uint64
	batches       uint64
	wakes         uint64
	out, outBytes uint64
	dropped       [frame.Reasons]uint64
}

// read is what has been counted since the switch forgot last.
func (c *counters) read() books { return c.raw().less(c.zero) }

// raw reads each counter once.
func (c *counters) raw() (b books) {
	b.in, b.inBytes = c.inFrames.Load(), c.inBytes.Load()
	b.copies = c.copies.Load()
	b.wakes = c.wakes.Load() // first: there are never more than batches
	b.batches = c.batches.Load()
	b.out, b.outBytes = c.outFrames.Load(), c.outBytes.Load()
	for r := range c.dropped {
		b.dropped[r] = c.dropped[r].Load()
	}
	return b
}

func (b *books) add(o books) {
	b.in += o.in
	b.inBytes += o.inBytes
	b.copies += o.copies
	b.batches += o.batches
	b.wakes += o.wakes
	b.out += o.out
	b.outBytes += o.outBytes
	for r, n := range o.dropped {
		b.dropped[r] += n
	}
}

// less is what has been added to earlier books of the same counters.
func (b books) less(old books) books {
	b.in -= old.in
	b.inBytes -= old.inBytes
	b.copies -= old.copies
	b.batches -= old.batches
	b.wakes -= old.wakes
	b.out -= old.out
	b.outBytes -= old.outBytes
	for r := range b.dropped {
		b.dropped[r] -= old.dropped[r]
	}
	return b
}

// books sums up all ports, those that are gone included. The caller has the mutex.
func (s *Switch) books() books {
	sum := s.gone
	for _, c := range s.counters {
		if c != nil {
			sum.add(c.read())
		}
	}
	return sum
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

// Stats are the counters now.
func (s *Switch) Stats() Stats {
	plan := s.plan.Load()
	usage := s.usage()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{
		Placement: plan.Placement, Epoch: plan.Epoch, Generation: s.generation, Flows: s.core.flows.Len(),
		Share: s.share(usage).since(s.shareFrom), Ports: []PortStats{}, Rules: []RuleStats{},
	}
	st.FastShare = st.Share.fast()
	sum, macs := s.gone, map[frame.PortID]int{}
	s.core.fdb.each(s.segments, s.core.Now(), func(_ *Segment, _ frame.MAC, port frame.PortID, _ time.Duration) { macs[port]++ })
	for id, c := range s.counters {
		if c != nil {
			b := c.read()
			sum.add(b)
			ps := s.portStats(frame.PortID(id), b)
			ps.MACs = macs[ps.ID]
			st.Ports = append(st.Ports, ps)
		}
	}
	st.In, st.Copies, st.Out, st.Dropped = sum.in, sum.copies, sum.out, sum.since(books{})
	if plan.Program != nil {
		st.RulesAsked = plan.Program.Enforces()
		for _, r := range plan.Program.Rules(s.core.flows) {
			rs := RuleStats{Rule: r.Name, Hits: r.Hits, Frames: r.Frames, Bytes: r.Bytes, Unlogged: r.Unlogged}
			if r.Last != 0 {
				rs.LastHit = s.wall(r.Last)
			}
			st.Rules = append(st.Rules, rs)
		}
	}
	return st
}

// portStats are those of one port, with what its counters said. The caller has the mutex.
func (s *Switch) portStats(id frame.PortID, b books) PortStats {
	p := s.ports[id]
	ps := PortStats{
		Name: p.Name, ID: id, Segment: s.segments[p.Segment].Name, Up: !s.counters[id].down.Load(),
		InFrames: b.in, InBytes: b.inBytes, OutFrames: b.out, OutBytes: b.outBytes,
		Copies: b.copies, Batches: b.batches, Wakes: b.wakes, Dropped: b.since(books{}),
	}
	switch {
	case id == 0:
		ps.Name = "switch"
	case p.Service:
		ps.Generation = s.sent
	default:
		ps.Generation = s.counters[id].generation.Load()
	}
	ps.NICDrops = dropsOf(s.nics[id]) - s.counters[id].zeroDrops
	return ps
}

// dropsOf is how many frames a NIC has lost itself.
func dropsOf(nic vnic.NIC) uint64 {
	if n, ok := nic.(vnic.Dropper); ok {
		return n.Drops()
	}
	return 0
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
	if s.placement.NeedsAppliance() {
		st.ApplianceState, st.Bypassed, st.Unrecovered = s.failure.String(), s.bypass, s.unrecovered
	}
	if s.kept != nil {
		st.Kept = &KeptStatus{Placement: s.kept.placement, Flows: s.core.flows.KeptLen()}
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

// FDB lists the MACs that frames are sent by: those that the switch has learnt and not forgotten, and the gateways'.
func (s *Switch) FDB() []MACEntry {
	plan := s.plan.Load()
	list := []MACEntry{}
	for _, seg := range plan.Segments[1:] {
		if len(seg.Gateways) == 0 {
			continue
		}
		port := "switch"
		if p := plan.port(seg.GatewayPort); p != nil {
			port = p.Name
		} else if plan.net[seg.ID].orphan {
			port = ""
		}
		list = append(list, MACEntry{Segment: seg.Name, MAC: macString(seg.GatewayMAC), Port: port, Static: true})
	}
	s.core.fdb.each(plan.Segments, s.core.Now(), func(seg *Segment, m frame.MAC, port frame.PortID, silent time.Duration) {
		if p := plan.port(port); p != nil {
			list = append(list, MACEntry{Segment: seg.Name, MAC: macString(m), Port: p.Name, Age: silent.Seconds()})
		}
	})
	slices.SortFunc(list, func(a, b MACEntry) int {
		return cmp.Or(cmp.Compare(a.Segment, b.Segment), cmp.Compare(a.Port, b.Port), cmp.Compare(a.MAC, b.MAC))
	})
	return list
}

// History lists the receipts of the latest changes, oldest first.
func (s *Switch) History() []Receipt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.history)
}
