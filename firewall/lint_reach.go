package firewall

import (
	"net/netip"
	"slices"

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
		if l.differ.left -= r.size(o); l.differ.left < 0 {
			return false
		}
		if r.overlaps(o) {
			near = append(near, j)
		}
		return true
	})
	slices.Sort(near)
	return near
}

func (r *Rule) overlaps(o *Rule) bool {
	if r.dirs&o.dirs == 0 || r.ports != nil && o.ports != nil && !slices.ContainsFunc(r.ports, func(p frame.PortID) bool {
		_, in := slices.BinarySearch(o.ports, p)
		return in
	}) {
		return false
	}
	return r.svc.overlaps(o.svc) && r.from.overlaps(o.from) && r.to.overlaps(o.to)
}

// reached says whether some flow that can be meets a rule first, at one of its insertion points. before lists the rules
// before it that overlap with it.
func (l *linter) reached(i uint32, before []uint32) bool {
	r := &l.p.Rules[i]
	if len(before) == 0 && r.ports == nil || l.decides(i, l.corner(r, r)) {
		return true
	}
	near := make([]*Rule, len(before))
	for n, j := range before {
		near[n] = &l.p.Rules[j]
	}
	d := l.differ
	src := d.ends(r.from, near, func(o *Rule) addrSet { return o.from })
	dst := d.ends(r.to, near, func(o *Rule) addrSet { return o.to })
	for s := range src {
		for t := range dst {
			if d.left < 0 {
				return false
			}
			if isIPv4(&src[s].addr) == isIPv4(&dst[t].addr) && l.reachedBetween(i, near, &src[s], &dst[t]) {
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
		end := uint32(lastService + 1)
		if n+1 < len(starts) {
			end = starts[n+1]
		}
		if !r.svc.contains(at) {
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
	src, dst := frame.AddrFrom(f.Src.Addr()), frame.AddrFrom(f.Dst.Addr())
	service := serviceNumber(f.Proto, f.Dst.Port(), f.ICMPType, f.ICMPCode)
	for _, at := range []Point{{f.from, FromGuest}, {f.to, ToGuest}} {
		if l.p.classes.find(at, &src, &dst, service, moreOf(f.Src.Port(), f.flags())) == i {
			return true
		}
	}
	return false
}

// corner is a flow that two rules match; the zero flow where there is none.
func (l *linter) corner(a, b *Rule) flowAt { return l.cornerWithin(a, b, anyAddr) }

// cornerWithin is one between two addresses of a set.
func (l *linter) cornerWithin(a, b *Rule, within addrSet) flowAt {
	if l.differ.left -= a.size(b); l.differ.left < 0 {
		return flowAt{}
	}
	from, to := a.from.both(b.from).both(within), a.to.both(b.to).both(within)
	for _, p := range a.all() {
		for _, q := range b.all() {
			both, ok := p.both(&q.condition)
			svc := p.svc.both(q.svc)
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
func (l *linter) between(from, to addrSet, svc svcSet, c *condition) flowAt {
	for _, family := range []addrSet{{allIPv4}, allIPv6} {
		// Whether a service has a flow is a question of the family; a second address is for ends that would be one.
		dsts := to.few(family)
		for _, src := range from.few(family) {
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

// flow takes an example out of ranges of one family. Its ends are two addresses: what one sends to itself meets no
// switch.
func (l *linter) flow(src, dst addrRange, s svcRange, c *condition) (f flowAt, ok bool) {
	from, _ := l.differ.example(src)
	to, _ := l.differ.example(dst)
	if from == to {
		switch {
		case dst.lo != dst.hi:
			to = dst.other(to)
		case src.lo != src.hi:
			from = src.other(from)
		default:
			return f, false
		}
	}
	at := s.lo
	if web := serviceNumber(frame.ProtoTCP, 80, 0, 0); s.lo <= web && web <= s.hi {
		at = web
	}
	for _, at := range []uint32{at, s.lo, max(s.lo, protoRange(uint8(s.lo>>16)).hi+1)} {
		if at > s.hi {
			continue
		}
		if f.Tuple, ok = witness(from, to, at, s.hi+1); !ok {
			continue
		}
		if f.Tuple, ok = c.example(l.p, f.Tuple); ok {
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
		for _, p := range r.ports {
			if a.ports == nil || b.ports == nil || slices.Contains(a.ports, p) && slices.Contains(b.ports, p) {
				return p
			}
		}
	}
	return 0
}
