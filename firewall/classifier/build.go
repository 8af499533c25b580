package classifier

import (
	"cmp"
	"encoding/binary"
	"slices"

	"sluice/firewall/flat"
	"sluice/vnic/frame"
)

// builder makes a classifier.
type builder struct {
	c        *Classifier
	src, dst endSets
	scopes   map[string]uint32
	scopeOf  []scope
	rules    []*Match
	extra    []rulePart             // entries from len(rules) on: the parts of rules that have conditions
	conds    []Condition            // by number, from 1
	cells    map[[3]uint32][]uint32 // entries, in the rules' order: a rule's index, or one in extra
	order    [][3]uint32            // the cells, in the order of their first rule: the same policy, the same program
	few      uint32                 // see fewCells
	many     uint32                 // see manyRanges
}

// rulePart is a part of a rule.
type rulePart struct {
	rule uint32
	svc  ServiceSet
}

// entry gives the rule that an entry is of, and its services.
func (b *builder) entry(e uint32) (uint32, ServiceSet) {
	if int(e) < len(b.rules) {
		return e, b.rules[e].Services
	}
	p := &b.extra[int(e)-len(b.rules)]
	return p.rule, p.svc
}

type scope struct {
	dirs  uint8
	ports []frame.PortID
	cond  uint32
}

// endSets are the different sets of sources, or of destinations.
type endSets struct {
	Interned
	first []uint32 // the lowest rule that uses the set
	count []uint32 // of its cells
}

func (e *endSets) number(s AddrSet, rule uint32) uint32 {
	n := e.Number(s)
	if int(n) > len(e.first) {
		e.first, e.count = append(e.first, rule), append(e.count, 0)
	}
	return n
}

// build makes the arrays of a classifier.
func build(rules []*Match, few, many uint32) Classifier {
	b := &builder{
		c: &Classifier{}, few: few, many: many,
		scopes: map[string]uint32{}, rules: rules, cells: make(map[[3]uint32][]uint32, len(rules)),
	}
	for i, m := range rules {
		b.add(m, uint32(i))
	}
	b.buildScopes()
	b.buildCells()
	b.c.conditions = newConditions(b.conds)
	return *b.c
}

func (b *builder) add(m *Match, i uint32) {
	if m.IsEmpty() {
		return
	}
	if m.Parts == nil {
		b.put(m, i, i, 0)
		return
	}
	for _, p := range m.Parts {
		b.extra = append(b.extra, rulePart{i, p.Services})
		b.put(m, i, uint32(len(b.rules)+len(b.extra)-1), b.condition(&p.Condition))
	}
}

// condition numbers a condition; 0 is none.
func (b *builder) condition(c *Condition) uint32 {
	if c.IsNone() {
		return 0
	}
	k := c.Key()
	i := slices.IndexFunc(b.conds, func(o Condition) bool { return o.Key() == k })
	if i < 0 {
		i = len(b.conds)
		b.conds = append(b.conds, *c)
	}
	return uint32(i + 1)
}

// put puts an entry of rule i into its cell.
func (b *builder) put(m *Match, i, entry, cond uint32) {
	k := [3]uint32{b.scope(m, cond), b.src.number(m.From, i), b.dst.number(m.To, i)}
	if b.cells[k] == nil {
		b.order = append(b.order, k)
		b.src.count[k[1]-1]++
		b.dst.count[k[2]-1]++
	}
	b.cells[k] = append(b.cells[k], entry)
}

// scope numbers where a rule is asked, and under which condition.
func (b *builder) scope(m *Match, cond uint32) uint32 {
	k := []byte{m.Dirs, 0, byte(cond)}
	if m.Ports != nil {
		k[1] = 1
	}
	for _, p := range m.Ports {
		k = binary.BigEndian.AppendUint16(k, uint16(p))
	}
	n, ok := b.scopes[string(k)]
	if !ok {
		b.scopeOf = append(b.scopeOf, scope{m.Dirs, m.Ports, cond})
		n = uint32(len(b.scopeOf)) | cond<<scopeBits
		b.scopes[string(k)] = n
	}
	return n
}

// buildScopes lists the scopes of each insertion point.
func (b *builder) buildScopes() {
	last := frame.PortID(0)
	for _, s := range b.scopeOf {
		for _, p := range s.ports {
			last = max(last, p)
		}
	}
	lists := make([][]uint32, 2*(int(last)+1))
	for i, s := range b.scopeOf {
		put := func(port int) {
			for dir := range 2 {
				if s.dirs&(1<<dir) != 0 {
					lists[2*port+dir] = append(lists[2*port+dir], uint32(i+1)|s.cond<<scopeBits)
				}
			}
		}
		for _, port := range s.ports {
			put(int(port))
		}
		for port := 0; s.ports == nil && port <= int(last); port++ {
			put(port)
		}
	}
	for _, list := range lists {
		l := flat.Part{From: uint32(len(b.c.scopeSets))}
		b.c.scopeSets = append(b.c.scopeSets, list...)
		l.To = uint32(len(b.c.scopeSets))
		b.c.points = append(b.c.points, uint32(len(b.c.scopes)))
		b.c.scopes = append(b.c.scopes, l)
	}
}

// buildCells decides every cell, gives each to a set that has few, or to the table, and builds both sides.
func (b *builder) buildCells() {
	src, dst := newSetInfos(&b.src), newSetInfos(&b.dst)
	var table []tableCell
	for _, k := range b.order {
		l := b.decided(k)
		s, d := &src[k[1]-1], &dst[k[2]-1]
		switch {
		case b.src.count[s.set-1] <= b.few:
			l.other = d.set
			s.cells = append(s.cells, l)
			s.mask |= maskBit(d.set)
		case b.dst.count[d.set-1] <= b.few:
			l.other = s.set
			d.cells = append(d.cells, l)
			d.mask |= maskBit(s.set)
		default:
			l.other = d.set
			table = append(table, tableCell{s.set, l})
			s.mask |= maskBit(d.set)
			d.mask |= maskBit(s.set)
			s.asked = true
		}
	}
	b.buildTable(table)
	b.c.src = buildSide(b.src.Sets, src)
	b.c.dst = buildSide(b.dst.Sets, dst)
}

func (b *builder) buildTable(cells []tableCell) {
	b.c.table = flat.Table[tableCell](len(cells))
	for _, l := range cells {
		flat.Insert(b.c.table, cellHash(l.scope, l.src, l.other), l)
	}
}

// decided makes the cell of some rules; whose it is comes later.
func (b *builder) decided(k [3]uint32) cell {
	list := b.cells[k]
	first, svc := b.entry(list[0])
	l := cell{scope: k[0], first: first}
	if len(list) == 1 && len(svc) == 1 {
		l.lo, l.hi = svc[0].Lo, svc[0].Hi
		return l
	}
	l.lo = uint32(len(b.c.ranges)) | severalBit
	b.paint(list)
	l.hi = uint32(len(b.c.ranges))
	if start := l.lo &^ severalBit; l.hi-start >= b.many {
		l.hi = b.buildSteps(start, l.hi)
	}
	return l
}

// buildSteps makes the steps of a cell's ranges.
func (b *builder) buildSteps(start, end uint32) uint32 {
	index := uint32(len(b.c.steps)) | severalBit
	b.c.steps = append(b.c.steps, end)
	for _, proto := range []uint8{frame.ProtoTCP, frame.ProtoUDP} {
		for i := range uint32(stepsEach + 1) {
			begins := func(r decided, at uint32) int { return cmp.Compare(r.from, at) }
			at, found := slices.BinarySearchFunc(b.c.ranges[start:end], ProtoRange(proto).Lo+i<<stepBits, begins)
			if !found {
				at--
			}
			b.c.steps = append(b.c.steps, start+uint32(at))
		}
	}
	return index
}

// paint decides the whole line of services for the rules of one cell: each paints what no earlier one has painted.
func (b *builder) paint(list []uint32) {
	cuts := []uint32{0}
	for _, e := range list {
		_, svc := b.entry(e)
		for _, r := range svc {
			cuts = append(cuts, r.Lo, r.Hi+1)
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	painted := make([]uint32, len(cuts))
	next := make([]int, len(cuts)+1) // the next piece that is not painted
	for i := range painted {
		painted[i], next[i] = NoRule, i
	}
	next[len(cuts)] = len(cuts)
	for _, e := range list {
		rule, svc := b.entry(e)
		for _, r := range svc {
			at, _ := slices.BinarySearch(cuts, r.Lo)
			end, _ := slices.BinarySearch(cuts, r.Hi+1)
			for at = unpainted(next, at); at < end; at = unpainted(next, at) {
				painted[at], next[at] = rule, at+1
			}
		}
	}
	for i := range cuts {
		if cuts[i] <= LastService && (i == 0 || painted[i] != painted[i-1]) {
			b.c.ranges = append(b.c.ranges, decided{cuts[i], painted[i]})
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
