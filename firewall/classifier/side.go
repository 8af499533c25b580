package classifier

import (
	"cmp"
	"encoding/binary"
	"slices"

	"sluice/firewall/flat"
	"sluice/vnic/frame"
)

// hosts are two hash tables (package flat): from an address to a node. A free slot has node 0: an address without a
// node needs none.
type hosts struct {
	v4 []uint64 // address << 32 | node
	v6 []host6
}

type host6 struct{ high, low, node uint64 }

// lookup gives the first node of an address.
func (s *side) lookup(a *frame.Addr) uint32 {
	high, low := a.Uint64s()
	if high == 0 && low>>32 == 0xffff {
		if n := s.hosts.lookup4(uint32(low)); n != 0 {
			return n
		}
		return s.trie.lookup4(uint32(low))
	}
	if n := s.hosts.lookup6(high, low); n != 0 {
		return n
	}
	return s.trie.lookup6(high, low)
}

func (h *hosts) lookup4(a uint32) uint32 {
	for i := flat.Hash(0, uint64(a)); ; i++ {
		switch e := h.v4[i&uint32(len(h.v4)-1)]; {
		case uint32(e) == 0:
			return 0
		case uint32(e>>32) == a:
			return uint32(e)
		}
	}
}

func (h *hosts) lookup6(high, low uint64) uint32 {
	for i := flat.Hash(high, low); ; i++ {
		switch e := &h.v6[i&uint32(len(h.v6)-1)]; {
		case e.node == 0:
			return 0
		case e.high == high && e.low == low:
			return uint32(e.node)
		}
	}
}

// newHosts builds the tables.
func newHosts(b []boundary) (h hosts) {
	n4 := 0
	for _, e := range b {
		if e.at.IsIPv4() {
			n4++
		}
	}
	h.v4, h.v6 = flat.Table[uint64](n4), flat.Table[host6](len(b)-n4)
	for _, e := range b {
		high, low := e.at.Uint64s()
		if e.at.IsIPv4() {
			flat.Insert(h.v4, flat.Hash(0, uint64(uint32(low))), low<<32|uint64(e.node))
		} else {
			flat.Insert(h.v6, flat.Hash(high, low), host6{high, low, uint64(e.node)})
		}
	}
	return h
}

// setInfo is what is known of a set but for its place.
type setInfo struct {
	set, first, mask uint32
	cells            []cell
	asked            bool // it has cells in the table, which sources ask
}

func newSetInfos(sets *endSets) []setInfo {
	out := make([]setInfo, len(sets.Sets))
	for i := range out {
		out[i].set, out[i].first = uint32(i+1), sets.first[i]
	}
	return out
}

// buildSide divides all addresses by the sets that they are in.
func buildSide(addrs []AddrSet, sets []setInfo) (s side) {
	s.nodes = []node{{least: NoRule}}
	w := chains{side: &s, rank: widest(addrs), seen: map[node]uint32{}, members: make([]member, len(sets)), asked: make([]bool, len(sets))}
	for i := range sets {
		e := &sets[i]
		w.members[i] = member{e.set, e.first, e.mask, uint32(len(s.cells))<<countBits | uint32(len(e.cells))}
		w.asked[i] = e.asked || len(e.cells) > 0
		s.cells = append(s.cells, e.cells...)
	}
	bounds := []boundary{{}}
	events := edges(addrs)
	for i := 0; i < len(events); {
		at := events[i].at
		for ; i < len(events) && events[i].at == at; i++ {
			w.change(events[i].set, events[i].end)
		}
		b := boundary{at, w.head()}
		if at == (frame.Addr{}) {
			bounds[0] = b
			continue
		}
		bounds = append(bounds, b)
	}
	single, rest := singles(bounds)
	s.hosts, s.trie = newHosts(single), newTrie(rest)
	return s
}

// singles takes out of a division what concerns single addresses in the midst of others.
func singles(b []boundary) (single, rest []boundary) {
	rest = b[:1]
	for i := 1; i < len(b); {
		base, j := rest[len(rest)-1].node, i
		for j+1 < len(b) && b[j].node != base && b[j].node != 0 && b[j+1].at == b[j].at.Next() {
			j++
		}
		if j > i && b[j].node == base {
			single = append(single, b[i:j]...)
			i = j + 1
			continue
		}
		rest = append(rest, b[i])
		i++
	}
	return single, rest
}

// edge is where a set begins, or has ended.
type edge struct {
	at  frame.Addr
	set uint32
	end bool
}

func edges(sets []AddrSet) (out []edge) {
	for i, s := range sets {
		for _, r := range s {
			out = append(out, edge{r.Lo, uint32(i), false})
			if next := r.Hi.Next(); next != (frame.Addr{}) {
				out = append(out, edge{next, uint32(i), true})
			}
		}
	}
	slices.SortFunc(out, func(a, b edge) int { return a.at.Compare(b.at) })
	return out
}

// widest ranks sets by how many addresses they have: 0 is the widest.
func widest(sets []AddrSet) (rank []uint32) {
	size := make([]float64, len(sets))
	order := make([]uint32, len(sets))
	for i, s := range sets {
		order[i] = uint32(i)
		for _, r := range s {
			size[i] += float64(binary.BigEndian.Uint64(r.Hi[:8])-binary.BigEndian.Uint64(r.Lo[:8]))*(1<<64) +
				float64(binary.BigEndian.Uint64(r.Hi[8:])) - float64(binary.BigEndian.Uint64(r.Lo[8:]))
		}
	}
	slices.SortStableFunc(order, func(a, b uint32) int { return cmp.Compare(size[b], size[a]) })
	rank = make([]uint32, len(sets))
	for i, set := range order {
		rank[set] = uint32(i)
	}
	return rank
}

// chains makes lists of nodes that share their ends.
type chains struct {
	side    *side
	members []member
	asked   []bool // by set: it is to be asked from this side
	rank    []uint32
	active  []uint32 // the sets of the present address, the widest first
	full    []uint32 // the lists of the first perNode of them, of twice as many, and so on; shorter where they must be made again
	seen    map[node]uint32
}

func (w *chains) change(set uint32, end bool) {
	j, _ := slices.BinarySearchFunc(w.active, set, func(a, b uint32) int { return cmp.Compare(w.rank[a], w.rank[b]) })
	if end {
		w.active = slices.Delete(w.active, j, j+1)
	} else {
		w.active = slices.Insert(w.active, j, set)
	}
	w.full = w.full[:min(j/perNode, len(w.full))]
}

// head is the list of what is active.
func (w *chains) head() uint32 {
	whole := (len(w.active) - 1) / perNode
	w.full = w.full[:min(whole, len(w.full))]
	for i := len(w.full); i < whole; i++ {
		w.full = append(w.full, w.node(w.active[i*perNode:(i+1)*perNode]))
	}
	if len(w.active) == 0 {
		return 0
	}
	return w.node(w.active[whole*perNode:])
}

// node is the list of some sets, the widest first, and of what is in full behind them.
func (w *chains) node(sets []uint32) uint32 {
	var n node
	if len(w.full) > 0 {
		n.next = w.full[len(w.full)-1]
	}
	rest := &w.side.nodes[n.next]
	n.in, n.reach, n.least = rest.in, rest.reach, rest.least
	for i, set := range sets {
		m := w.members[set]
		n.sets[len(sets)-1-i] = m
		n.in |= maskBit(m.set)
		n.least = min(n.least, m.first)
		if w.asked[set] {
			n.reach |= m.mask
		}
	}
	at, known := w.seen[n]
	if !known {
		at = uint32(len(w.side.nodes))
		w.seen[n] = at
		w.side.nodes = append(w.side.nodes, n)
	}
	return at
}
