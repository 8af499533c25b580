package vswitch

import (
	"cmp"
	"slices"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// counted is what a port has counted since the switch forgot last. The caller has the mutex.
func (s *Switch) counted(id frame.PortID) (n Counters, ok bool) {
	n, ok = s.engine.Counters(id)
	return n.Since(s.zero[id]), ok
}

// books sums up all ports, those that are gone included. The caller has the mutex.
func (s *Switch) books() Counters {
	sum := s.gone
	for id := range s.ports {
		if n, ok := s.counted(frame.PortID(id)); ok {
			sum.Add(n)
		}
	}
	return sum
}

// Stats are the counters now.
func (s *Switch) Stats() Stats {
	plan := s.plan.Load()
	usage := s.usage()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{
		Placement: plan.Placement, Epoch: plan.Epoch, Generation: s.generation, Flows: s.engine.Flows().Len(),
		Share: s.share(usage).since(s.shareFrom), Ports: []PortStats{}, Rules: []RuleStats{},
	}
	st.FastShare = st.Share.fast()
	sum, macs := s.gone, map[frame.PortID]int{}
	s.engine.MACs(func(_ frame.SegmentID, _ frame.MAC, port frame.PortID, _ time.Duration) { macs[port]++ })
	for id := range s.ports {
		if n, ok := s.counted(frame.PortID(id)); ok {
			sum.Add(n)
			ps := s.portStats(frame.PortID(id), n)
			ps.MACs = macs[ps.ID]
			st.Ports = append(st.Ports, ps)
		}
	}
	st.In, st.Copies, st.Out, st.Dropped = sum.In, sum.Copies, sum.Out, sum.Reasons()
	if plan.Program != nil {
		st.RulesAsked = plan.Program.Enforces()
		for _, r := range s.engine.Rules() {
			rs := RuleStats{Rule: r.Name, Hits: r.Hits, Frames: r.Frames, Bytes: r.Bytes, Unlogged: r.Unlogged}
			if r.Last != 0 {
				rs.LastHit = s.wall(r.Last)
			}
			st.Rules = append(st.Rules, rs)
		}
	}
	return st
}

// portStats are those of one port, with what it has counted. The caller has the mutex.
func (s *Switch) portStats(id frame.PortID, n Counters) PortStats {
	p := s.ports[id]
	ps := PortStats{
		Name: p.Name, ID: id, Segment: s.segments[p.Segment].Name, Up: !n.Down, Generation: s.realized[id],
		InFrames: n.In, InBytes: n.InBytes, OutFrames: n.Out, OutBytes: n.OutBytes,
		Copies: n.Copies, Batches: n.Batches, Wakes: n.Wakes, Dropped: n.Reasons(), NICDrops: n.NICDrops,
	}
	switch {
	case id == 0:
		ps.Name = "switch"
	case p.Service:
		ps.Generation = s.sent
	}
	return ps
}

// Status is how the switch is now.
func (s *Switch) Status() Status {
	plan := s.plan.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{
		Name: s.name, Placement: plan.Placement, Epoch: plan.Epoch, Generation: s.generation,
		Appliance: s.appliance != nil, Flows: s.engine.Flows().Len(), Changing: s.placing.Load(),
	}
	if s.placement.NeedsAppliance() {
		st.ApplianceState, st.Bypassed, st.Unrecovered = s.failure.String(), s.bypass, s.unrecovered
	}
	if s.kept != nil {
		st.Kept = &KeptStatus{Placement: s.kept.placement, Flows: s.engine.Flows().KeptLen()}
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
	s.engine.Flows().Each(s.clock(), s.plan.Load().Program, func(r firewall.FlowRecord) bool {
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
		if p := plan.Port(seg.GatewayPort); p != nil {
			port = p.Name
		} else if plan.Net[seg.ID].Orphan {
			port = ""
		}
		list = append(list, MACEntry{Segment: seg.Name, MAC: macString(seg.GatewayMAC), Port: port, Static: true})
	}
	s.engine.MACs(func(seg frame.SegmentID, m frame.MAC, port frame.PortID, silent time.Duration) {
		if p := plan.Port(port); p != nil {
			list = append(list, MACEntry{Segment: plan.Segments[seg].Name, MAC: macString(m), Port: p.Name, Age: silent.Seconds()})
		}
	})
	slices.SortFunc(list, func(a, b MACEntry) int {
		return cmp.Or(cmp.Compare(a.Segment, b.Segment), cmp.Compare(a.Port, b.Port), cmp.Compare(a.MAC, b.MAC))
	})
	return list
}

// Trace explains the way of a frame that nobody sends. It changes nothing.
func (s *Switch) Trace(r TraceRequest) (TraceResult, error) {
	s.mu.Lock()
	failure := s.failure
	s.mu.Unlock()
	return s.engine.Trace(r, failure)
}

// History lists the receipts of the latest changes, oldest first.
func (s *Switch) History() []Receipt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.history)
}
