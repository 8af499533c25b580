package vswitch

import (
	"cmp"
	"net/netip"
	"slices"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// window is what the join of a ledger needs to know of the change.
type window struct {
	start, end int64 // monotonic ns: the ledger was in force
	// grace is how long before the end a frame may have entered and still be on its way, and how long after the start a
	// frame may come out that entered before.
	grace      int64
	placements map[uint64]firewall.Placement // by epoch
	policy     *firewall.Policy              // the one in force; nil allows everything
}

// covers notes what placement frames see under a plan, and under the one beside it.
func (w window) covers(p *Plan, seen firewall.Placement) {
	w.placements[p.Epoch] = seen
	if p.Beside != nil {
		w.placements[p.Beside.Epoch] = p.Beside.Placement
	}
}

// findings are what a ledger says of a change.
type findings struct {
	observed, delivered                 int
	lost, duplicated, reordered, leaked int
	denied                              int // entered, but the policy denies them: the appliance kept them
	drained                             int
	gap                                 int64 // ns
	overflow                            bool
}

// join compares what entered with what was delivered, flow by flow.
func (l *Ledger) join(w window) findings {
	var total findings
	if at := l.full(); at != 0 {
		total.overflow, w.end = true, min(w.end, at) // from then on, what one log has another may lack
	}
	flows := map[flowKey][]record{}
	for _, log := range l.logs {
		if log == nil {
			continue
		}
		for _, r := range log.records {
			if r.at != 0 && r.at <= w.end {
				flows[r.flow] = append(flows[r.flow], r)
			}
		}
	}
	for key, records := range flows {
		slices.SortStableFunc(records, func(a, b record) int {
			if c := cmp.Compare(a.at, b.at); c != 0 {
				return c
			}
			return before(a, b)
		})
		total.addFlow(joinFlow(key, records, len(flows[key.reverse()]) > 0, w))
	}
	return total
}

// full is when the first log had no more room; 0 is never.
func (l *Ledger) full() (first int64) {
	for _, log := range l.logs {
		if log != nil && log.full != 0 && (first == 0 || log.full < first) {
			first = log.full
		}
	}
	return first
}

// before puts what entered before what was delivered at the same moment.
func before(a, b record) int {
	switch {
	case a.delivered == b.delivered:
		return 0
	case a.delivered:
		return 1
	}
	return -1
}

func (t *findings) addFlow(f findings) {
	t.observed += f.observed
	t.delivered += f.delivered
	t.lost += f.lost
	t.duplicated += f.duplicated
	t.reordered += f.reordered
	t.leaked += f.leaked
	t.denied += f.denied
	t.drained += f.drained
	t.gap = max(t.gap, f.gap)
}

// joinFlow judges one direction of a flow. records are in order of time; asked says that there are some of the other one.
func joinFlow(key flowKey, records []record, asked bool, w window) findings {
	var f findings
	begins, answers := w.allows(key)
	allowed := begins || answers
	var entered, delivered []record
	for _, r := range records {
		switch {
		case !r.delivered:
			entered = append(entered, r)
		default:
			delivered = append(delivered, r)
			if r.appliance && !w.placements[r.epoch].Visits() {
				f.drained++
			}
			if w.enforced(r) {
				asked = true // nobody would have let it pass else
				if !allowed {
					f.leaked++
				}
			}
		}
	}
	f.observed, f.delivered = len(entered), len(delivered)
	found := match(entered, delivered)
	f.duplicated, f.reordered = found.duplicated, found.reordered
	var lost []record
	for i, r := range entered {
		if !found.arrived[i] && r.at < w.end-w.grace {
			lost = append(lost, r)
		}
	}
	if !begins && !(answers && asked) {
		f.denied = len(lost)
		return f
	}
	f.lost = len(lost)
	f.gap = gap(entered, delivered, found.arrived, w)
	return f
}

// enforced says whether a delivery was under a plan that should have prevented it. In slow, frames that stay in a segment
// never meet the appliance: that is no leak, but how slow is.
func (w window) enforced(r record) bool {
	p := w.placements[r.epoch]
	return p.Enforces() && (p != firewall.Slow || r.appliance)
}

// allows says whether the policy lets this direction begin a flow, and whether it lets the other one, whose answers these are.
// Of what only the other end may begin, frames that get no answer and never arrive are an attempt that was denied, and no loss.
// Errors about flows are not flows.
func (w window) allows(k flowKey) (begins, answers bool) {
	if w.policy == nil || icmpError(k) {
		return true, false
	}
	begins = !k.is(frame.ICMPEchoReply, frame.ICMP6EchoReply) && w.policy.Evaluate(k.tuple()).Action == firewall.RuleAllow
	answers = !k.is(frame.ICMPEcho, frame.ICMP6Echo) && w.policy.Evaluate(k.reverse().tuple()).Action == firewall.RuleAllow
	return begins, answers
}

func icmpError(k flowKey) bool {
	switch k.proto {
	case frame.ProtoICMP:
		return k.icmp == frame.ICMPUnreachable || k.icmp == frame.ICMPTimeExceeded || k.icmp == 4 || k.icmp == 5 || k.icmp == 12
	case frame.ProtoICMPv6:
		return k.icmp < 128
	}
	return false
}

// reverse is the other direction of the flow.
func (k flowKey) reverse() flowKey {
	r := flowKey{src: k.dst, dst: k.src, sport: k.dport, dport: k.sport, proto: k.proto, icmp: k.icmp}
	for _, pair := range [][2]uint8{{frame.ICMPEcho, frame.ICMPEchoReply}, {frame.ICMP6Echo, frame.ICMP6EchoReply}} {
		switch {
		case k.is(pair[0], pair[0]):
			r.icmp = pair[1]
		case k.is(pair[1], pair[1]):
			r.icmp = pair[0]
		}
	}
	return r
}

// is says whether it is of a type of ICMP, or of that of ICMPv6.
func (k flowKey) is(icmp, icmp6 uint8) bool {
	return k.proto == frame.ProtoICMP && k.icmp == icmp || k.proto == frame.ProtoICMPv6 && k.icmp == icmp6
}

// tuple is the first packet of a flow in this direction. An echo reply belongs to a flow that a request began.
func (k flowKey) tuple() firewall.Tuple {
	t := firewall.Tuple{Proto: k.proto, ICMPType: k.icmp}
	switch {
	case k.proto == frame.ProtoICMP && k.icmp == frame.ICMPEchoReply:
		t.ICMPType = frame.ICMPEcho
	case k.proto == frame.ProtoICMPv6 && k.icmp == frame.ICMP6EchoReply:
		t.ICMPType = frame.ICMP6Echo
	}
	if t.ICMPType != 0 {
		k.sport, k.dport = 0, 0
	}
	t.Src, t.Dst = netip.AddrPortFrom(k.src.IP(), k.sport), netip.AddrPortFrom(k.dst.IP(), k.dport)
	return t
}

// gap is the longest time that frames of the flow waited without any delivery of the flow, in ns.
func gap(entered, delivered []record, arrived []bool, w window) (longest int64) {
	last := w.start // of the deliveries so far
	d := 0
	for i, e := range entered {
		for d < len(delivered) && delivered[d].at < e.at {
			last = delivered[d].at
			d++
		}
		if !arrived[i] && e.at >= w.end-w.grace {
			continue // still on its way, with nothing to say how long
		}
		until := w.end
		if d < len(delivered) {
			until = delivered[d].at
		}
		// Frames may have waited since before this one; but never longer than since the last delivery.
		longest = max(longest, until-max(last, e.at))
	}
	return longest
}
