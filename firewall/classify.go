package firewall

import (
	"encoding/binary"
	"slices"
	"unsafe"

	"sluice/vnic/frame"
)

// classifier finds the first rule that matches, at a cost that does not grow with the number of rules. Rules are kept under what they
// say, not under what they match: each distinct set of sources, of destinations and of insertion points (a scope) has a number. An address
// is in few sets, whatever the policy's length; a trie gives those. The rules of one (scope, source set, destination set) are a cell:
// a sorted list of service ranges, already decided by order. So groups are never multiplied out, and a lookup is two walks of a trie,
// a few probes of one hash table, and a binary search.
//
// All of it is slices of numbers, and independent of where it lies in memory.
type classifier struct {
	src, dst  trie
	srcLists  lists
	dstLists  lists
	scopes    lists
	points    []uint32 // by port*2 + direction: an index in scopes; the first two are for ports without a scope of their own
	cells     []cell   // open addressing; its length is a power of two
	ranges    []uint32 // where each range of services begins
	decisions []uint32 // the rule that decides it, or noRule
}

// noRule is greater than every rule's index, so that the lowest wins.
const noRule = 1<<32 - 1

// lists holds, for each class, the sets that its members are in, the most urgent first.
type lists struct {
	start []uint32 // by class; one more than there are classes
	items []listItem
	masks []uint64 // by class: a bit for each hashed item
}

// listItem is one set of a class.
type listItem struct {
	set   uint32
	first uint32 // the lowest rule that uses the set
	mask  uint64 // a bit for each hashed set on the other side: sources know their destinations
}

// cell is the rules of one (scope, source set, destination set).
type cell struct {
	scope, src, dst uint32 // numbers from 1; scope 0 is an empty cell
	first           uint32 // the lowest rule in it
	start, end      uint32 // in ranges
}

func cellHash(scope, src, dst uint32) uint32 {
	h := uint64(scope)*0x9e3779b97f4a7c15 ^ uint64(src)<<32 ^ uint64(dst)
	h *= 0xd6e8feb86659fd93
	return uint32(h >> 32)
}

func maskBit(set uint32) uint64 { return 1 << (set * 0x9e3779b1 >> 26) }

// find gives the index of the first rule that matches at a point, or noRule.
func (c *classifier) find(pt Point, src, dst *frame.Addr, service uint32) uint32 {
	srcClass, dstClass := c.src.lookup(src), c.dst.lookup(dst)
	sources := c.srcLists.items[c.srcLists.start[srcClass]:c.srcLists.start[srcClass+1]]
	dests := c.dstLists.items[c.dstLists.start[dstClass]:c.dstLists.start[dstClass+1]]
	destMask := c.dstLists.masks[dstClass]
	best := uint32(noRule)
	point := c.point(pt)
	for _, scope := range c.scopes.items[c.scopes.start[point]:c.scopes.start[point+1]] {
		if scope.first >= best {
			break
		}
		for i := range sources {
			s := &sources[i]
			if s.first >= best {
				break
			}
			if s.mask&destMask == 0 {
				continue
			}
			for j := range dests {
				d := &dests[j]
				if d.first >= best {
					break
				}
				if s.mask&d.mask != 0 {
					best = min(best, c.ask(scope.set, s.set, d.set, service, best))
				}
			}
		}
	}
	return best
}

func (c *classifier) point(pt Point) uint32 {
	if i := int(pt.Port)*2 + int(pt.Dir); i < len(c.points) {
		return c.points[i]
	}
	return c.points[pt.Dir]
}

// ask gives the first rule of one cell, unless it cannot be better than best.
func (c *classifier) ask(scope, src, dst, service, best uint32) uint32 {
	for h := cellHash(scope, src, dst); ; h++ {
		e := &c.cells[h&uint32(len(c.cells)-1)]
		if e.scope == 0 {
			return noRule
		}
		if e.scope != scope || e.src != src || e.dst != dst {
			continue
		}
		if e.first >= best {
			return noRule
		}
		lo, hi := e.start, e.end // ranges[lo] is 0, so it is never behind
		for hi-lo > 1 {
			if mid := (lo + hi) / 2; c.ranges[mid] <= service {
				lo = mid
			} else {
				hi = mid
			}
		}
		return c.decisions[lo]
	}
}

// builder makes a classifier.
type builder struct {
	c        *classifier
	src, dst interned
	scopes   map[string]uint32
	scopeOf  []scope
	cells    map[[3]uint32][]uint32 // rules in order
	order    [][3]uint32            // the cells, in the order of their first rule: the same policy, the same program
}

type scope struct {
	dirs  uint8
	ports []frame.PortID
	first uint32
}

// interned numbers equal address sets once, from 1.
type interned struct {
	byPointer map[*addrRange]uint32
	byContent map[string]uint32
	sets      []addrSet
	first     []uint32 // the lowest rule that uses the set
	masks     []uint64 // by set: the hashed sets on the other side
}

func newInterned() interned {
	return interned{byPointer: map[*addrRange]uint32{}, byContent: map[string]uint32{}}
}

func (in *interned) number(s addrSet, rule uint32) uint32 {
	at := unsafe.SliceData(s) // rules that name one group share one slice
	if n, ok := in.byPointer[at]; ok && len(in.sets[n-1]) == len(s) {
		return n
	}
	k := s.key()
	n, ok := in.byContent[k]
	if !ok {
		in.sets, in.first, in.masks = append(in.sets, s), append(in.first, rule), append(in.masks, 0)
		n = uint32(len(in.sets))
		in.byContent[k] = n
	}
	if at != nil {
		in.byPointer[at] = n
	}
	return n
}

// newClassifier builds the classifier of a policy's rules.
func newClassifier(rules []Rule) *classifier {
	b := &builder{
		c: &classifier{}, src: newInterned(), dst: newInterned(),
		scopes: map[string]uint32{}, cells: make(map[[3]uint32][]uint32, len(rules)),
	}
	for i := range rules {
		b.add(&rules[i], uint32(i))
	}
	b.c.src, b.c.srcLists = classes(&b.src)
	b.c.dst, b.c.dstLists = classes(&b.dst)
	b.buildScopes()
	b.buildCells(rules)
	return b.c
}

func (b *builder) add(r *Rule, i uint32) {
	if len(r.from) == 0 || len(r.to) == 0 || len(r.svc) == 0 || r.ports != nil && len(r.ports) == 0 {
		return // an empty group matches nothing
	}
	k := [3]uint32{b.scope(r, i), b.src.number(r.from, i), b.dst.number(r.to, i)}
	b.src.masks[k[1]-1] |= maskBit(k[2])
	b.dst.masks[k[2]-1] |= maskBit(k[2])
	if b.cells[k] == nil {
		b.order = append(b.order, k)
	}
	b.cells[k] = append(b.cells[k], i)
}

func (b *builder) scope(r *Rule, i uint32) uint32 {
	k := []byte{r.dirs, 0}
	if r.ports != nil {
		k[1] = 1
	}
	for _, p := range r.ports {
		k = binary.BigEndian.AppendUint16(k, uint16(p))
	}
	n, ok := b.scopes[string(k)]
	if !ok {
		b.scopeOf = append(b.scopeOf, scope{r.dirs, r.ports, i})
		n = uint32(len(b.scopeOf))
		b.scopes[string(k)] = n
	}
	return n
}

// classes divides all addresses into classes whose members are in the same sets.
func classes(in *interned) (trie, lists) {
	type event struct {
		at  frame.Addr
		set uint32
		end bool
	}
	var events []event
	for i, s := range in.sets {
		for _, r := range s {
			events = append(events, event{r.lo, uint32(i), false})
			if next := after(r.hi); next != (frame.Addr{}) {
				events = append(events, event{next, uint32(i), true})
			}
		}
	}
	slices.SortFunc(events, func(a, b event) int { return compareAddr(a.at, b.at) })
	n := numbering{in: in, seen: map[string]uint32{}}
	n.lists.start = []uint32{0}
	var active []uint32
	bounds := []boundary{}
	if len(events) == 0 || events[0].at != (frame.Addr{}) {
		bounds = append(bounds, boundary{class: n.class(nil)})
	}
	for i := 0; i < len(events); {
		at := events[i].at
		for ; i < len(events) && events[i].at == at; i++ {
			j, _ := slices.BinarySearch(active, events[i].set)
			if events[i].end {
				active = slices.Delete(active, j, j+1)
			} else {
				active = slices.Insert(active, j, events[i].set)
			}
		}
		bounds = append(bounds, boundary{at, n.class(active)})
	}
	return newTrie(bounds), n.lists
}

// numbering gives equal lists of sets one number.
type numbering struct {
	in    *interned
	seen  map[string]uint32
	lists lists
	key   []byte
}

// class numbers a list of sets. Sets are numbered in the order of their first rule, so the list is sorted by urgency.
func (n *numbering) class(sets []uint32) uint32 {
	n.key = n.key[:0]
	for _, s := range sets {
		n.key = binary.BigEndian.AppendUint32(n.key, s)
	}
	if c, ok := n.seen[string(n.key)]; ok {
		return c
	}
	c := uint32(len(n.lists.masks))
	n.seen[string(n.key)] = c
	var all uint64
	for _, s := range sets {
		n.lists.items = append(n.lists.items, listItem{s + 1, n.in.first[s], n.in.masks[s]})
		all |= n.in.masks[s]
	}
	n.lists.start = append(n.lists.start, uint32(len(n.lists.items)))
	n.lists.masks = append(n.lists.masks, all)
	return c
}

// buildScopes lists the scopes of each insertion point.
func (b *builder) buildScopes() {
	last := frame.PortID(0)
	for _, s := range b.scopeOf {
		for _, p := range s.ports {
			last = max(last, p)
		}
	}
	l := &b.c.scopes
	l.start = []uint32{0}
	for port := range last + 1 {
		for _, dir := range []Dir{FromGuest, ToGuest} {
			for i, s := range b.scopeOf {
				if s.dirs&(1<<dir) != 0 && (s.ports == nil || slices.Contains(s.ports, port)) {
					l.items = append(l.items, listItem{set: uint32(i + 1), first: s.first})
				}
			}
			b.c.points = append(b.c.points, uint32(len(l.start)-1))
			l.start = append(l.start, uint32(len(l.items)))
		}
	}
}

func (b *builder) buildCells(rules []Rule) {
	size := 2
	for size < 2*len(b.order)+1 {
		size *= 2
	}
	b.c.cells = make([]cell, size)
	for _, k := range b.order {
		list := b.cells[k]
		e := cell{scope: k[0], src: k[1], dst: k[2], first: list[0], start: uint32(len(b.c.ranges))}
		b.paint(rules, list)
		e.end = uint32(len(b.c.ranges))
		h := cellHash(k[0], k[1], k[2])
		for b.c.cells[h&uint32(size-1)].scope != 0 {
			h++
		}
		b.c.cells[h&uint32(size-1)] = e
	}
}

// paint decides the whole line of services for the rules of one cell: each paints what no earlier one has painted.
func (b *builder) paint(rules []Rule, list []uint32) {
	cuts := []uint32{0}
	for _, i := range list {
		for _, r := range rules[i].svc {
			cuts = append(cuts, r.lo, r.hi+1)
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	painted := make([]uint32, len(cuts))
	next := make([]int, len(cuts)+1) // the next piece that is not painted
	for i := range painted {
		painted[i], next[i] = noRule, i
	}
	next[len(cuts)] = len(cuts)
	for _, rule := range list {
		for _, r := range rules[rule].svc {
			at, _ := slices.BinarySearch(cuts, r.lo)
			end, _ := slices.BinarySearch(cuts, r.hi+1)
			for at = unpainted(next, at); at < end; at = unpainted(next, at) {
				painted[at], next[at] = rule, at+1
			}
		}
	}
	for i := range cuts {
		if cuts[i] <= lastService && (i == 0 || painted[i] != painted[i-1]) {
			b.c.ranges, b.c.decisions = append(b.c.ranges, cuts[i]), append(b.c.decisions, painted[i])
		}
	}
}

// unpainted follows next from at, and shortens the way for who comes later.
func unpainted(next []int, at int) int {
	for next[at] != at {
		next[at] = next[next[at]]
		at = next[at]
	}
	return at
}
