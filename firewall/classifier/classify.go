package classifier

import (
	"slices"

	"sluice/firewall/flat"
	"sluice/vnic/frame"
)

// Classifier finds the first rule that matches, at a cost that does not grow with the number of rules. Rules are kept
// under what they say, not under what they match: each distinct set of sources, of destinations and of insertion points
// (a scope) has a number. An address is in few sets, whatever the policy's length, and those are listed from the
// narrowest to the widest; lists share their ends, so there are about as many nodes as sets. Groups are never
// multiplied out.
//
// The rules of one (scope, source set, destination set) are a cell, already decided for every service. Most sets have
// few cells: those are listed with the set, and compared with what the other address is in. Cells between two sets that
// have many are in a hash table. Either way a mask of 32 bits, one for each hashed set, says beforehand where looking
// is in vain.
//
// All of it is slices of numbers, independent of where it lies in memory: views of one run of bytes, its flat.
type Classifier struct {
	src, dst  side
	scopes    []flat.Part // by number in points: what an insertion point has of scopeSets
	points    []uint32    // by port*2 + direction: an index in scopes; the first two are for ports without a scope of their own
	scopeSets []uint32    // what scopes refer to, the most urgent first
	table     []tableCell
	ranges    []decided
	steps     []uint32 // of cells with many ranges: their end; the last range that begins before each piece of TCP's ports, and of UDP's
	// conditions are the scopes': a packet is only in those whose condition holds.
	conditions conditions

	flat []byte
	head *head
}

// NoRule is greater than every rule's index, so that the lowest wins.
const NoRule = 1<<32 - 1

// fewCells is how many cells a set may have to be searched by list. Measured: 4 to 32 make no difference beyond noise.
const fewCells = 16

// side is what is known of sources, or of destinations. What it gives for an address is a node, the first of a list.
type side struct {
	hosts hosts // addresses that alone are in a set; most sets of most policies
	trie  trie  // all others
	nodes []node
	cells []cell // of sets that have few, in the order of sets, the most urgent first
}

// node is a part of a list of the sets that an address is in. It fills one line of the processor's cache: nearly all
// that a packet costs is fetching such lines. Node 0 is the empty list.
type node struct {
	in    uint32 // a bit for each set of the list from here on
	reach uint32 // the masks of all of them that are to be asked from this side
	least uint32 // the lowest rule that uses one of them
	next  uint32 // the wider sets
	sets  [perNode]member
}

const perNode = 3

// member is one set that an address is in.
type member struct {
	set   uint32 // its number, from 1, in the order of the sets' first rules; 0 is none
	first uint32 // the lowest rule that uses it
	mask  uint32 // a bit for each set of the other side that its own cells, or those in the table, lead to
	// cells is where its cells begin, and below it, in countBits, how many they are; none where they are in the table,
	// or listed with the sets on the other side.
	cells uint32
}

const countBits = 5

func (m *member) few() bool { return m.cells&(1<<countBits-1) != 0 }

// cellsOf are the cells of a set that has few.
func (s *side) cellsOf(m *member) []cell {
	at := m.cells >> countBits
	return s.cells[at : at+m.cells&(1<<countBits-1)]
}

// cell is the rules of one (scope, source set, destination set).
type cell struct {
	other uint32 // the set on the other side
	scope uint32 // from 1; above scopeBits the number of its condition, 0 for none
	first uint32 // the lowest rule in it
	// Where one rule has one range of services, which is nearly always, lo and hi are that; else, with severalBit, they
	// say what part of ranges is the cell's; where those are many, hi is, with severalBit too, an index in steps.
	lo, hi uint32
}

// decided is a range of services, up to the next one, and the rule that decides it, or NoRule.
type decided struct{ from, rule uint32 }

const (
	severalBit = 1 << 31
	manyRanges = 16 // from how many ranges on a cell has steps
	stepBits   = 10 // a piece of the ports
	stepsEach  = 1 << (16 - stepBits)
	allSteps   = 1 + 2*(stepsEach+1) // of a cell
	scopeBits  = 26
)

// tableCell is an entry of a hash table with open addressing, whose length is a power of two. src is 0 where it is
// empty.
type tableCell struct {
	src uint32
	cell
}

func cellHash(scope, src, dst uint32) uint32 {
	return flat.Hash(uint64(scope), uint64(src)<<32|uint64(dst))
}

func maskBit(set uint32) uint32 { return 1 << (set * 0x9e3779b1 >> 27) }

// HasConditions says whether a rule has a condition: else nothing but a packet's ends and its service matters.
func (c *Classifier) HasConditions() bool { return len(c.conditions.starts) > 0 }

// Find gives the index of the first rule that a packet matches at a port, in a direction; or NoRule.
func (c *Classifier) Find(port frame.PortID, dir uint8, p Packet) uint32 {
	holds := uint64(1)
	if len(c.conditions.starts) > 0 {
		holds = c.conditions.holding(p.More)
	}
	s, d := &c.src.nodes[c.src.lookup(p.Src)], &c.dst.nodes[c.dst.lookup(p.Dst)]
	scopes, service := c.at(port, dir), p.Service
	best := uint32(NoRule)
	for n := s; n.least < best && n.reach&d.in != 0; n = &c.src.nodes[n.next] {
		for i := range n.sets {
			switch m := &n.sets[i]; {
			case m.first >= best || m.mask&d.in == 0:
			case m.few():
				best = c.findListed(c.src.cellsOf(m), &c.dst, d, scopes, holds, service, best)
			default:
				best = c.findInTable(m, d, scopes, holds, service, best)
			}
		}
	}
	for n := d; n.least < best && n.reach&s.in != 0; n = &c.dst.nodes[n.next] {
		for i := range n.sets {
			if m := &n.sets[i]; m.first < best && m.mask&s.in != 0 && m.few() {
				best = c.findListed(c.dst.cellsOf(m), &c.src, s, scopes, holds, service, best)
			}
		}
	}
	return best
}

// findListed asks those cells of one set that lead to a set that the other address is in.
func (c *Classifier) findListed(cells []cell, other *side, list *node, scopes []uint32, holds uint64, service, best uint32) uint32 {
	for i := range cells {
		l := &cells[i]
		if l.first >= best {
			break
		}
		if list.in&maskBit(l.other) != 0 && other.has(list, l.other) && holds>>(l.scope>>scopeBits)&1 != 0 && slices.Contains(scopes, l.scope) {
			best = min(best, c.decide(l, service))
		}
	}
	return best
}

// has says whether a set is in a list.
func (s *side) has(n *node, set uint32) bool {
	for ; n.in != 0; n = &s.nodes[n.next] {
		if n.sets[0].set == set || n.sets[1].set == set || n.sets[2].set == set {
			return true
		}
	}
	return false
}

// findInTable asks the table for the cells of a source set with each destination set that has many.
func (c *Classifier) findInTable(s *member, n *node, scopes []uint32, holds uint64, service, best uint32) uint32 {
	for ; n.least < best; n = &c.dst.nodes[n.next] {
		for i := range n.sets {
			d := &n.sets[i]
			if d.few() || d.first >= best || s.mask&maskBit(d.set) == 0 || d.mask&maskBit(s.set) == 0 {
				continue
			}
			for _, scope := range scopes {
				if holds>>(scope>>scopeBits)&1 == 0 {
					continue
				}
				if l := c.cell(scope, s.set, d.set); l != nil && l.first < best {
					best = min(best, c.decide(l, service))
				}
			}
		}
	}
	return best
}

// cell looks a cell up in the table.
func (c *Classifier) cell(scope, src, dst uint32) *cell {
	for h := cellHash(scope, src, dst); ; h++ {
		e := &c.table[h&uint32(len(c.table)-1)]
		if e.src == 0 {
			return nil
		}
		if e.scope == scope && e.src == src && e.other == dst {
			return &e.cell
		}
	}
}

// at gives the scopes of an insertion point.
func (c *Classifier) at(port frame.PortID, dir uint8) []uint32 {
	i := int(port)*2 + int(dir)
	if i >= len(c.points) {
		i = int(dir)
	}
	l := c.scopes[c.points[i]]
	return c.scopeSets[l.From:l.To]
}

// decide gives the first rule of a cell that has the service, or NoRule.
func (c *Classifier) decide(l *cell, service uint32) uint32 {
	if l.lo&severalBit == 0 {
		if service-l.lo <= l.hi-l.lo {
			return l.first
		}
		return NoRule
	}
	at, end := l.lo&^severalBit, l.hi // ranges[at] begins at 0, so it is never behind
	if end&severalBit != 0 {
		at, end = c.step(at, end&^severalBit, service)
	}
	for n := end - at; n > 1; n -= n / 2 {
		// Without a branch, of which half would be foretold wrongly: all ones where the middle is not behind the
		// service.
		forth := uint32((int64(c.ranges[at+n/2].from) - int64(service) - 1) >> 63)
		at += n / 2 & forth
	}
	return c.ranges[at].rule
}

// step narrows the search in a cell of many ranges, which begin at at.
func (c *Classifier) step(at, steps, service uint32) (from, end uint32) {
	piece := service >> stepBits & (stepsEach - 1)
	switch uint8(service >> 16) {
	case frame.ProtoTCP:
		steps += 1 + piece
	case frame.ProtoUDP:
		steps += 2 + stepsEach + piece
	default:
		return at, c.steps[steps]
	}
	return c.steps[steps], c.steps[steps+1] + 1
}
