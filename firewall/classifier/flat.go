package classifier

import (
	"fmt"
	"slices"

	"sluice/firewall/flat"
)

// A flat classifier is one run of bytes (package flat). Whoever walks it in Go or in C finds the same arrays in it: the
// types of their elements are those of this package, without a byte that is no field's.

// start is what a flat classifier begins with. The version is that of the layout: any change of a type that lies in a
// flat, or of a hash, makes another one.
var start = flat.Start{Magic: 0x534c4331, Version: 1} // SLC1

// head is the beginning of a flat classifier.
type head struct {
	flat.Start
	rules uint32 // how many there are: what is found is below
	Bounds
	src, dst                                 sideHead
	scopes, points, scopeSets                flat.Span
	table, ranges, steps                     flat.Span
	conditionStarts, conditionPorts, byFlags flat.Span
}

// sideHead is the part of the head for one side.
type sideHead struct {
	hosts4, hosts6, halves, branches, trieNodes, entries, nodes, cells flat.Span
	roots
}

func (c *Classifier) arrays(h *head) []flat.Array {
	return slices.Concat(c.src.arrays(&h.src), c.dst.arrays(&h.dst), []flat.Array{
		flat.Of(&h.scopes, &c.scopes), flat.Of(&h.points, &c.points), flat.Of(&h.scopeSets, &c.scopeSets),
		flat.Of(&h.table, &c.table), flat.Of(&h.ranges, &c.ranges), flat.Of(&h.steps, &c.steps),
		flat.Of(&h.conditionStarts, &c.conditions.starts), flat.Of(&h.conditionPorts, &c.conditions.byPort),
		flat.Of(&h.byFlags, &c.conditions.byFlags),
	})
}

func (s *side) arrays(h *sideHead) []flat.Array {
	return []flat.Array{
		flat.Of(&h.hosts4, &s.hosts.v4), flat.Of(&h.hosts6, &s.hosts.v6), flat.Of(&h.halves, &s.trie.halves),
		flat.Of(&h.branches, &s.trie.branches), flat.Of(&h.trieNodes, &s.trie.nodes), flat.Of(&h.entries, &s.trie.entries),
		flat.Of(&h.nodes, &s.nodes), flat.Of(&h.cells, &s.cells),
	}
}

// Draft is a classifier that is built, and lies in many pieces until it is packed. A nil Draft packs to no classifier,
// in no bytes.
type Draft struct {
	c    Classifier
	head head
	size int
}

// Prepare builds the classifier of some rules, which have at most MaxConditions different conditions.
func Prepare(rules []*Match) *Draft { return draft(rules, fewCells, manyRanges) }

func draft(rules []*Match, few, many uint32) *Draft {
	d := &Draft{c: build(rules, few, many)}
	d.head = head{Start: start, rules: uint32(len(rules)), Bounds: d.c.bounds()}
	d.head.src.roots, d.head.dst.roots = d.c.src.trie.roots, d.c.dst.trie.roots
	d.size = flat.Lay(&d.head, d.c.arrays(&d.head))
	d.head.Size = uint32(d.size)
	return d
}

// Size is how many bytes the flat classifier has.
func (d *Draft) Size() int {
	if d == nil {
		return 0
	}
	return d.size
}

// Pack writes the flat classifier into bytes of that size, which begin at a multiple of flat.Line. The classifier walks
// them: they must not change any more. A draft is packed once.
func (d *Draft) Pack(b []byte) *Classifier {
	if d == nil {
		return nil
	}
	flat.Pack(b, &d.head, d.c.arrays(&d.head))
	d.c.flat, d.c.head = b, flat.Head[head](b)
	return &d.c
}

// New builds the classifier of some rules, and packs it into bytes of its own.
func New(rules []*Match) *Classifier { return Prepare(rules).packAlone() }

func (d *Draft) packAlone() *Classifier { return d.Pack(flat.New(d.Size())) }

// Read gives the classifier that walks a flat one. The bytes may be anybody's: what could lead a walk outside of them,
// or on without end, is an error. They must not change any more.
func Read(b []byte) (*Classifier, error) {
	h, err := flat.Open[head](b, start)
	if err != nil {
		return nil, fmt.Errorf("no flat classifier: %w", err)
	}
	c := &Classifier{flat: b, head: h}
	if err := flat.View(b, h, c.arrays(h)); err != nil {
		return nil, fmt.Errorf("flat classifier: %w", err)
	}
	c.src.trie.roots, c.dst.trie.roots = h.src.roots, h.dst.roots
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("flat classifier: %w", err)
	}
	if is := c.bounds(); is != h.Bounds {
		return nil, fmt.Errorf("flat classifier: its bounds are %+v, not %+v", is, h.Bounds)
	}
	return c, nil
}

// Flat is the flat classifier: the same rules have the same bytes. They must not be changed.
func (c *Classifier) Flat() []byte { return c.flat }

// Rules is how many rules the classifier is of.
func (c *Classifier) Rules() int { return int(c.head.rules) }

// Bounds is what no walk of the classifier exceeds, for an engine whose loops must have bounds.
func (c *Classifier) Bounds() Bounds { return c.head.Bounds }
