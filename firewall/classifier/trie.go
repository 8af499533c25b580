package classifier

import (
	"math/bits"
	"slices"
	"sort"

	"sluice/vnic/frame"
)

// trie maps every address to a number (of a node, in a side). IPv4 is looked up by its upper half in an array, and then
// in at most two steps of a byte; IPv6 in at most one step a byte, where bytes at which nothing divides are skipped.
// Neighbouring bytes with the same answer share one entry.
type trie struct {
	roots
	entries  []uint32 // a number, or childBit and an index: of a branch for IPv4, of a node for IPv6
	halves   []uint32 // entries by upper half
	branches []branch
	nodes    []trieNode
}

// roots are where a look-up begins.
type roots struct {
	first4       uint32 // the upper half of the address at which halves begins
	below, above uint32 // numbers outside of halves
	root6        uint32 // an entry
}

const childBit = 1 << 31

// branch divides by one byte.
type branch struct {
	runs    [4]uint64 // a bit for each byte at which a new entry begins
	entries uint32    // index of the first entry
	rank    [4]uint8  // entries before each 64 bits of runs
}

// entry is the index of a byte's entry.
func (b *branch) entry(c uint8) uint32 {
	part := b.runs[c/64] & (2<<(c%64) - 1)
	return b.entries + uint32(b.rank[c/64]) + uint32(bits.OnesCount64(part)) - 1
}

// trieNode answers for the addresses below its prefix by their byte at depth. What lies beside the prefix (only
// possible where bytes were skipped) is before or after everything below it.
type trieNode struct {
	branch
	maskHigh, maskLow     uint64 // zero where no byte was skipped
	prefixHigh, prefixLow uint64
	before, behind        uint32
	depth                 uint64 // which byte, from 0
}

// addrBytes is how many bytes an address has, and how many steps its look-up at most.
const addrBytes = 16

// boundary is where addresses with another number begin.
type boundary struct {
	at   frame.Addr
	node uint32
}

// lookup4 finds the number of an address of IPv4.
func (t *trie) lookup4(a uint32) uint32 {
	i := a>>16 - t.first4
	if i >= uint32(len(t.halves)) {
		if a>>16 < t.first4 {
			return t.below
		}
		return t.above
	}
	e := t.halves[i]
	if e&childBit != 0 {
		e = t.entries[t.branches[e&^childBit].entry(uint8(a>>8))]
		if e&childBit != 0 {
			e = t.entries[t.branches[e&^childBit].entry(uint8(a))]
		}
	}
	return e
}

// lookup6 finds the number of an address of IPv6.
func (t *trie) lookup6(high, low uint64) uint32 {
	e := t.root6
	for e&childBit != 0 {
		n := &t.nodes[e&^childBit]
		if high&n.maskHigh != n.prefixHigh || low&n.maskLow != n.prefixLow {
			return n.beside(high, low)
		}
		half := high
		if n.depth >= 8 {
			half = low
		}
		e = t.entries[n.entry(uint8(half>>(56-n.depth%8*8)))]
	}
	return e
}

// beside is the number of an address that is not below the node's prefix.
func (n *trieNode) beside(high, low uint64) uint32 {
	h, l := high&n.maskHigh, low&n.maskLow
	if h < n.prefixHigh || h == n.prefixHigh && l < n.prefixLow {
		return n.before
	}
	return n.behind
}

// newTrie builds a trie of sorted boundaries, the first of which is at the lowest address.
func newTrie(b []boundary) trie {
	var t trie
	from := sort.Search(len(b), func(i int) bool { return b[i].at.Compare(AllIPv4.Lo) > 0 })
	to := sort.Search(len(b), func(i int) bool { return b[i].at.Compare(AllIPv4.Hi) > 0 })
	t.build4(b[from:to], b[from-1].node)
	// For IPv6 the addresses of IPv4 are a hole: what holds at its end begins behind it.
	behind := boundary{AllIPv4.Hi.Next(), b[to-1].node}
	if to < len(b) && b[to].at == behind.at {
		to++
		behind.node = b[to-1].node
	}
	t.root6 = t.build6(slices.Concat(b[1:from], []boundary{behind}, b[to:]), 0, b[0].node)
	return t
}

// build4 makes the array, and the branches below it; number is what holds before the first boundary.
func (t *trie) build4(b []boundary, number uint32) {
	t.below, t.above = number, number
	if len(b) == 0 {
		return
	}
	half := func(b boundary) uint32 { return uint32(b.at[12])<<8 | uint32(b.at[13]) }
	t.first4 = half(b[0])
	t.halves = make([]uint32, half(b[len(b)-1])-t.first4+1)
	for i := range t.halves {
		t.halves[i], b, number = t.divide(b, 14, t.first4+uint32(i), half, number, t.branch)
	}
	t.above = number
}

// branch makes a branch for the boundaries in one half, or in 256 addresses.
func (t *trie) branch(b []boundary, depth int, number uint32) uint32 {
	index := len(t.branches)
	t.branches = append(t.branches, branch{})
	n := t.fill(b, depth, number, t.branch)
	t.branches[index] = n
	return childBit | uint32(index)
}

// build6 makes the node for boundaries that share their bytes before depth; number is what holds before the first of
// them.
func (t *trie) build6(b []boundary, depth int, number uint32) uint32 {
	if len(b) == 0 {
		return number
	}
	start := depth
	for depth < 15 && b[0].at[depth] == b[len(b)-1].at[depth] && !isZero(b[0].at[depth+1:]) {
		depth++
	}
	n := trieNode{depth: uint64(depth), before: number, behind: b[len(b)-1].node}
	if depth > start {
		mask := prefixMask(depth)
		n.maskHigh, n.maskLow = mask.Uint64s()
		n.prefixHigh, n.prefixLow = b[0].at.Uint64s()
		n.prefixHigh &= n.maskHigh
		n.prefixLow &= n.maskLow
	}
	index := len(t.nodes)
	t.nodes = append(t.nodes, n)
	n.branch = t.fill(b, depth, number, t.build6)
	t.nodes[index] = n
	return childBit | uint32(index)
}

// fill makes the entries of one branch, by the byte at depth, and with below what is below it.
func (t *trie) fill(b []boundary, depth int, number uint32, below func([]boundary, int, uint32) uint32) (n branch) {
	var entries []uint32
	at := func(b boundary) uint32 { return uint32(b.at[depth]) }
	for c := range uint32(256) {
		var e uint32
		e, b, number = t.divide(b, depth+1, c, at, number, below)
		if len(entries) == 0 || entries[len(entries)-1] != e {
			entries = append(entries, e)
			n.runs[c/64] |= 1 << (c % 64)
		}
	}
	for i, total := 1, 0; i < 4; i++ {
		total += bits.OnesCount64(n.runs[i-1])
		n.rank[i] = uint8(total)
	}
	n.entries = uint32(len(t.entries))
	t.entries = append(t.entries, entries...)
	return n
}

// divide takes off the boundaries at which of gives c, and makes the entry for them: a number where one holds for all.
// It gives the boundaries that are left, and the number that holds before these. below makes what looks at the byte at
// depth.
func (t *trie) divide(b []boundary, depth int, c uint32, of func(boundary) uint32, number uint32, below func([]boundary, int, uint32) uint32) (uint32, []boundary, uint32) {
	if len(b) > 0 && of(b[0]) == c && isZero(b[0].at[depth:]) {
		number, b = b[0].node, b[1:]
	}
	inside := 0
	for inside < len(b) && of(b[inside]) == c {
		inside++
	}
	if inside == 0 {
		return number, b, number
	}
	return below(b[:inside], depth, number), b[inside:], b[inside-1].node
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func prefixMask(bytes int) (m frame.Addr) {
	for i := range bytes {
		m[i] = 0xff
	}
	return m
}
