package measure

import (
	"cmp"
	"net/netip"
	"slices"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// Interval is what the join of a ledger needs to know of the change.
type Interval struct {
	Start, End int64 // monotonic ns: records were taken
	// Grace is how long before the end a frame may have entered and still be on its way, and how long after the start a
	// frame may come out that entered before.
	Grace      int64
	Placements map[uint64]firewall.Placement // by epoch: what frames see
	Policy     *firewall.Policy              // the one in force; nil allows everything
	// Known says whether the flow table has the connection of a TCP segment; nil is always. Segments of one that it has
	// not, none of which arrived, are of a connection that was over or cut: everybody drops them, the appliance, too.
	Known func(firewall.Tuple) bool
}

// Findings are what a ledger says of a change.
type Findings struct {
	Observed, Delivered                 int
	Lost, Duplicated, Reordered, Leaked int
	LostMost, LeakedMost                Most
	Denied                              int // entered, but the policy denies them: the appliance kept them
	Drained                             int
	Gap                                 int64 // ns
	Overflow                            bool
}

// Most is the direction of a flow that something happened to most often. Of two alike, the one counts that sorts first,
// so that the same ledger always says the same.
type Most struct {
	Flow   Flow
	Frames int
}

// see counts a direction of a flow.
func (m *Most) see(k Flow, frames int) {
	if frames > m.Frames || frames == m.Frames && frames > 0 && k.before(m.Flow) {
		*m = Most{k, frames}
	}
}

// String names it in words; nothing is empty.
func (m Most) String() string {
	if m.Frames == 0 {
		return ""
	}
	t := m.Flow.Tuple()
	t.ICMPType = m.Flow.ICMPType // of the frames themselves: a reply is one
	return t.String()
}

// Join compares what entered with what was delivered, flow by flow.
func (l *Ledger) Join(w Interval) Findings {
	var total Findings
	if at := l.full(); at != 0 {
		total.Overflow, w.End = true, min(w.End, at) // from then on, what one journal has another may lack
	}
	flows := map[Flow][]Record{}
	for _, journal := range l.journals {
		if journal == nil {
			continue
		}
		for _, r := range journal.records {
			if r.At != 0 && r.At <= w.End {
				flows[r.Flow] = append(flows[r.Flow], r)
			}
		}
	}
	for key, records := range flows {
		slices.SortStableFunc(records, func(a, b Record) int {
			if c := cmp.Compare(a.At, b.At); c != 0 {
				return c
			}
			return before(a, b)
		})
		f := joinFlow(key, records, len(flows[key.reverse()]) > 0, w)
		total.addFlow(f)
		total.LostMost.see(key, f.Lost)
		total.LeakedMost.see(key, f.Leaked)
	}
	return total
}

// full is when the first journal had no more room; 0 is never.
func (l *Ledger) full() (first int64) {
	for _, journal := range l.journals {
		if journal != nil && journal.full != 0 && (first == 0 || journal.full < first) {
			first = journal.full
		}
	}
	return first
}

// before puts what entered before what was delivered at the same moment.
func before(a, b Record) int {
	switch {
	case a.Delivered == b.Delivered:
		return 0
	case a.Delivered:
		return 1
	}
	return -1
}

func (t *Findings) addFlow(f Findings) {
	t.Observed += f.Observed
	t.Delivered += f.Delivered
	t.Lost += f.Lost
	t.Duplicated += f.Duplicated
	t.Reordered += f.Reordered
	t.Leaked += f.Leaked
	t.Denied += f.Denied
	t.Drained += f.Drained
	t.Gap = max(t.Gap, f.Gap)
}

// joinFlow judges one direction of a flow. records are in order of time; asked says that there are some of the other
// one.
func joinFlow(key Flow, records []Record, asked bool, w Interval) Findings {
	var f Findings
	begins, answers := w.allows(key)
	allowed := begins || answers
	var entered, delivered []Record
	for _, r := range records {
		switch {
		case !r.Delivered:
			entered = append(entered, r)
		default:
			delivered = append(delivered, r)
			if r.Appliance && !w.Placements[r.Epoch].Visits() {
				f.Drained++
			}
			if w.enforced(r) {
				asked = true // nobody would have let it pass else
				if !allowed && !w.related(key, r) {
					f.Leaked++
				}
			}
		}
	}
	f.Observed, f.Delivered = len(entered), len(delivered)
	found := match(entered, delivered)
	f.Duplicated, f.Reordered = found.duplicated, found.reordered
	var lost []Record
	for i, r := range entered {
		if !found.arrived[i] && r.At < w.End-w.Grace {
			lost = append(lost, r)
		}
	}
	unknown := key.Proto == frame.ProtoTCP && len(delivered) == 0 && w.Known != nil && !w.Known(key.Tuple())
	if unknown || !begins && !(answers && asked) {
		f.Denied = len(lost)
		return f
	}
	f.Lost = len(lost)
	f.Gap = gap(entered, delivered, found.arrived, w)
	return f
}

// enforced says whether a delivery was under a plan that should have prevented it. In slow, frames that stay in a
// segment never meet the Appliance: that is no leak, but how slow is.
func (w Interval) enforced(r Record) bool {
	p := w.Placements[r.Epoch]
	return p.Enforces() && (p != firewall.Slow || r.Appliance)
}

// related says whether a helper of the appliance may have known that a frame's flow would come, whatever the rules say.
func (w Interval) related(key Flow, r Record) bool {
	if w.Policy == nil || !w.Placements[r.Epoch].Tracks() {
		return false
	}
	_, is := w.Policy.Relates(key.Tuple())
	return is
}

// allows says whether the policy lets this direction begin a flow, and whether it lets the other one, whose answers
// these are. Of what only the other end may begin, frames that get no answer and never arrive are an attempt that was
// denied, and no loss. Errors about flows are not flows.
func (w Interval) allows(k Flow) (begins, answers bool) {
	if w.Policy == nil || k.IsError() {
		return true, false
	}
	begins = !k.is(frame.ICMPEchoReply, frame.ICMP6EchoReply) && w.Policy.Evaluate(k.Tuple()).Action == firewall.RuleAllow
	answers = !k.is(frame.ICMPEcho, frame.ICMP6Echo) && w.Policy.Evaluate(k.reverse().Tuple()).Action == firewall.RuleAllow
	return begins, answers
}

// IsError says whether a flow is one of ICMP errors, which are about flows.
func (k Flow) IsError() bool {
	switch k.Proto {
	case frame.ProtoICMP:
		return k.ICMPType == frame.ICMPUnreachable || k.ICMPType == frame.ICMPTimeExceeded ||
			k.ICMPType == frame.ICMPSourceQuench || k.ICMPType == frame.ICMPRedirect || k.ICMPType == frame.ICMPParameter
	case frame.ProtoICMPv6:
		return k.ICMPType < frame.ICMP6Informs
	}
	return false
}

// reverse is the other direction of the flow.
func (k Flow) reverse() Flow {
	r := Flow{Src: k.Dst, Dst: k.Src, SrcPort: k.DstPort, DstPort: k.SrcPort, Proto: k.Proto, ICMPType: k.ICMPType}
	for _, pair := range [][2]uint8{{frame.ICMPEcho, frame.ICMPEchoReply}, {frame.ICMP6Echo, frame.ICMP6EchoReply}} {
		switch {
		case k.is(pair[0], pair[0]):
			r.ICMPType = pair[1]
		case k.is(pair[1], pair[1]):
			r.ICMPType = pair[0]
		}
	}
	return r
}

// before puts directions of flows in an order.
func (k Flow) before(o Flow) bool {
	return cmp.Or(k.Src.IP().Compare(o.Src.IP()), k.Dst.IP().Compare(o.Dst.IP()), cmp.Compare(k.Proto, o.Proto),
		cmp.Compare(k.SrcPort, o.SrcPort), cmp.Compare(k.DstPort, o.DstPort), cmp.Compare(k.ICMPType, o.ICMPType)) < 0
}

// is says whether it is of a type of ICMP, or of that of ICMPv6.
func (k Flow) is(icmp, icmp6 uint8) bool {
	return k.Proto == frame.ProtoICMP && k.ICMPType == icmp || k.Proto == frame.ProtoICMPv6 && k.ICMPType == icmp6
}

// Tuple is the first packet of a flow in this direction. An echo reply belongs to a flow that a request began.
func (k Flow) Tuple() firewall.Tuple {
	t := firewall.Tuple{Proto: k.Proto, ICMPType: k.ICMPType}
	switch {
	case k.Proto == frame.ProtoICMP && k.ICMPType == frame.ICMPEchoReply:
		t.ICMPType = frame.ICMPEcho
	case k.Proto == frame.ProtoICMPv6 && k.ICMPType == frame.ICMP6EchoReply:
		t.ICMPType = frame.ICMP6Echo
	}
	if t.ICMPType != 0 {
		k.SrcPort, k.DstPort = 0, 0
	}
	t.Src, t.Dst = netip.AddrPortFrom(k.Src.IP(), k.SrcPort), netip.AddrPortFrom(k.Dst.IP(), k.DstPort)
	return t
}

// gap is the longest time that frames of the flow waited without any delivery of the flow, in ns.
func gap(entered, delivered []Record, arrived []bool, w Interval) (longest int64) {
	last := w.Start // of the deliveries so far
	d := 0
	for i, e := range entered {
		for d < len(delivered) && delivered[d].At < e.At {
			last = delivered[d].At
			d++
		}
		if !arrived[i] && e.At >= w.End-w.Grace {
			continue // still on its way, with nothing to say how long
		}
		until := w.End
		if d < len(delivered) {
			until = delivered[d].At
		}
		// Frames may have waited since before this one; but never longer than since the last delivery.
		longest = max(longest, until-max(last, e.At))
	}
	return longest
}
