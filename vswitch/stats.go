package vswitch

import (
	"cmp"
	"net"
	"slices"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch/walk"
)

// PortStats are a port's counters since it was added. Frames in and out are counted as the guest sees them.
type PortStats struct {
	Name    string       `json:"name"`
	ID      frame.PortID `json:"id"`
	Segment string       `json:"segment"`
	Up      bool         `json:"up"`
	// Generation is that of the policy that is realized at the vNIC; for a port of the appliance, of the one that the
	// appliance has taken. 0 is none.
	Generation uint64 `json:"generation"`
	InFrames   uint64 `json:"in_frames"` // from the guest
	InBytes    uint64 `json:"in_bytes"`
	OutFrames  uint64 `json:"out_frames"` // to the guest
	OutBytes   uint64 `json:"out_bytes"`
	Copies     uint64 `json:"copies"` // frames made of this port's frames beyond the first: floods
	// KernelFrames are those of InFrames that a program in the kernel has sent on by itself (engine kernel).
	KernelFrames uint64 `json:"kernel_frames"`
	// Batches are how often the port's goroutine has taken what was there, and Wakes how often it had to be woken for
	// it: before the other batches more frames were waiting already.
	Batches  uint64            `json:"batches"`
	Wakes    uint64            `json:"wake_ups"`
	Dropped  map[string]uint64 `json:"dropped"`
	NICDrops uint64            `json:"nic_drops"` // lost in the NIC's own queue before the switch saw them: not in the books
	MACs     int               `json:"macs"`      // FDB entries
}

// MACEntry says behind which port a MAC of a segment lives.
type MACEntry struct {
	Segment string  `json:"segment"`
	MAC     string  `json:"mac"`
	Port    string  `json:"port"`                                                             // "switch" is the switch itself; empty where whoever served a gateway is gone
	Age     float64 `json:"age_s" doc:"For how long it has been silent: noted once a second"` // 0 where it is static
	Static  bool    `json:"static" doc:"It is a gateway's: not learnt, and never forgotten"`
}

// RuleStats are a rule's counters since the policy was applied.
type RuleStats struct {
	Rule string `json:"rule"` // "default" is what no rule matched
	Hits uint64 `json:"hits"` // how often an insertion point asked the rules and got this one: for a flow's first frame, mostly
	// Frames and Bytes (of IP) are those of the flows that the rule let in, over their whole life; and of what hit it
	// and was no flow.
	Frames uint64 `json:"frames"`
	Bytes  uint64 `json:"bytes"`
	// LastHit is when the last hit was; left out where there was none.
	LastHit time.Time `json:"last_hit,omitzero"`
	// Unlogged is how many decisions of a logged rule were not logged since its last line.
	Unlogged uint64 `json:"unlogged"`
}

// Stats are the switch's counters. The books balance: in + copies == out + the sum of dropped. Frames that the switch
// itself makes (answers, questions for a neighbour) come in at the port "switch".
type Stats struct {
	Placement firewall.Placement `json:"placement"`
	Epoch     uint64             `json:"epoch"`
	// Generation is the policy's; each port tells the one that is realized there.
	Generation uint64            `json:"generation"`
	In         uint64            `json:"in"`
	Copies     uint64            `json:"copies"`
	Out        uint64            `json:"out"`
	Dropped    map[string]uint64 `json:"dropped"`
	// FastShare is the share of the guests' frames that the engine alone has handled: 1 where none met the appliance.
	FastShare float64     `json:"fast_share"`
	Share     Share       `json:"share"`
	Flows     int         `json:"flows"`
	Ports     []PortStats `json:"ports"`
	Rules     []RuleStats `json:"rules"`
	// RulesAsked says whether the engine asks the rules in this placement. Where the appliance does, hits stand still.
	RulesAsked bool `json:"rules_asked"`
}

// Status is how the switch is now.
type Status struct {
	Name       string             `json:"name"`
	Placement  firewall.Placement `json:"placement"`
	Epoch      uint64             `json:"epoch"`
	Generation uint64             `json:"generation"` // of the policy; 0 is none yet
	Appliance  bool               `json:"appliance"`  // whether there is one
	Ports      int                `json:"ports"`
	Flows      int                `json:"flows"`
	Changing   bool               `json:"changing"` // a change of placement is running
	// ApplianceState is how the appliance is, as probes show it: ok, absent, hung, backlogged or table-full; empty
	// where the placement needs none.
	ApplianceState string `json:"appliance_state"`
	Bypassed       bool   `json:"bypassed"` // it has failed, and frames pass it by
	// Unrecovered says why an appliance that answers again has not been given its place; empty where nothing keeps it
	// from that.
	Unrecovered string `json:"unrecovered,omitempty"`
	// Kept says how many flows are on the way of another placement, because the last change has kept them; nil where
	// none are.
	Kept *KeptStatus `json:"kept,omitempty"`
}

// KeptStatus is what a change with handover keep has left behind.
type KeptStatus struct {
	Placement firewall.Placement `json:"placement" doc:"On whose way the flows are"`
	Flows     int                `json:"flows"`
}

// counted is what a port has counted since the switch forgot last. The caller has the mutex.
func (s *Switch) counted(id frame.PortID) (n walk.Counters, ok bool) {
	n, ok = s.engine.Counters(id)
	return n.Since(s.zero[id]), ok
}

// books sums up all ports, those that are gone included. The caller has the mutex.
func (s *Switch) books() walk.Counters {
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
func (s *Switch) portStats(id frame.PortID, n walk.Counters) PortStats {
	p := s.ports[id]
	ps := PortStats{
		Name: p.Name, ID: id, Segment: s.segments[p.Segment].Name, Up: !n.Down, Generation: s.realized[id],
		InFrames: n.In, InBytes: n.InBytes, OutFrames: n.Out, OutBytes: n.OutBytes,
		Copies: n.Copies, KernelFrames: n.Kernel, Batches: n.Batches, Wakes: n.Wakes, Dropped: n.Reasons(), NICDrops: n.NICDrops,
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
		list = append(list, MACEntry{Segment: seg.Name, MAC: textOf(seg.GatewayMAC), Port: port, Static: true})
	}
	s.engine.MACs(func(seg frame.SegmentID, m frame.MAC, port frame.PortID, silent time.Duration) {
		if p := plan.Port(port); p != nil {
			list = append(list, MACEntry{Segment: plan.Segments[seg].Name, MAC: textOf(m), Port: p.Name, Age: silent.Seconds()})
		}
	})
	slices.SortFunc(list, func(a, b MACEntry) int {
		return cmp.Or(cmp.Compare(a.Segment, b.Segment), cmp.Compare(a.Port, b.Port), cmp.Compare(a.MAC, b.MAC))
	})
	return list
}

func textOf(m frame.MAC) string { return net.HardwareAddr(m[:]).String() }

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
