package firewall

import (
	"math/bits"
	"slices"
	"sort"

	"sluice/vnic/frame"
)

// trie maps every address to a number (of a node, in a side) in at most one step a byte. A node looks at one byte; bytes at which nothing divides are
// skipped, and neighbouring bytes with the same answer share one entry. It is flat: numbers and indices, no pointers.
type trie struct {
	nodes   []trieNode
	entries []uint32 // a number, or childBit and the index of a node
	root4   uint32   // an entry: for IPv4, which is most of what is asked
	root6   uint32
}

const childBit = 1 << 31

// trieNode answers for the addresses below its prefix by their byte at depth. What lies beside the prefix (only possible where bytes
// were skipped) is before or after everything below it.
type trieNode struct {
	runs                  [4]uint64 // a bit for each byte at which a new entry begins
	maskHigh, maskLow     uint64    // zero where no byte was skipped
	prefixHigh, prefixLow uint64
	entries               uint32 // index of the first entry
	before, behind        uint32
	rank                  [4]uint8 // entries before each word of runs
	depth                 uint8    // which byte, from 0
}

// boundary is where addresses with another number begin.
type boundary struct {
	at   frame.Addr
	node uint32
}

// lookup finds the number of an address, from one of the roots.
func (t *trie) lookup(e uint32, high, low uint64) uint32 {
	for e&childBit != 0 {
		n := &t.nodes[e&^childBit]
		if high&n.maskHigh != n.prefixHigh || low&n.maskLow != n.prefixLow {
			return n.beside(high, low)
		}
		word := high
		if n.depth >= 8 {
			word = low
		}
		c := uint8(word >> (56 - n.depth%8*8))
		part := n.runs[c/64] & (2<<(c%64) - 1)
		e = t.entries[n.entries+uint32(n.rank[c/64])+uint32(bits.OnesCount64(part))-1]
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
	from := sort.Search(len(b), func(i int) bool { return compareAddr(b[i].at, allIPv4.lo) > 0 })
	to := sort.Search(len(b), func(i int) bool { return compareAddr(b[i].at, allIPv4.hi) > 0 })
	t.root4 = t.build(b[from:to], 12, b[from-1].node)
	// For IPv6 the addresses of IPv4 are a hole: what holds at its end begins behind it.
	behind := boundary{after(allIPv4.hi), b[to-1].node}
	if to < len(b) && b[to].at == behind.at {
		to++
		behind.node = b[to-1].node
	}
	t.root6 = t.build(slices.Concat(b[1:from], []boundary{behind}, b[to:]), 0, b[0].node)
	return t
}

// build makes the node for boundaries that share their bytes before depth; number is what holds before the first of them.
func (t *trie) build(b []boundary, depth int, number uint32) uint32 {
	if len(b) == 0 {
		return number
	}
	start := depth
	for depth < 15 && b[0].at[depth] == b[len(b)-1].at[depth] && !isZero(b[0].at[depth+1:]) {
		depth++
	}
	n := trieNode{depth: uint8(depth), before: number, behind: b[len(b)-1].node}
	if depth > start {
		mask := prefixMask(depth)
		n.maskHigh, n.maskLow = words(&mask)
		n.prefixHigh, n.prefixLow = words(&b[0].at)
		n.prefixHigh &= n.maskHigh
		n.prefixLow &= n.maskLow
	}
	index := len(t.nodes)
	t.nodes = append(t.nodes, n)
	entries := t.fill(&n, b, depth, number)
	n.entries = uint32(len(t.entries))
	t.entries = append(t.entries, entries...)
	t.nodes[index] = n
	return childBit | uint32(index)
}

// fill makes the entries of one node, and the nodes below it.
func (t *trie) fill(n *trieNode, b []boundary, depth int, number uint32) (entries []uint32) {
	for c := 0; c < 256; c++ {
		if len(b) > 0 && int(b[0].at[depth]) == c && isZero(b[0].at[depth+1:]) {
			number = b[0].node
			b = b[1:]
		}
		inside := 0
		for inside < len(b) && int(b[inside].at[depth]) == c {
			inside++
		}
		e := t.build(b[:inside], depth+1, number)
		if len(entries) == 0 || entries[len(entries)-1] != e {
			entries = append(entries, e)
			n.runs[c/64] |= 1 << (c % 64)
		}
		if inside > 0 {
			number, b = b[inside-1].node, b[inside:]
		}
	}
	for i, total := 1, 0; i < 4; i++ {
		total += bits.OnesCount64(n.runs[i-1])
		n.rank[i] = uint8(total)
	}
	return entries
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
