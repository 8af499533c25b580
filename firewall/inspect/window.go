package inspect

import "bytes"

// window is one direction of a TCP conversation: all bytes that were let through and that their receiver has not
// acknowledged yet. What the receiver may have got is always known, in whatever order it came; so nothing has to wait,
// a retransmission is compared with what it repeats, and a signature is found by the segment that completes it.
//
// Bytes that are acknowledged are past: no TCP takes them a second time. The receiver is believed, not the sender: only
// an acknowledgement moves the window, or the receiver's own SYN, which says that it has nothing yet. An
// acknowledgement from outside of the window says that the conversation is another, or has gone on unseen.
type window struct {
	spans []span // in order, apart from each other; the first may be empty, and holds the state at lo
	ring  []byte // a byte's place is its sequence number modulo the length, a power of two
	lo    uint32 // all before is acknowledged, if firm; else nothing before was seen
	tail  uint32 // bytes before lo that ring still has, for what looks back
	fin   uint32 // the sequence number of its FIN
	open  uint32 // the sequence number of its first byte, as its SYN said
	seen  bool   // lo is meant
	firm  bool
	ended bool // fin is meant
	began bool // open is meant
	done  bool // the receiver takes no more
}

// span is bytes that were let through, and the automaton's state after them.
type span struct {
	from, to uint32
	state    uint32
}

const (
	// maxWindow is how many bytes may be on their way to the receiver unacknowledged. More are dropped, as by a full
	// queue.
	maxWindow = maxRing - maxBehind
	maxRing   = 1 << 20
	minRing   = 1 << 12
	maxSpans  = 128 // islands of bytes that came out of order
)

// after is a-b in the arithmetic of sequence numbers (RFC 9293 3.4).
func after(a, b uint32) int { return int(int32(a - b)) }

func (w *window) hi() uint32 {
	if n := len(w.spans); n > 0 {
		return w.spans[n-1].to
	}
	return w.lo
}

// acked believes the receiver about what it has, and says whether that puts the window to another place. keep is
// how many bytes before it are still of use.
func (w *window) acked(ack, keep uint32) (moved bool) {
	if w.ended && ack == w.fin+1 && w.fin == w.hi() {
		ack, w.done = w.fin, true
	}
	d := after(ack, w.lo)
	switch {
	case w.seen && d >= 0 && after(ack, w.hi()) <= 0:
		w.advance(ack, keep)
	case w.seen && d < 0 && d >= -maxWindow:
		if !w.firm { // the first bytes that were seen were not the first on their way
			w.lo, w.tail = ack, 0
		}
	default:
		w.place(ack)
		moved = true
	}
	w.firm = true
	return moved
}

// place begins anew at a sequence number.
func (w *window) place(seq uint32) {
	w.spans, w.lo, w.tail = w.spans[:0], seq, 0
	w.seen, w.firm, w.ended, w.done = true, false, false, false
}

// reset forgets everything: where the stream goes on is not known.
func (w *window) reset() { *w = window{spans: w.spans[:0], ring: w.ring} }

// advance forgets what is acknowledged, but for a tail.
func (w *window) advance(ack, keep uint32) {
	drop := 0
	for drop < len(w.spans) && after(w.spans[drop].to, ack) < 0 {
		drop++
	}
	if drop > 0 {
		w.spans = append(w.spans[:0], w.spans[drop:]...)
	}
	kept := uint32(0)
	if len(w.spans) > 0 && after(w.spans[0].from, ack) <= 0 {
		kept = min(keep, w.behind(0, ack))
		w.spans[0].from = ack
	}
	w.lo, w.tail = ack, kept
}

// behind is how many bytes before seq, which lies in span i or at its end, are known without a gap.
func (w *window) behind(i int, seq uint32) uint32 {
	n := seq - w.spans[i].from
	if w.spans[i].from == w.lo {
		n += w.tail
	}
	return n
}

// touching finds the spans that overlap or touch a range.
func (w *window) touching(from, to uint32) (first, last int) {
	for first < len(w.spans) && after(w.spans[first].to, from) < 0 {
		first++
	}
	last = first
	for last < len(w.spans) && after(w.spans[last].from, to) <= 0 {
		last++
	}
	return first, last
}

// same says whether bytes at seq are what was let through before, where they overlap it.
func (w *window) same(first, last int, seq uint32, b []byte) bool {
	end := seq + uint32(len(b))
	for _, s := range w.spans[first:last] {
		from, to := s.from, s.to
		if after(seq, from) > 0 {
			from = seq
		}
		if after(end, to) < 0 {
			to = end
		}
		if after(to, from) <= 0 {
			continue
		}
		one, two := w.bytes(from, to)
		mine := b[from-seq : to-seq]
		if !bytes.Equal(one, mine[:len(one)]) || !bytes.Equal(two, mine[len(one):]) {
			return false
		}
	}
	return true
}

// bytes is what the ring has of a range: two pieces where it goes around.
func (w *window) bytes(from, to uint32) (one, two []byte) {
	if from == to {
		return nil, nil
	}
	mask := uint32(len(w.ring) - 1)
	at, n := from&mask, to-from
	if at+n <= uint32(len(w.ring)) {
		return w.ring[at : at+n], nil
	}
	return w.ring[at:], w.ring[:at+n-uint32(len(w.ring))]
}

// put remembers bytes at seq, as one span with those that they touch.
func (w *window) put(first, last int, seq uint32, b []byte, state uint32) {
	one, two := w.bytes(seq, seq+uint32(len(b)))
	copy(one, b)
	copy(two, b[len(one):])
	s := span{seq, seq + uint32(len(b)), state}
	if first == last {
		w.spans = append(w.spans, span{})
		copy(w.spans[first+1:], w.spans[first:])
		w.spans[first] = s
		return
	}
	if from := w.spans[first].from; after(from, s.from) < 0 {
		s.from = from
	}
	if to := w.spans[last-1].to; after(to, s.to) > 0 {
		s.to = to
	}
	w.spans[first] = s
	w.spans = append(w.spans[:first+1], w.spans[last:]...)
}

// spread is how many bytes lie between the window's beginning and its end once bytes up to end are in it.
func (w *window) spread(end uint32) int { return max(after(end, w.lo), after(w.hi(), w.lo)) }

// room is how long the ring must be for that.
func (w *window) room(end uint32) int {
	n := max(len(w.ring), minRing)
	for n < w.spread(end)+int(w.tail) {
		n *= 2
	}
	return n
}

// grow makes the ring longer.
func (w *window) grow(n int) {
	old := window{ring: w.ring}
	w.ring = make([]byte, n)
	move := func(from, to uint32) {
		one, two := old.bytes(from, to)
		a, b := w.bytes(from, to)
		k := copy(a, one)
		k2 := copy(a[k:], two)
		copy(b[copy(b, one[k:]):], two[k2:])
	}
	if len(old.ring) == 0 {
		return
	}
	move(w.lo-w.tail, w.lo)
	for _, s := range w.spans {
		move(s.from, s.to)
	}
}

// matters says whether there is anything that must not be forgotten: bytes that a receiver has which may take more.
func (w *window) matters() bool { return len(w.spans) > 0 && !w.done }

// idle says whether nothing is on its way, and nothing has to be kept in the ring.
func (w *window) idle() bool { return w.tail == 0 && w.hi() == w.lo && len(w.spans) <= 1 }
