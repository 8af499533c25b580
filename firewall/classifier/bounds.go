package classifier

import "sluice/firewall/flat"

// Bounds are what no walk of one classifier exceeds. In every trie the walk of an address has at most 3 steps for IPv4,
// and 16 for IPv6.
type Bounds struct {
	List   uint32 // nodes in a list of the sets that an address is in, without the empty one at its end
	Scopes uint32 // at an insertion point
	Cells  uint32 // listed with a set
	Probe  uint32 // slots of a hash table until an entry is found that is there
	Ranges uint32 // of services in a cell, among which one is searched by halves
}

// bounds measures a classifier that leads nowhere else.
func (c *Classifier) bounds() (b Bounds) {
	for _, s := range []*side{&c.src, &c.dst} {
		length := make([]uint32, len(s.nodes))
		for i := 1; i < len(s.nodes); i++ {
			length[i] = length[s.nodes[i].next] + 1
			b.List = max(b.List, length[i])
			for _, m := range s.nodes[i].sets {
				b.Cells = max(b.Cells, m.cells&(1<<countBits-1))
			}
		}
		for i := range s.cells {
			b.Ranges = max(b.Ranges, c.rangesOf(&s.cells[i]))
		}
		v4, _ := flat.Probe(s.hosts.v4, slot4)
		v6, _ := flat.Probe(s.hosts.v6, slot6)
		b.Probe = max(b.Probe, v4, v6)
	}
	for _, l := range c.scopes {
		b.Scopes = max(b.Scopes, l.To-l.From)
	}
	for i := range c.table {
		b.Ranges = max(b.Ranges, c.rangesOf(&c.table[i].cell))
	}
	probe, _ := flat.Probe(c.table, slotOfCell)
	b.Probe = max(b.Probe, probe)
	return b
}

// rangesOf is how many ranges a cell has.
func (c *Classifier) rangesOf(l *cell) uint32 {
	end := l.hi
	switch {
	case l.lo&severalBit == 0:
		return 0
	case end&severalBit != 0:
		end = c.steps[end&^severalBit]
	}
	return end - l.lo&^severalBit
}

func slot4(e *uint64) (hash uint32, used bool) { return flat.Hash(0, *e>>32), uint32(*e) != 0 }

func slot6(e *host6) (hash uint32, used bool) { return flat.Hash(e.high, e.low), e.node != 0 }

func slotOfCell(e *tableCell) (hash uint32, used bool) {
	return cellHash(e.scope, e.src, e.other), e.src != 0
}
