package firewall

import (
	"net/netip"
	"slices"

	"sluice/firewall/classifier"
	"sluice/vnic/frame"
)

// before lists the rules before a rule that match something that it matches, in order; some where the work has become
// too much.
func (l *linter) before(i uint32) (near []uint32) {
	best := &l.index[0]
	for n := range l.index {
		if o := &l.index[n]; o.cost(i) < best.cost(i) {
			best = o
		}
	}
	r := &l.p.Rules[i]
	best.each(i, &l.differ.left, func(j uint32) bool {
		o := &l.p.Rules[j]
		if l.differ.left -= r.match.Cost(&o.match); l.differ.left < 0 {
			return false
		}
		if r.match.Overlaps(&o.match) {
			near = append(near, j)
		}
		return true
	})
	slices.Sort(near)
	return near
}

// reached says whether some flow that can be meets a rule first, at one of its insertion points. before lists the rules
// before it that overlap with it.
func (l *linter) reached(i uint32, before []uint32) bool {
	r := &l.p.Rules[i]
	if len(before) == 0 && r.match.Ports == nil || l.decides(i, l.corner(r, r)) {
		return true
	}
	near := make([]*Rule, len(before))
	for n, j := range before {
		near[n] = &l.p.Rules[j]
	}
	d := l.differ
	src := d.ends(r.match.From, near, func(o *Rule) classifier.AddrSet { return o.match.From })
	dst := d.ends(r.match.To, near, func(o *Rule) classifier.AddrSet { return o.match.To })
	for s := range src {
		for t := range dst {
			if d.left < 0 {
				return false
			}
			if src[s].addr.IsIPv4() == dst[t].addr.IsIPv4() && l.reachedBetween(i, near, &src[s], &dst[t]) {
				return true
			}
		}
	}
	return false
}

func (l *linter) reachedBetween(i uint32, near []*Rule, src, dst *endClass) bool {
	r := &l.p.Rules[i]
	from, to, ok := src.apart(dst)
	if !ok {
		return false // what an address sends to itself meets no switch
	}
	match := src.both(dst)
	starts := l.differ.serviceStarts(r, near, match)
	packets := samplesOf(append(matching(near, match), r)...)
	l.differ.left -= len(starts) * packets.count()
	for n, at := range starts {
		end := uint32(classifier.LastService + 1)
		if n+1 < len(starts) {
			end = starts[n+1]
		}
		if !r.match.Services.Contains(at) {
			continue
		}
		t, ok := witness(from, to, at, end)
		if ok && !packets.each(t, func(t Tuple) bool { return !l.decides(i, flowAt{t, src.port, dst.port}) }) {
			return true
		}
	}
	return false
}

// flowAt is a flow between two vNICs.
type flowAt struct {
	Tuple
	from, to frame.PortID
}

// decides says whether a rule is the first that matches a flow, at one of its points.
func (l *linter) decides(i uint32, f flowAt) bool {
	if !f.Src.IsValid() || !l.p.asks(&f.Tuple) {
		return false
	}
	first := f.first()
	for _, at := range []Point{{f.from, FromGuest}, {f.to, ToGuest}} {
		if l.p.classes.Find(at.Port, uint8(at.Dir), first.packet()) == i {
			return true
		}
	}
	return false
}

// corner is a flow that two rules match; the zero flow where there is none.
func (l *linter) corner(a, b *Rule) flowAt { return l.cornerWithin(a, b, classifier.AnyAddr) }

// cornerWithin is one between two addresses of a set.
func (l *linter) cornerWithin(a, b *Rule, within classifier.AddrSet) flowAt {
	if l.differ.left -= a.match.Cost(&b.match); l.differ.left < 0 {
		return flowAt{}
	}
	from, to := a.match.From.Both(b.match.From).Both(within), a.match.To.Both(b.match.To).Both(within)
	for _, p := range a.match.AllParts() {
		for _, q := range b.match.AllParts() {
			both, ok := p.Both(&q.Condition)
			svc := p.Services.Both(q.Services)
			if !ok || len(svc) == 0 {
				continue
			}
			if f := l.between(from, to, svc, &both); f.Src.IsValid() {
				f.from, f.to = l.port(a, b, f.Src.Addr()), l.port(a, b, f.Dst.Addr())
				return f
			}
		}
	}
	return flowAt{}
}

// between is a flow between two sets of addresses; the zero flow where there is none.
func (l *linter) between(from, to classifier.AddrSet, svc classifier.ServiceSet, c *classifier.Condition) flowAt {
	for _, family := range []classifier.AddrSet{{classifier.AllIPv4}, classifier.AllIPv6} {
		// Whether a service has a flow is a question of the family; a second address is for ends that would be one.
		dsts := few(to, family)
		for _, src := range few(from, family) {
			for _, dst := range dsts {
				for _, s := range svc {
					if f, ok := l.flow(src, dst, s, c); ok {
						return f
					}
				}
			}
		}
	}
	return flowAt{}
}

// few is the first two ranges that a set has in common with each of some ranges.
func few(s, of classifier.AddrSet) (out classifier.AddrSet) {
	for _, f := range of {
		i, _ := slices.BinarySearchFunc(s, f.Lo, func(r classifier.AddrRange, a frame.Addr) int { return r.Hi.Compare(a) })
		out = append(out, s[i:min(i+2, len(s))].Both(classifier.AddrSet{f})...)
	}
	return out
}

// flow takes an example out of ranges of one family. Its ends are two addresses: what one sends to itself meets no
// switch.
func (l *linter) flow(src, dst classifier.AddrRange, s classifier.ServiceRange, c *classifier.Condition) (f flowAt, ok bool) {
	from, _ := l.differ.example(src)
	to, _ := l.differ.example(dst)
	if from == to {
		switch {
		case dst.Lo != dst.Hi:
			to = anotherIn(dst, to)
		case src.Lo != src.Hi:
			from = anotherIn(src, from)
		default:
			return f, false
		}
	}
	at := s.Lo
	if web := classifier.ServiceNumber(frame.ProtoTCP, 80, 0, 0); s.Lo <= web && web <= s.Hi {
		at = web
	}
	for _, at := range []uint32{at, s.Lo, max(s.Lo, classifier.ProtoRange(uint8(s.Lo>>16)).Hi+1)} {
		if at > s.Hi {
			continue
		}
		if f.Tuple, ok = witness(from, to, at, s.Hi+1); !ok {
			continue
		}
		if f.Tuple, ok = l.p.example(c, f.Tuple); ok {
			return f, true
		}
	}
	return f, false
}

// port is a vNIC at which an address can be, and that both rules are applied to where that is possible.
func (l *linter) port(a, b *Rule, addr netip.Addr) frame.PortID {
	if owner := l.p.PortOf(addr); owner != 0 {
		return owner
	}
	for _, r := range []*Rule{a, b} {
		for _, p := range r.match.Ports {
			if a.match.Ports == nil || b.match.Ports == nil || slices.Contains(a.match.Ports, p) && slices.Contains(b.match.Ports, p) {
				return p
			}
		}
	}
	return 0
}
