package firewall

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"sluice/firewall/classifier"
	"sluice/vnic/frame"
)

// Difference is one way in which two policies decide flows differently, with a flow that shows it.
type Difference struct {
	Witness  Tuple
	From, To frame.PortID // the vNICs that send and receive it; 0 is none of the inventory
	A, B     Decision
	Classes  int // how many classes of flows differ so: all flows of a class meet the same rules in both policies
}

// Comparison is what Diff found.
type Comparison struct {
	Differences []Difference // one for each pair of verdicts and deciding rules, in the order in which they were found
	Helpers     bool         // their helpers differ: in slow other flows are related to connections
	Stopped     bool         // the policies differ in more places than are looked at: there may be more differences
}

// The bounds of the work of one comparison, in steps: a few seconds of it.
const (
	leastDiffSteps = 10_000_000
	diffStepsByte  = 100 // more for each byte of both policies
	diffSteps      = 200_000_000
)

// diffStepsOf is how many steps are taken for two policies.
func diffStepsOf(a, b *Policy) int {
	return min(diffSteps, leastDiffSteps+diffStepsByte*(len(a.Source)+len(b.Source)))
}

// Diff finds the flows whose verdicts (allow, drop or reject) differ between two policies for the same inventory.
// Unless it stopped, it is exact: without a difference, no flow has one. Every end of a flow is considered that a frame
// can have: a vNIC with an address of its own, and for all other addresses every vNIC and none. ICMP over IPv6, and
// ICMPv6 over IPv4, are no flows.
//
// Only flows that a changed rule matches can differ: all other flows meet the same rules in the same order. So the
// changed rules are looked at one by one, and the flows that one matches fall into classes along the boundaries of all
// the rules that overlap it.
func Diff(a, b *Policy) Comparison { return diff(a, b, diffStepsOf(a, b)) }

func diff(a, b *Policy, steps int) Comparison {
	d := &differ{a: a, b: b, left: steps, found: map[outcome]int{}}
	d.applied()
	d.samples()
	for _, r := range d.boxes() {
		d.box(r)
	}
	return Comparison{Differences: d.out, Helpers: !slices.Equal(a.Helpers, b.Helpers), Stopped: d.left < 0}
}

// differ is one comparison.
type differ struct {
	a, b   *Policy
	left   int            // steps
	ports  []frame.PortID // none, and one of each kind of vNIC that rules can tell apart
	likely []frame.Addr   // addresses that people would take for an example
	found  map[outcome]int
	out    []Difference
}

// outcome is what tells one Difference from another.
type outcome struct {
	a, b         RuleAction
	aRule, bRule uint32
	kind         uint8 // where both decide by their default, which says nothing of what it is about: TCP, UDP, ICMP or others
}

func outcomeOf(a, b Decision, t *Tuple) outcome {
	o := outcome{a.Action, b.Action, a.Rule, b.Rule, 0}
	if a.Rule != 0 || b.Rule != 0 {
		return o
	}
	switch t.Proto {
	case frame.ProtoTCP, frame.ProtoUDP, frame.ProtoICMP:
		o.kind = t.Proto
	case frame.ProtoICMPv6:
		o.kind = frame.ProtoICMP
	}
	return o
}

// boxes are the rules outside of which both policies decide the same.
func (d *differ) boxes() []*Rule {
	everything := []*Rule{{match: anything}}
	if d.a.Default != d.b.Default {
		return everything
	}
	for _, g := range d.a.inv.Guests {
		for _, v := range g.VNICs {
			if d.a.excludes(v.Port) != d.b.excludes(v.Port) {
				return everything
			}
		}
	}
	return changed(d.a.Rules, d.b.Rules)
}

// applied finds the vNICs that stand for all: those that the same rules are applied to are alike for who has no address
// of their own.
func (d *differ) applied() {
	known, sets := map[string]bool{}, [][]frame.PortID{}
	for _, p := range []*Policy{d.a, d.b} {
		for i := range p.Rules {
			list := p.Rules[i].match.Ports
			if d.left -= len(list) / 8; list == nil || d.left < 0 {
				continue
			}
			var k []byte
			for _, port := range list {
				k = binary.BigEndian.AppendUint16(k, uint16(port))
			}
			if !known[string(k)] {
				known[string(k)] = true
				sets = append(sets, list)
			}
		}
	}
	d.ports = []frame.PortID{0}
	seen := map[string]bool{}
	kind := func(port frame.PortID) string {
		k := []byte{boolByte(d.a.excludes(port)), boolByte(d.b.excludes(port))}
		for _, s := range sets {
			_, in := slices.BinarySearch(s, port)
			k = append(k, boolByte(in))
		}
		return string(k)
	}
	seen[kind(0)] = true
	for _, g := range d.a.inv.Guests {
		for _, v := range g.VNICs {
			if k := kind(v.Port); !seen[k] {
				seen[k] = true
				d.ports = append(d.ports, v.Port)
			}
		}
	}
}

// samples are addresses for examples: one of each segment, and those for documentation (RFC 5737, RFC 3849).
func (d *differ) samples() {
	for _, s := range d.a.inv.Segments {
		for _, p := range s.Prefixes {
			a := frame.AddrFrom(p.Masked().Addr())
			a[15] |= 200
			d.likely = append(d.likely, a)
		}
	}
	for _, s := range []string{"198.51.100.1", "2001:db8::1"} {
		d.likely = append(d.likely, frame.AddrFrom(netip.MustParseAddr(s)))
	}
}

// box compares the policies within what one rule matches.
func (d *differ) box(r *Rule) {
	var near []*Rule
	for _, p := range []*Policy{d.a, d.b} {
		for i := range p.Rules {
			o := &p.Rules[i]
			if d.left -= r.match.Cost(&o.match); d.left < 0 {
				return
			}
			if o.match.OverlapsAnywhere(&r.match) {
				near = append(near, o)
			}
		}
	}
	src := d.ends(r.match.From, near, func(o *Rule) classifier.AddrSet { return o.match.From })
	dst := d.ends(r.match.To, near, func(o *Rule) classifier.AddrSet { return o.match.To })
	for i := range src {
		for j := range dst {
			if d.left < 0 {
				return
			}
			if src[i].addr.IsIPv4() == dst[j].addr.IsIPv4() {
				d.pair(r, near, &src[i], &dst[j])
			}
		}
	}
}

// pair compares the policies for two ends, service by service.
func (d *differ) pair(r *Rule, near []*Rule, src, dst *endClass) {
	match := src.both(dst)
	d.left -= 1 + min(len(src.rules), len(dst.rules))
	starts := d.serviceStarts(r, near, match)
	packets := samplesOf(append(matching(near, match), r)...)
	from, to, _ := src.apart(dst)
	first, _ := slices.BinarySearch(starts, classifier.ProtoRange(frame.ProtoTCP).Lo) // the best examples are TCP's
	for n := range starts {
		if d.left < 0 {
			return
		}
		i := (first + n) % len(starts)
		if !r.match.Services.Contains(starts[i]) {
			continue
		}
		end := uint32(classifier.LastService + 1)
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		if t, ok := witness(from, to, starts[i], end); ok {
			packets.each(t, func(t Tuple) bool {
				d.compare(src.port, dst.port, t)
				return d.left >= 0
			})
		}
	}
}

// compare asks both policies about one flow.
func (d *differ) compare(from, to frame.PortID, t Tuple) {
	const cost = 20 // in steps: of a decision
	d.left -= cost
	a, b := d.a.along(from, to, t), d.b.along(from, to, t)
	if a.Action == b.Action {
		return
	}
	k := outcomeOf(a, b, &t)
	i, known := d.found[k]
	if !known {
		i = len(d.out)
		d.found[k] = i
		d.out = append(d.out, Difference{})
	}
	out := &d.out[i]
	out.Classes++
	if !known || out.Witness.toItself() && !t.toItself() {
		out.Witness, out.From, out.To, out.A, out.B = t, from, to, a, b
	}
}

// toItself says whether a flow is from an address to itself: possible, but a poor example.
func (t Tuple) toItself() bool { return t.Src.Addr() == t.Dst.Addr() }

// along is Evaluate between two vNICs, whoever has the addresses.
func (p *Policy) along(from, to frame.PortID, t Tuple) Decision {
	if !p.asks(&t) {
		return Decision{Point: Point{from, FromGuest}} // a segment that may begin no flow
	}
	if d := p.EvaluateAt(Point{from, FromGuest}, t); d.Action != RuleAllow {
		return d
	}
	return p.EvaluateAt(Point{to, ToGuest}, t)
}

// serviceStarts cuts the line of services where a rule begins or ends to match, and between the protocols whose flows
// look different.
func (d *differ) serviceStarts(within *Rule, near []*Rule, match []uint32) []uint32 {
	cuts := make([]uint32, 0, 16)
	for _, proto := range []uint8{frame.ProtoICMP, frame.ProtoTCP, frame.ProtoUDP, frame.ProtoICMPv6} {
		r := classifier.ProtoRange(proto)
		cuts = append(cuts, r.Lo, r.Hi+1)
	}
	add := func(s classifier.ServiceSet) {
		if d.left -= len(s); d.left < 0 {
			return
		}
		for _, r := range s {
			cuts = append(cuts, r.Lo, r.Hi+1)
		}
	}
	addAll := func(r *Rule) {
		add(r.match.Services)
		for i := range r.match.Parts {
			add(r.match.Parts[i].Services)
		}
	}
	addAll(within)
	for _, i := range match {
		addAll(near[i])
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	for len(cuts) > 0 && cuts[len(cuts)-1] > classifier.LastService {
		cuts = cuts[:len(cuts)-1]
	}
	return cuts
}

func matching(near []*Rule, match []uint32) (out []*Rule) {
	for _, i := range match {
		if near[i].match.Parts != nil {
			out = append(out, near[i])
		}
	}
	return out
}

// witness is a flow of the services from at to before end; ok is false where there is none between these addresses.
func witness(src, dst frame.Addr, at, end uint32) (t Tuple, ok bool) {
	t = Tuple{Proto: uint8(at >> 16), Src: netip.AddrPortFrom(src.IP(), 0), Dst: netip.AddrPortFrom(dst.IP(), 0)}
	switch t.Proto {
	case frame.ProtoTCP, frame.ProtoUDP:
		if uint16(at) == 0 && at+1 < end {
			at++ // port 0 is nobody's example
		}
		t.Dst = netip.AddrPortFrom(dst.IP(), uint16(at))
	case frame.ProtoICMP, frame.ProtoICMPv6:
		if src.IsIPv4() != (t.Proto == frame.ProtoICMP) {
			return t, false
		}
		t.ICMPType, t.ICMPCode = uint8(at>>8), uint8(at)
	}
	return t, true
}
