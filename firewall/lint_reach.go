package firewall

import (
	"net/netip"
	"slices"

	"sluice/vnic/frame"
)

// before lists the rules before a rule that match something that it matches, in order; some where the work has become too much.
func (l *linter) before(i uint32) (near []uint32) {
	best := &l.index[0]
	for n := range l.index {
		if o := &l.index[n]; o.cost(i) < best.cost(i) {
			best = o
		}
	}
	r := &l.p.Rules[i]
	best.each(i, func(j uint32) bool {
		l.differ.left--
		if r.overlaps(&l.p.Rules[j]) {
			near = append(near, j)
		}
		return l.differ.left >= 0
	})
	slices.Sort(near)
	return near
}

func (r *Rule) overlaps(o *Rule) bool {
	if r.dirs&o.dirs == 0 || r.ports != nil && o.ports != nil && !slices.ContainsFunc(r.ports, func(p frame.PortID) bool { return slices.Contains(o.ports, p) }) {
		return false
	}
	return r.svc.overlaps(o.svc) && r.from.overlaps(o.from) && r.to.overlaps(o.to)
}

// reached says whether some flow that can be meets a rule first, at one of its insertion points. before lists the rules before it that overlap with it.
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
	starts := serviceStarts(r.svc, near, src.both(dst))
	l.differ.left -= len(starts)
	for n, at := range starts {
		end := uint32(lastService + 1)
		if n+1 < len(starts) {
			end = starts[n+1]
		}
		if !r.svc.contains(at) {
			continue
		}
		if t, ok := witness(src.addr, dst.addr, at, end); ok && l.decides(i, flowAt{t, src.port, dst.port}) {
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
	if !f.Src.IsValid() {
		return false
	}
	src, dst := frame.AddrFrom(f.Src.Addr()), frame.AddrFrom(f.Dst.Addr())
	service := serviceNumber(f.Proto, f.Dst.Port(), f.ICMPType, f.ICMPCode)
	for _, at := range []Point{{f.from, FromGuest}, {f.to, ToGuest}} {
		if l.p.classes.find(at, &src, &dst, service) == i {
			return true
		}
	}
	return false
}

// corner is a flow that two rules match; the zero flow where there is none.
func (l *linter) corner(a, b *Rule) flowAt {
	svc := a.svc.both(b.svc)
	from, to := a.from.both(b.from), a.to.both(b.to)
	for _, family := range []addrSet{{allIPv4}, allIPv6} {
		dsts := to.both(family)
		for _, src := range from.both(family) {
			for _, dst := range dsts {
				for _, s := range svc {
					if f, ok := l.flow(src, dst, s); ok {
						f.from, f.to = l.port(a, b, f.Src.Addr()), l.port(a, b, f.Dst.Addr())
						return f
					}
				}
			}
		}
	}
	return flowAt{}
}

// flow takes an example out of ranges of one family.
func (l *linter) flow(src, dst addrRange, s svcRange) (f flowAt, ok bool) {
	from, _ := l.differ.example(src)
	to, _ := l.differ.example(dst)
	at := s.lo
	if web := serviceNumber(frame.ProtoTCP, 80, 0, 0); s.lo <= web && web <= s.hi {
		at = web
	}
	for _, at := range []uint32{at, s.lo, max(s.lo, protoRange(uint8(s.lo>>16)).hi+1)} {
		if at > s.hi {
			continue
		}
		if f.Tuple, ok = witness(from, to, at, s.hi+1); ok {
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

// both is what two sets have in common.
func (s addrSet) both(t addrSet) (out addrSet) {
	for i, j := 0, 0; i < len(s) && j < len(t); {
		r := addrRange{s[i].lo, s[i].hi}
		if compareAddr(t[j].lo, r.lo) > 0 {
			r.lo = t[j].lo
		}
		if compareAddr(t[j].hi, r.hi) < 0 {
			r.hi = t[j].hi
		}
		if compareAddr(r.lo, r.hi) <= 0 {
			out = append(out, r)
		}
		if compareAddr(s[i].hi, t[j].hi) < 0 {
			i++
		} else {
			j++
		}
	}
	return out
}

func (s svcSet) both(t svcSet) (out svcSet) {
	for i, j := 0, 0; i < len(s) && j < len(t); {
		if r := (svcRange{max(s[i].lo, t[j].lo), min(s[i].hi, t[j].hi)}); r.lo <= r.hi {
			out = append(out, r)
		}
		if s[i].hi < t[j].hi {
			i++
		} else {
			j++
		}
	}
	return out
}

// overlaps finds, for each rule, the rules before it whose set has something in common with its own. Equal sets are kept once. A set is at the
// places of a segment tree that its ranges fill; those that overlap a range are at the places above its beginning, or begin within it.
type overlaps struct {
	sets   interned
	of     map[uint32]uint32 // rule: its set, from 1
	rules  [][]uint32        // by set - 1, in order
	cuts   []frame.Addr      // where ranges begin, or have ended
	tree   [][]uint32        // sets; the places below n are 2n and 2n+1
	weight []int             // of the rules of the sets at a place
	begins [][]uint32        // by cut: the sets that have a range that begins there
	sums   []int             // of the rules of these, before each cut
	costs  []int             // by set: how many rules each gives
	stamp  []uint32          // by set: the last query that gave it
	query  uint32
}

func (o *overlaps) add(s addrSet, rule uint32) {
	if o.of == nil {
		o.of, o.sets = map[uint32]uint32{}, newInterned()
	}
	n := o.sets.number(s, rule)
	o.of[rule] = n
	if int(n) > len(o.rules) {
		o.rules = append(o.rules, nil)
	}
	o.rules[n-1] = append(o.rules[n-1], rule)
	for _, r := range s {
		o.cuts = append(o.cuts, r.lo)
		if end := after(r.hi); end != (frame.Addr{}) {
			o.cuts = append(o.cuts, end)
		}
	}
}

func (o *overlaps) build() {
	slices.SortFunc(o.cuts, compareAddr)
	o.cuts = slices.Compact(o.cuts)
	size := powerOfTwo(max(1, len(o.cuts)))
	o.tree, o.weight = make([][]uint32, 2*size), make([]int, 2*size)
	o.begins, o.sums = make([][]uint32, len(o.cuts)), make([]int, len(o.cuts)+1)
	o.stamp, o.costs = make([]uint32, len(o.sets.sets)), make([]int, len(o.sets.sets))
	for n, s := range o.sets.sets {
		for _, r := range s {
			lo, hi := o.span(r)
			o.begins[lo] = append(o.begins[lo], uint32(n))
			for a, b := lo+size, hi+size; a < b; a, b = a/2, b/2 {
				if a&1 == 1 {
					o.put(a, uint32(n))
					a++
				}
				if b&1 == 1 {
					b--
					o.put(b, uint32(n))
				}
			}
		}
	}
	for i, list := range o.begins {
		o.sums[i+1] = o.sums[i]
		for _, n := range list {
			o.sums[i+1] += len(o.rules[n])
		}
	}
	for n, s := range o.sets.sets {
		for _, r := range s {
			lo, hi := o.span(r)
			o.costs[n] += o.sums[hi] - o.sums[lo+1]
			for a := lo + size; a > 0; a /= 2 {
				o.costs[n] += o.weight[a]
			}
		}
	}
}

func (o *overlaps) put(at int, set uint32) {
	o.tree[at] = append(o.tree[at], set)
	o.weight[at] += len(o.rules[set])
}

// span is a range as cuts, from one up to before another.
func (o *overlaps) span(r addrRange) (lo, hi int) {
	lo, _ = slices.BinarySearchFunc(o.cuts, r.lo, compareAddr)
	hi = len(o.cuts)
	if end := after(r.hi); end != (frame.Addr{}) {
		hi, _ = slices.BinarySearchFunc(o.cuts, end, compareAddr)
	}
	return lo, hi
}

// cost is how many rules each gives at most.
func (o *overlaps) cost(rule uint32) int { return o.costs[o.of[rule]-1] }

// each calls fn for the rules before a rule whose sets overlap with its own, until it says false.
func (o *overlaps) each(rule uint32, fn func(uint32) bool) {
	o.query++
	give := func(list []uint32) bool {
		for _, n := range list {
			if o.stamp[n] == o.query {
				continue
			}
			o.stamp[n] = o.query
			for _, j := range o.rules[n] {
				if j >= rule {
					break
				}
				if !fn(j) {
					return false
				}
			}
		}
		return true
	}
	for _, r := range o.sets.sets[o.of[rule]-1] {
		lo, hi := o.span(r)
		for at := lo + len(o.tree)/2; at > 0; at /= 2 {
			if !give(o.tree[at]) {
				return
			}
		}
		for at := lo + 1; at < hi; at++ {
			if !give(o.begins[at]) {
				return
			}
		}
	}
}

// addrs is a set of services as one of addresses, for what treats both alike.
func (s svcSet) addrs() addrSet {
	out := make(addrSet, len(s))
	at := func(n uint32) (a frame.Addr) {
		a[13], a[14], a[15] = byte(n>>16), byte(n>>8), byte(n)
		return a
	}
	for i, r := range s {
		out[i] = addrRange{at(r.lo), at(r.hi)}
	}
	return out
}
