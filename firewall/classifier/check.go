package classifier

import (
	"cmp"
	"errors"
	"math/bits"

	"sluice/firewall/flat"
)

// check says what could lead a walk outside of the arrays, or on without end. Whether what is found is right, nobody
// can say who has not the rules.
func (c *Classifier) check() error {
	return cmp.Or(c.checkScopes(), c.checkTable(), c.checkRanges(), c.conditions.check(), c.checkSide(&c.src), c.checkSide(&c.dst))
}

func (c *Classifier) checkScopes() error {
	if len(c.points) < 2 {
		return errors.New("no insertion point")
	}
	for _, at := range c.points {
		if int(at) >= len(c.scopes) {
			return errors.New("an insertion point leads outside")
		}
	}
	for _, l := range c.scopes {
		if !l.Within(len(c.scopeSets)) {
			return errors.New("a list of scopes leads outside")
		}
	}
	return nil
}

func (c *Classifier) checkTable() error {
	if _, ok := flat.Probe(c.table, slotOfCell); !ok {
		return errors.New("the table of cells is no hash table")
	}
	for i := range c.table {
		if c.table[i] != (tableCell{}) && !c.isSound(&c.table[i].cell) {
			return errors.New("a cell of the table leads outside")
		}
	}
	return nil
}

func (c *Classifier) checkRanges() error {
	for _, r := range c.ranges {
		if r.rule != NoRule && r.rule >= c.head.rules {
			return errors.New("a range is of no rule")
		}
	}
	return nil
}

// isSound says whether deciding in a cell stays within ranges and steps.
func (c *Classifier) isSound(l *cell) bool {
	if l.first >= c.head.rules {
		return false
	}
	if l.lo&severalBit == 0 {
		return l.lo <= l.hi && l.hi <= LastService
	}
	at, end := l.lo&^severalBit, l.hi
	if end&severalBit != 0 {
		steps := flat.Part{From: end &^ severalBit, To: end&^severalBit + allSteps}
		if !steps.Within(len(c.steps)) {
			return false
		}
		end = c.steps[steps.From]
		for n := steps.From + 1; n < steps.To; n += stepsEach + 1 {
			if !areSteps(c.steps[n:n+stepsEach+1], at, end) {
				return false
			}
		}
	}
	return at < end && int(end) <= len(c.ranges) && c.ranges[at].from == 0
}

// areSteps says whether steps go forth among ranges.
func areSteps(steps []uint32, at, end uint32) bool {
	for _, s := range steps {
		if s < at || s >= end {
			return false
		}
		at = s
	}
	return true
}

func (c *conditions) check() error {
	flags := 0
	if len(c.starts) > 0 {
		flags = allFlags
	}
	if len(c.byPort) != len(c.starts) || len(c.byFlags) != flags {
		return errors.New("the conditions are not whole")
	}
	return nil
}

func (c *Classifier) checkSide(s *side) error {
	if len(s.nodes) == 0 || s.nodes[0] != (node{least: NoRule}) {
		return errors.New("the empty list is not the first")
	}
	for i := range s.nodes {
		n := &s.nodes[i]
		if i > 0 && n.next >= uint32(i) {
			return errors.New("a list does not lead back to the empty one")
		}
		for j := range n.sets {
			from := n.sets[j].cells >> countBits
			if n.sets[j].few() && !(flat.Part{From: from, To: from + n.sets[j].cells&(1<<countBits-1)}).Within(len(s.cells)) {
				return errors.New("a set's cells lie outside")
			}
		}
	}
	for i := range s.cells {
		if !c.isSound(&s.cells[i]) {
			return errors.New("a cell leads outside")
		}
	}
	return cmp.Or(s.hosts.check(uint32(len(s.nodes))), s.trie.check(uint32(len(s.nodes))))
}

func (h *hosts) check(nodes uint32) error {
	_, ok4 := flat.Probe(h.v4, slot4)
	_, ok6 := flat.Probe(h.v6, slot6)
	if !ok4 || !ok6 {
		return errors.New("the table of hosts is no hash table")
	}
	for _, e := range h.v4 {
		if uint32(e) >= nodes {
			return errors.New("a host has no list")
		}
	}
	for i := range h.v6 {
		if h.v6[i].node >= uint64(nodes) {
			return errors.New("a host has no list")
		}
	}
	return nil
}

var errTrie = errors.New("a trie leads outside")

// check looks at every entry: for IPv4 the array leads to branches, these to other branches, and those to numbers; for
// IPv6 each node leads to nodes of a later byte.
func (t *trie) check(nodes uint32) error {
	if t.below >= nodes || t.above >= nodes {
		return errTrie
	}
	const first, second = 1, 2
	level := make([]uint8, len(t.branches))
	lead := func(entries []uint32, to uint8) bool {
		for _, e := range entries {
			switch at := e &^ childBit; {
			case e&childBit == 0 && e < nodes:
			case e&childBit == 0 || to > second || int(at) >= len(level):
				return false
			default:
				level[at] |= to
			}
		}
		return true
	}
	if !lead(t.halves, first) {
		return errTrie
	}
	for at := uint8(first); at <= second; at++ {
		for i := range t.branches {
			entries, ok := t.of(&t.branches[i])
			if !ok || level[i]&at != 0 && !lead(entries, at+1) {
				return errTrie
			}
		}
	}
	return t.check6(nodes)
}

func (t *trie) check6(nodes uint32) error {
	lead := func(e uint32, depth int) bool {
		if e&childBit == 0 {
			return e < nodes
		}
		return int(e&^childBit) < len(t.nodes) && int(t.nodes[e&^childBit].depth) > depth
	}
	if !lead(t.root6, -1) {
		return errTrie
	}
	for i := range t.nodes {
		n := &t.nodes[i]
		entries, ok := t.of(&n.branch)
		if !ok || n.depth >= addrBytes || n.before >= nodes || n.behind >= nodes {
			return errTrie
		}
		for _, e := range entries {
			if !lead(e, int(n.depth)) {
				return errTrie
			}
		}
	}
	return nil
}

// of gives a branch's entries, where each byte has one.
func (t *trie) of(b *branch) (entries []uint32, ok bool) {
	total := uint32(0)
	for i, runs := range b.runs {
		if uint32(b.rank[i]) != total {
			return nil, false
		}
		total += uint32(bits.OnesCount64(runs))
	}
	p := flat.Part{From: b.entries, To: b.entries + total}
	if b.runs[0]&1 == 0 || !p.Within(len(t.entries)) {
		return nil, false
	}
	return t.entries[p.From:p.To], true
}
