package firewall

import (
	"math/bits"
	"slices"

	"sluice/firewall/classifier"
	"sluice/vnic/frame"
)

// overlaps finds, for each rule, the rules before it whose set has something in common with its own. Equal sets are
// kept once. A set is at the places of a segment tree that its ranges fill; those that overlap a range are at the
// places above its beginning, or begin within it.
type overlaps struct {
	sets   classifier.Interned
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

func (o *overlaps) add(s classifier.AddrSet, rule uint32) {
	if o.of == nil {
		o.of = map[uint32]uint32{}
	}
	n := o.sets.Number(s)
	o.of[rule] = n
	if int(n) <= len(o.rules) {
		o.rules[n-1] = append(o.rules[n-1], rule)
		return
	}
	o.rules = append(o.rules, []uint32{rule})
	for _, r := range s {
		o.cuts = append(o.cuts, r.Lo)
		if end := r.Hi.Next(); end != (frame.Addr{}) {
			o.cuts = append(o.cuts, end)
		}
	}
}

func (o *overlaps) build() {
	slices.SortFunc(o.cuts, frame.Addr.Compare)
	o.cuts = slices.Compact(o.cuts)
	size := 1 << bits.Len(uint(max(1, len(o.cuts))-1))
	o.tree, o.weight = make([][]uint32, 2*size), make([]int, 2*size)
	o.begins, o.sums = make([][]uint32, len(o.cuts)), make([]int, len(o.cuts)+1)
	o.stamp, o.costs = make([]uint32, len(o.sets.Sets)), make([]int, len(o.sets.Sets))
	for n, s := range o.sets.Sets {
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
	for n, s := range o.sets.Sets {
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
func (o *overlaps) span(r classifier.AddrRange) (lo, hi int) {
	lo, _ = slices.BinarySearchFunc(o.cuts, r.Lo, frame.Addr.Compare)
	hi = len(o.cuts)
	if end := r.Hi.Next(); end != (frame.Addr{}) {
		hi, _ = slices.BinarySearchFunc(o.cuts, end, frame.Addr.Compare)
	}
	return lo, hi
}

// cost is how many rules each gives at most.
func (o *overlaps) cost(rule uint32) int { return o.costs[o.of[rule]-1] }

// each calls fn for the rules before a rule whose sets overlap with its own, until it says false, or no steps are left.
func (o *overlaps) each(rule uint32, left *int, fn func(uint32) bool) {
	o.query++
	give := func(list []uint32) bool {
		if *left -= 1 + len(list); *left < 0 {
			return false
		}
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
	for _, r := range o.sets.Sets[o.of[rule]-1] {
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

// asAddrs is a set of services as one of addresses, for what treats both alike.
func asAddrs(s classifier.ServiceSet) classifier.AddrSet {
	out := make(classifier.AddrSet, len(s))
	at := func(n uint32) (a frame.Addr) {
		a[13], a[14], a[15] = byte(n>>16), byte(n>>8), byte(n)
		return a
	}
	for i, r := range s {
		out[i] = classifier.AddrRange{Lo: at(r.Lo), Hi: at(r.Hi)}
	}
	return out
}
