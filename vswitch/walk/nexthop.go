package walk

import (
	"sluice/vnic/frame"
	"sluice/vswitch/measure"
)

// nextHop is who has an address on a segment: by what ARP and ND have said, else by the plan. known is false where
// neither says.
func (w *Walker) nextHop(seg frame.SegmentID, a frame.Addr, planned Host, isPlanned bool) (h Host, known bool) {
	n := w.core.neighbours
	if isPlanned && !n.claimed.Load() {
		return planned, true
	}
	key := neighbourKey{seg, a}
	e, stale := n.lookup(key, w.cx.Now)
	if e == nil {
		return planned, isPlanned
	}
	if stale && !w.dry {
		if send, _, _ := n.ask(key, w.from, w.cx.Now, nil); send {
			w.ask(seg, a)
		}
	}
	return Host{Port: w.behind(seg, e.mac(), e.port()), Segment: seg, MAC: e.mac()}, true
}

// behind is the port of a MAC: where frames from it were seen last, else that of the guest whose it is by the plan,
// else the one that named it.
func (w *Walker) behind(seg frame.SegmentID, m frame.MAC, named frame.PortID) frame.PortID {
	if at := w.core.fdb.lookup(&w.plan.Segments[seg], m, w.cx.Now); at != 0 {
		return at
	}
	if at, ok := w.plan.MACs[MACKey(seg, m)]; ok {
		return at
	}
	return named
}

// unresolved asks for a neighbour, and keeps the packet until it answers, or has not.
func (w *Walker) unresolved(f *frame.Frame, k *frame.Key, seg frame.SegmentID) frame.Reason {
	if w.dry {
		w.say("neighbour", func() string {
			return "nobody is known to have " + k.Dst.IP().String() + ": it is asked for, and the packet waits"
		})
		return w.because("neighbour", frame.ReasonNoNeighbour)
	}
	var keep *waiting
	if !w.releasing {
		keep = &waiting{frame: &frame.Frame{}, bytes: w.sent, came: w.port, from: w.from, epoch: w.plan.Epoch}
		keep.frame.CopyFrom(f)
	}
	send, kept, givenUp := w.core.neighbours.ask(neighbourKey{seg, k.Dst}, w.from, w.cx.Now, keep)
	if send {
		w.ask(seg, k.Dst)
	}
	w.waits = kept
	for _, g := range givenUp {
		w.enter(g, frame.ReasonNoNeighbour, 0)
	}
	return frame.ReasonNoNeighbour
}

// enter puts a packet that has waited into the books: with the copies that went on of it, or why it went nowhere.
func (w *Walker) enter(g waiting, r frame.Reason, tried int) {
	c := w.countersOf(g.came)
	if c == nil {
		return
	}
	c.inFrames.Add(1)
	c.inBytes.Add(g.bytes)
	if tried == 0 {
		c.dropped[r].Add(1)
	} else {
		c.copies.Add(uint64(tried - 1))
	}
}

// release sends on what has waited for a neighbour that has just answered. What another plan let in is not sent by this
// one.
func (w *Walker) release() {
	freed := w.freed
	w.freed, w.releasing = nil, true
	for _, g := range freed {
		w.tried, w.mark, w.from, w.cx.From = 0, measure.NoMark, g.from, g.from
		reason := frame.ReasonNoNeighbour
		if p := w.plan.Port(g.from); p != nil && g.epoch == w.plan.Epoch && frame.Parse(g.frame, &w.key) == frame.ReasonNone {
			reason = w.routeIP(g.frame, &w.key, p, &w.plan.Segments[p.Segment])
		}
		w.enter(g, reason, w.tried)
	}
	w.releasing, w.cx.From = false, w.port
}

// giveUp answers what has waited for a neighbour that nobody is.
func (w *Walker) giveUp(waited []waiting) {
	for _, g := range waited {
		w.from = g.from
		if w.plan.Port(g.from) != nil && g.epoch == w.plan.Epoch && frame.Parse(g.frame, &w.key) == frame.ReasonNone {
			w.sendICMPError(g.frame, &w.key, noHost, 0)
		}
		w.enter(g, frame.ReasonNoNeighbour, 0)
	}
}

// atOnce bounds how many questions one round settles: each is one frame of a batch's answers.
const atOnce = answerRoom / keptPerAddress

// Settle asks again for those neighbours that have not answered, and gives up where nobody has. The outputs are the
// switch's own words, for as many questions as a batch has room for; due says whether there were any. It is called
// between Begin and End of a walker of port 0.
func (w *Walker) Settle() (outputs []Output, due bool) {
	w.outputs = w.outputs[:0]
	again, failed := w.core.neighbours.due(w.cx.Now, atOnce)
	for _, k := range again {
		if int(k.segment) < len(w.plan.Segments) {
			w.ask(k.segment, k.addr)
		}
	}
	for _, waited := range failed {
		w.giveUp(waited)
	}
	return w.outputs, len(again)+len(failed) > 0
}
