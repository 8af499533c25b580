package firewall

import (
	"slices"

	"sluice/vnic/frame"
)

// classifier finds the first rule that matches, at a cost that does not grow with the number of rules. Rules are kept under what they
// say, not under what they match: each distinct set of sources, of destinations and of insertion points (a scope) has a number. An address
// is in few sets, whatever the policy's length, and those are listed from the narrowest to the widest; lists share their ends, so there
// are about as many nodes as sets. Groups are never multiplied out.
//
// The rules of one (scope, source set, destination set) are a cell, already decided for every service. Most sets have few cells: those are
// listed with the set, and compared with what the other address is in. Cells between two sets that have many are in a hash table. Either
// way a mask of 64 bits, one for each hashed set, says beforehand where looking is in vain.
//
// All of it is slices of numbers, and independent of where it lies in memory.
type classifier struct {
	src, dst  side
	scopes    []scopeList
	points    []uint32 // by port*2 + direction: an index in scopes; the first two are for ports without a scope of their own
	scopeSets []uint32 // what scopes refer to, the most urgent first
	table     []tableCell
	ranges    []uint32 // where each range of services begins
	decisions []uint32 // the rule that decides it, or noRule
}

// noRule is greater than every rule's index, so that the lowest wins.
const noRule = 1<<32 - 1

// fewCells is how many cells a set may have to be searched by list. Measured: 4 to 32 make no difference beyond noise.
const fewCells = 16

// side is what is known of sources, or of destinations. What it gives for an address is a node, the first of a list.
type side struct {
	hosts hosts // addresses that alone are in a set; most sets of most policies
	trie  trie  // all others
	nodes []node
	cells []cell // of sets that have few, in the order of sets, the most urgent first
}

// node is one set that an address is in. Node 0 ends a list.
type node struct {
	next  uint32 // the next wider set
	set   uint32 // its number, from 1, in the order of the sets' first rules
	first uint32 // the lowest rule that uses it
	cells uint32 // where its cells begin
	count uint32 // of its cells; 0 where they are in the table, or listed with the sets on the other side
	mask  uint64 // a bit for each set of the other side that its own cells, or those in the table, lead to
}

// cell is the rules of one (scope, source set, destination set).
type cell struct {
	other uint32 // the set on the other side
	scope uint32 // from 1
	first uint32 // the lowest rule in it
	// Where one rule has one range of services, which is nearly always, lo and hi are that; else, with severalBit, they say
	// what part of ranges is the cell's.
	lo, hi uint32
}

const severalBit = 1 << 31

// tableCell is an entry of a hash table with open addressing, whose length is a power of two. src is 0 where it is empty.
type tableCell struct {
	src uint32
	cell
}

// scopeList is the scopes that an insertion point is in.
type scopeList struct{ start, end uint32 }

func cellHash(scope, src, dst uint32) uint32 {
	h := uint64(scope)*0x9e3779b97f4a7c15 ^ uint64(src)<<32 ^ uint64(dst)
	h *= 0xd6e8feb86659fd93
	return uint32(h >> 32)
}

func maskBit(set uint32) uint64 { return 1 << (set * 0x9e3779b1 >> 26) }

// find gives the index of the first rule that matches at a point, or noRule.
func (c *classifier) find(pt Point, src, dst *frame.Addr, service uint32) uint32 {
	s, d := c.src.lookup(src), c.dst.lookup(dst)
	scopes := c.at(pt)
	best := uint32(noRule)
	var srcMask, dstMask uint64
	for n := d; n != 0; n = c.dst.nodes[n].next {
		dstMask |= maskBit(c.dst.nodes[n].set)
	}
	for n := s; n != 0; {
		e := &c.src.nodes[n]
		srcMask |= maskBit(e.set)
		switch {
		case e.first >= best || e.mask&dstMask == 0:
		case e.count > 0:
			best = c.findListed(c.src.cells[e.cells:e.cells+e.count], c.dst.nodes, d, dstMask, scopes, service, best)
		default:
			best = c.findInTable(e, d, scopes, service, best)
		}
		n = e.next
	}
	for n := d; n != 0; {
		e := &c.dst.nodes[n]
		if e.count > 0 && e.first < best && e.mask&srcMask != 0 {
			best = c.findListed(c.dst.cells[e.cells:e.cells+e.count], c.src.nodes, s, srcMask, scopes, service, best)
		}
		n = e.next
	}
	return best
}

// findListed asks those cells of one set that lead to a set that the other address is in.
func (c *classifier) findListed(cells []cell, nodes []node, list uint32, mask uint64, scopes []uint32, service, best uint32) uint32 {
	for i := range cells {
		l := &cells[i]
		if l.first >= best {
			break
		}
		if mask&maskBit(l.other) != 0 && isIn(nodes, list, l.other) && slices.Contains(scopes, l.scope) {
			best = min(best, c.decide(l, service))
		}
	}
	return best
}

// isIn says whether a set is in a list.
func isIn(nodes []node, list, set uint32) bool {
	for list != 0 && nodes[list].set != set {
		list = nodes[list].next
	}
	return list != 0
}

// findInTable asks the table for the cells of a source set with each destination set that has many.
func (c *classifier) findInTable(s *node, list uint32, scopes []uint32, service, best uint32) uint32 {
	for n := list; n != 0; {
		d := &c.dst.nodes[n]
		n = d.next
		if d.count > 0 || d.first >= best || s.mask&maskBit(d.set) == 0 || d.mask&maskBit(s.set) == 0 {
			continue
		}
		for _, scope := range scopes {
			if l := c.cell(scope, s.set, d.set); l != nil && l.first < best {
				best = min(best, c.decide(l, service))
			}
		}
	}
	return best
}

// cell looks a cell up in the table.
func (c *classifier) cell(scope, src, dst uint32) *cell {
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

func (c *classifier) at(pt Point) []uint32 {
	i := int(pt.Port)*2 + int(pt.Dir)
	if i >= len(c.points) {
		i = int(pt.Dir)
	}
	l := c.scopes[c.points[i]]
	return c.scopeSets[l.start:l.end]
}

// decide gives the first rule of a cell that has the service, or noRule.
func (c *classifier) decide(l *cell, service uint32) uint32 {
	if l.lo&severalBit == 0 {
		if l.lo <= service && service <= l.hi {
			return l.first
		}
		return noRule
	}
	lo, hi := l.lo&^severalBit, l.hi // ranges[lo] is 0, so it is never behind
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; c.ranges[mid] <= service {
			lo = mid
		} else {
			hi = mid
		}
	}
	return c.decisions[lo]
}
