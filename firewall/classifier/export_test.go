package classifier

import (
	"unsafe"

	"sluice/firewall/flat"
)

// What the tests choose differently.
const (
	FewCells   = fewCells
	ManyRanges = manyRanges
	HeadSize   = int(unsafe.Sizeof(head{}))
)

// Build is New with other choices.
func Build(rules []*Match, few, many uint32) *Classifier { return draft(rules, few, many).packAlone() }

// Mend makes the head of a broken flat say what is in it, where that can be walked: so that what breaks it is found
// behind the head, too.
func Mend(b []byte) {
	if len(b) < HeadSize {
		return
	}
	h := flat.Head[head](b)
	h.Start = start
	h.Size = uint32(len(b))
	c := &Classifier{flat: b, head: h}
	if flat.View(b, h, c.arrays(h)) != nil {
		return
	}
	c.src.trie.roots, c.dst.trie.roots = h.src.roots, h.dst.roots
	if c.check() == nil {
		h.Bounds = c.bounds()
	}
}

// InFlat are the elements of a flat's arrays, and its head.
func InFlat() []any {
	return []any{
		head{}, sideHead{}, host6{}, branch{}, trieNode{}, node{}, member{}, cell{}, tableCell{}, decided{}, flat.Part{},
	}
}

// Full are copies of a flat classifier's bytes; in each, another of its hash tables has no free slot.
func Full(b []byte) (out [][]byte) {
	for i := range 3 {
		full := flat.New(len(b))
		copy(full, b)
		c, err := Read(full)
		if err != nil {
			panic(err)
		}
		switch i {
		case 0:
			fill(c.table)
		case 1:
			fill(c.src.hosts.v4)
		case 2:
			fill(c.src.hosts.v6)
		}
		out = append(out, full)
	}
	return out
}

func fill[T comparable](table []T) {
	var free, used T
	for _, e := range table {
		if e != free {
			used = e
		}
	}
	for i := range table {
		if table[i] == free {
			table[i] = used
		}
	}
}
