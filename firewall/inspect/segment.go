package inspect

import (
	"time"

	"sluice/vnic/frame"
)

// segment judges a TCP segment: its flags, what it acknowledges, and the bytes that it carries.
func (i *Inspector) segment(now time.Time, f *frame.Frame, k *frame.Key, fl *flow, dir int) frame.Verdict {
	w, back := &fl.ways[dir], &fl.ways[1-dir]
	b := payload(f, k)
	if a, bad := oddSegment(k, w, len(b)); bad {
		if verdict := i.odd(now, a, k); verdict != frame.VerdictPass {
			return verdict
		}
	}
	if heed(k, w, back, i.config.behind) && fl.verdict == frame.VerdictReset && fl.guilty != dir {
		*fl = flow{key: fl.key, last: fl.last, used: true, ways: fl.ways} // another conversation of the same ends
	}
	if fl.verdict == frame.VerdictReset && (len(b) > 0 || k.TCPFlags&frame.TCPSyn == 0) {
		return fl.verdict
	}
	if begins(k) {
		fl.clean, fl.judged = false, 0
	}
	if len(b) > 0 {
		if verdict := i.stream(now, w, b, k); verdict != frame.VerdictPass {
			return verdict
		}
		fl.judged += uint64(len(b))
	}
	note(k, w, back, len(b))
	return frame.VerdictPass
}

// begins says whether a segment asks for a new conversation.
func begins(k *frame.Key) bool {
	return k.Proto == frame.ProtoTCP && k.Has(frame.KeyL4) && k.TCPFlags&(frame.TCPSyn|frame.TCPAck) == frame.TCPSyn
}

// oddSegment finds what is wrong with a segment before its bytes are looked at.
func oddSegment(k *frame.Key, w *window, n int) (anomaly, bool) {
	const syn, fin, rst, ack, urg = frame.TCPSyn, frame.TCPFin, frame.TCPRst, frame.TCPAck, frame.TCPUrg
	switch flags := k.TCPFlags & (syn | fin | rst | ack); {
	case flags&syn != 0 && n > 0:
		return synData, true
	case k.TCPFlags&urg != 0 && n > 0:
		return urgentData, true
	case flags != syn && flags != syn|ack && flags != ack && flags != fin|ack && flags != rst && flags != rst|ack:
		return badFlags, true
	case n > 0 && w.ended && after(k.Seq+uint32(n), w.fin) > 0:
		return afterFin, true
	}
	return 0, false
}

// heed believes what a segment says that its sender has of the other way's stream, and says whether that is now another
// stream. A SYN says that it has nothing yet. One that comes once more says nothing: the sender has gone on since.
func heed(k *frame.Key, w, back *window, keep uint32) (moved bool) {
	syn, ack := k.TCPFlags&frame.TCPSyn != 0, k.TCPFlags&frame.TCPAck != 0
	again := syn && w.began && w.open == k.Seq+1
	if syn {
		w.open, w.began = k.Seq+1, true
	}
	switch {
	case again:
	case syn && !ack:
		back.reset()
	case syn && back.seen && back.firm && k.Ack == back.lo: // what has passed since may have arrived
	case syn:
		back.place(k.Ack)
		back.firm = true
		return true
	case ack:
		return back.acked(k.Ack, keep)
	}
	return false
}

// note remembers what a segment that passes says of the conversation's end. That a side takes no more is believed only
// where it says so itself.
func note(k *frame.Key, w, back *window, n int) {
	if k.TCPFlags&frame.TCPFin != 0 && !w.ended {
		w.fin, w.ended = k.Seq+uint32(n), true
	}
	if k.TCPFlags&frame.TCPRst != 0 {
		back.done = true
	}
}

const httpPort = 80

// request says whether b may be how an HTTP request begins: a method in capitals, and a space (RFC 9110 9.1).
func request(b []byte) bool {
	const longest = 16
	for n, c := range b {
		switch {
		case c == ' ':
			return n > 0
		case c < 'A' || c > 'Z' || n == longest:
			return false
		}
	}
	return true
}

// stream judges the bytes of a segment together with those before and behind it that were let through, and remembers
// them if they may pass.
func (i *Inspector) stream(now time.Time, w *window, b []byte, k *frame.Key) frame.Verdict {
	seq, n := k.Seq, uint32(len(b))
	if w.began && seq == w.open && k.DstPort == httpPort && !request(b) {
		if verdict := i.odd(now, notHTTP, k); verdict != frame.VerdictPass {
			return verdict
		}
	}
	if !w.seen {
		w.place(seq)
	}
	w.done = false
	switch d := after(seq, w.lo); {
	case d < -maxWindow || d > maxWindow:
		return i.odd(now, outOfWindow, k)
	case d < 0 && !w.firm:
		w.lo, w.tail = seq, 0
	case d < 0 && after(seq+n, w.lo) <= 0:
		return frame.VerdictPass // the receiver has it, and says so again
	case d < 0:
		b, seq = b[-d:], w.lo
	}
	end := k.Seq + n
	if w.spread(end) > maxWindow {
		return i.odd(now, outOfWindow, k)
	}
	first, last := w.touching(seq, end)
	if !w.same(first, last, seq, b) {
		return i.odd(now, retransmission, k)
	}
	if first < last && after(w.spans[first].from, seq) <= 0 && after(w.spans[first].to, end) >= 0 {
		return frame.VerdictPass // all of it once more
	}
	state, verdict := i.look(now, w, &piece{k, seq, b, first, last})
	if verdict != frame.VerdictPass {
		return verdict
	}
	if !i.table.reserve(w, end) || first == last && len(w.spans) >= maxSpans {
		i.counts.noMemory++
		return frame.VerdictDrop
	}
	w.put(first, last, seq, b, state)
	return frame.VerdictPass
}

// piece is the bytes of a segment that are new to a window, from seq on, and the spans first to last that they touch.
type piece struct {
	key         *frame.Key
	seq         uint32
	bytes       []byte
	first, last int
}

// touches says whether there is a span that the piece touches.
func (p *piece) touches() bool { return p.first < p.last }

// skip leaves out what comes before a sequence number.
func (p *piece) skip(to uint32) { p.bytes, p.seq = p.bytes[to-p.seq:], to }

// look searches a piece for signatures that it completes. The state is that after the span that it and those that it
// touches would become.
func (i *Inspector) look(now time.Time, w *window, p *piece) (uint32, frame.Verdict) {
	state, end := uint32(0), p.seq+uint32(len(p.bytes))
	if p.touches() && after(w.spans[p.first].from, p.seq) <= 0 {
		state = w.spans[p.first].state
		p.skip(w.spans[p.first].to)
	}
	state, found := i.scan(state, p.bytes, p.key)
	var next *span
	if found < 0 && p.touches() && after(w.spans[p.last-1].to, end) > 0 {
		next = &w.spans[p.last-1]
		state, found = i.scanInto(w, state, end, next, p.key)
	}
	if found < 0 && len(i.config.regexes) > 0 {
		found = i.match(w, p, next)
	}
	if found >= 0 {
		return 0, i.found(now, found, p.key)
	}
	return state, frame.VerdictPass
}

// scanInto goes on into a span that is there already, as far as what begins before it can reach. What then follows was
// looked at with the same state.
func (i *Inspector) scanInto(w *window, state, end uint32, next *span, k *frame.Key) (uint32, int) {
	far := min(next.to-end, uint32(i.config.strings.longest))
	one, two := w.bytes(end, end+far)
	state, found := i.scan(state, one, k)
	if found < 0 {
		state, found = i.scan(state, two, k)
	}
	if end+far != next.to {
		state = next.state
	}
	return state, found
}

// match looks for regular expressions in a piece, and in what lies around it without a gap.
func (i *Inspector) match(w *window, p *piece, next *span) (found int) {
	text := i.text[:0]
	if p.touches() && after(w.spans[p.first].from, p.seq) <= 0 {
		one, two := w.bytes(p.seq-min(w.behind(p.first, p.seq), maxBehind), p.seq)
		text = append(append(text, one...), two...)
	}
	text = append(text, p.bytes...)
	if next != nil {
		end := p.seq + uint32(len(p.bytes))
		one, two := w.bytes(end, end+min(next.to-end, maxBehind))
		text = append(append(text, one...), two...)
	}
	for _, n := range i.config.regexes {
		if s := &i.config.signatures[n]; s.applies(p.key) && s.regex.Match(text) {
			return n
		}
	}
	return -1
}
