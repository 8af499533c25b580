package measure

import (
	"cmp"
	"slices"
)

// matched says what became of the frames of one direction of a flow.
type matched struct {
	arrived               []bool // by index of the frames that entered
	duplicated, reordered int
}

// match finds the delivery of each frame that entered. Both lists are in order of time. Deliveries of what entered
// before the ledger began have no partner, and say nothing.
func match(entered, delivered []Record) matched {
	m := matched{arrived: make([]bool, len(entered))}
	var segments, whole matcher
	for i, e := range entered {
		if e.Print.Len > 0 {
			segments.entered = append(segments.entered, i)
		} else {
			whole.entered = append(whole.entered, i)
		}
	}
	for i, d := range delivered {
		if d.Print.Len > 0 {
			segments.delivered = append(segments.delivered, i)
		} else {
			whole.delivered = append(whole.delivered, i)
		}
	}
	whole.frames(entered, delivered, &m)
	segments.ranges(entered, delivered, &m)
	return m
}

// matcher holds the indices of the records of one kind.
type matcher struct{ entered, delivered []int }

// frames matches frames one to one by their hash, oldest first.
func (t matcher) frames(entered, delivered []Record, m *matched) {
	waiting := map[uint64][]int{} // by Hash: frames that entered, once for each copy that was made
	first := map[uint64]int64{}   // by Hash: when the first one entered
	for _, i := range t.entered {
		e := &entered[i]
		if _, ok := first[e.Print.Hash]; !ok {
			first[e.Print.Hash] = e.At
		}
		for range max(1, e.Copies) {
			waiting[e.Print.Hash] = append(waiting[e.Print.Hash], i)
		}
	}
	latest := -1
	for _, j := range t.delivered {
		d := &delivered[j]
		q := waiting[d.Print.Hash]
		if at, ok := first[d.Print.Hash]; !ok || at > d.At {
			continue
		}
		if len(q) == 0 || entered[q[0]].At > d.At {
			m.duplicated++
			continue
		}
		waiting[d.Print.Hash] = q[1:]
		m.arrived[q[0]] = true
		if q[0] < latest {
			m.reordered++
		}
		latest = max(latest, q[0])
	}
}

// ranges matches TCP segments by the bytes that they carry: the way may have split or joined them. Each byte that
// entered n times is expected n times.
func (t matcher) ranges(entered, delivered []Record, m *matched) {
	if len(t.entered) == 0 {
		return
	}
	base := entered[t.entered[0]].Print.Seq
	in, out := spans(entered, t.entered, base), spans(delivered, t.delivered, base)
	order := slices.Clone(in)
	slices.SortStableFunc(order, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	out = slices.DeleteFunc(out, func(s span) bool { return carrier(order, s) < 0 })
	cuts := cutsOf(in, out)
	sent, got := coverage(in, cuts), coverage(out, cuts)

	// A frame that entered is missing if one of its pieces came out fewer times than it went in. The latest of those
	// that carried the piece is called the missing one: the earlier ones had more time to arrive.
	missing := make([]int, len(sent))
	for i := range sent {
		missing[i] = max(0, sent[i]-got[i])
	}
	for n := len(in) - 1; n >= 0; n-- {
		m.arrived[in[n].index] = !takePiece(missing, cuts, in[n])
	}
	// A delivery is one too many if one of its pieces came out more often than it went in, of those that went in at
	// all.
	extra := make([]int, len(sent))
	for i := range sent {
		if sent[i] > 0 {
			extra[i] = max(0, got[i]-sent[i])
		}
	}
	for n := len(out) - 1; n >= 0; n-- {
		if takePiece(extra, cuts, out[n]) {
			m.duplicated++
		}
	}
	m.reordered += overtaken(order, out)
}

// span is a TCP segment's payload, in bytes from the first one that was seen. Sequence numbers wrap; a window of a
// change is far shorter than half their space.
type span struct {
	from, to int64
	at       int64 // monotonic ns
	index    int
}

func spans(records []Record, indices []int, base uint32) []span {
	s := make([]span, len(indices))
	for n, i := range indices {
		from := int64(int32(records[i].Print.Seq - base))
		s[n] = span{from, from + int64(records[i].Print.Len), records[i].At, i}
	}
	return s
}

// cutsOf lists every boundary, in order, so that no span begins or ends inside a piece between two of them.
func cutsOf(lists ...[]span) []int64 {
	var cuts []int64
	for _, l := range lists {
		for _, s := range l {
			cuts = append(cuts, s.from, s.to)
		}
	}
	slices.Sort(cuts)
	return slices.Compact(cuts)
}

// pieces is the range of pieces that a span covers; piece i lies between cuts i and i+1.
func pieces(cuts []int64, s span) (first, end int) {
	first, _ = slices.BinarySearch(cuts, s.from)
	end, _ = slices.BinarySearch(cuts, s.to)
	return first, end
}

// coverage counts how many spans cover each piece.
func coverage(list []span, cuts []int64) []int {
	n := make([]int, len(cuts))
	for _, s := range list {
		first, end := pieces(cuts, s)
		n[first]++
		n[end]--
	}
	for i := 1; i < len(n); i++ {
		n[i] += n[i-1]
	}
	return n
}

// takePiece says whether a span covers a piece that still counts, and takes one from all of those.
func takePiece(count []int, cuts []int64, s span) (any bool) {
	first, end := pieces(cuts, s)
	for i := first; i < end; i++ {
		if count[i] > 0 {
			count[i]--
			any = true
		}
	}
	return any
}

// overtaken counts deliveries that came after one that was sent later. order is what entered, by its first byte.
func overtaken(order, out []span) (n int) {
	latest := -1
	for _, d := range out {
		i := carrier(order, d)
		if i < latest {
			n++
		}
		latest = max(latest, i)
	}
	return n
}

// carrier is the index of the frame that a delivery's first byte came with: the last one that carried it and had
// entered by then, so that a retransmission, which is late by nature, overtakes nobody. -1 is none. The search looks
// only as far back as the longest segment reaches.
func carrier(order []span, d span) int {
	const longest = 1 << 16
	end, _ := slices.BinarySearchFunc(order, d.from+1, func(s span, t int64) int { return cmp.Compare(s.from, t) })
	found := -1
	for n := end - 1; n >= 0 && order[n].from > d.from-longest; n-- {
		if order[n].to > d.from && order[n].at <= d.at {
			found = max(found, order[n].index)
		}
	}
	return found
}
