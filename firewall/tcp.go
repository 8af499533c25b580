package firewall

import "sluice/vnic/frame"

// segment is what a TCP segment is for the state machine (RFC 9293 3.10.7).
type segment uint8

const (
	segmentSyn segment = iota
	segmentSynAck
	segmentFin
	segmentAck
	segmentRst
	segments
	segmentNone = segments + iota // flags that no stack sends
)

// segmentOf reads flags. Combinations that no stack sends are refused, as Linux does: they only serve to fingerprint
// and to evade.
func segmentOf(flags uint8) segment {
	switch flags & (frame.TCPSyn | frame.TCPAck | frame.TCPFin | frame.TCPRst | frame.TCPUrg) {
	case frame.TCPSyn, frame.TCPSyn | frame.TCPUrg:
		return segmentSyn
	case frame.TCPSyn | frame.TCPAck:
		return segmentSynAck
	case frame.TCPFin | frame.TCPAck, frame.TCPFin | frame.TCPAck | frame.TCPUrg:
		return segmentFin
	case frame.TCPAck, frame.TCPAck | frame.TCPUrg:
		return segmentAck
	case frame.TCPRst, frame.TCPRst | frame.TCPAck:
		return segmentRst
	}
	return segmentNone
}

// Steps that are no states: the segment has no business there; it passes and changes nothing; or it begins a new flow
// in the old one's place, which reopens asks before.
const (
	stepRefused = states + iota
	stepIgnored
	stepAnew
)

// tcpSteps is the state after a segment: by side (who began, the other), segment, and state from tcpFirst on. What
// passes and what does not is as in Linux's conntrack, so that the appliance agrees.
var tcpSteps = func() (t [2][segments][tcpClosed + 1]state) {
	const no, ig, anew = stepRefused, stepIgnored, stepAnew
	const first, both, open, est, fin, ack, last, wait, closed = tcpFirst, tcpBoth, tcpOpen, tcpEstablished, tcpFinWait, tcpCloseWait, tcpLastAck, tcpTimeWait, tcpClosed
	for side, rows := range [2][segments][9]state{
		{
			segmentSyn:    {first, both, ig, ig, ig, ig, ig, anew, anew},
			segmentSynAck: {no, open, open, no, no, no, no, no, no},
			segmentFin:    {no, no, fin, fin, last, last, last, wait, closed},
			segmentAck:    {no, no, est, est, ack, ack, wait, wait, closed},
			segmentRst:    {closed, closed, closed, closed, closed, closed, closed, closed, closed},
		}, {
			segmentSyn:    {both, both, no, no, no, no, no, anew, no},
			segmentSynAck: {open, open, ig, ig, ig, ig, ig, ig, ig},
			segmentFin:    {no, no, fin, fin, last, last, last, wait, closed},
			segmentAck:    {ig, ig, open, est, ack, ack, wait, wait, closed},
			segmentRst:    {closed, closed, closed, closed, closed, closed, closed, closed, closed},
		},
	} {
		for seg, row := range rows {
			copy(t[side][seg][tcpFirst:], row[:])
		}
	}
	return t
}()

// tcp is a TCP flow while a segment of it is judged: a copy, for whoever only looks.
type tcp struct {
	state state
	flags uint8
	progress
}

// tcpVerdict is what becomes of a segment of a known flow.
type tcpVerdict uint8

const (
	tcpFits      tcpVerdict = iota // it passes, and is taken into account
	tcpIgnored                     // it passes; whom it is for will say what it is worth
	tcpMisfit                      // its flags do not fit the flow's state
	tcpOutside                     // it lies outside the window
	tcpTakenBack                   // a RST of whom nobody has answered yet: there is no flow any more, and it has none
)

// The last segment that mattered, in progress.last: its kind, and its side; and the window scale of a SYN that was
// ignored.
const (
	lastKind  = 1<<3 - 1
	lastReply = 1 << 3
	lastScale = 4 // shift
)

// lastWas says whether the last segment was of a kind and from a side.
func (t *tcp) lastWas(kind segment, dir uint8) bool {
	return t.last&(lastKind|lastReply) == uint8(kind)|dir*lastReply
}

func (t *tcp) setLast(s *tcpSegment) {
	t.last = t.last&^(lastKind|lastReply) | uint8(s.kind) | s.dir*lastReply
}

// step judges a segment, and takes it into account, as conntrack with the rules that NFT renders. Beyond the table of
// states: until the other side has answered, who began may only repeat the SYN; a SYN to a connection passes, and
// begins it again where the other side answers it; and a RST must be for what the other side waits for.
func (t *tcp) step(s *tcpSegment) tcpVerdict {
	unanswered := s.dir == 0 && t.flags&flowReplied == 0 && t.state == tcpFirst
	switch {
	case s.kind == segmentNone:
		return tcpMisfit
	case unanswered && s.kind == segmentRst && t.judge(s) == tcpFits:
		return tcpTakenBack
	case unanswered && s.kind != segmentSyn:
		return tcpMisfit
	}
	v := t.judge(s)
	if s.dir == 1 && (v == tcpIgnored || v == tcpFits && (s.kind != segmentRst || t.flags&flowReplied != 0)) {
		t.flags |= flowReplied
	}
	return v
}

func (t *tcp) judge(s *tcpSegment) tcpVerdict {
	old, next := t.state, tcpSteps[s.dir][s.kind][t.state]
	switch {
	case next == stepRefused:
		return tcpMisfit
	case next == stepIgnored || next == stepAnew:
		if s.kind != segmentSynAck || !t.lastWas(segmentSyn, 1-s.dir) || s.ack != t.lastEnd {
			t.ignore(s)
			return tcpIgnored
		}
		t.resync(s.dir)
		old, next = tcpFirst, tcpOpen
	case next == tcpTimeWait && old == tcpLastAck && s.kind == segmentAck && t.flags&flowChallenge != 0 && t.lastWas(segmentSyn, 1-s.dir):
		t.flags &^= flowChallenge // the challenge of a SYN (RFC 5961 4.2), not the ACK of a FIN
		return tcpIgnored
	case next == tcpBoth:
		t.flags |= flowBoth
	case next == tcpOpen && s.dir == 1 && s.kind == segmentAck && t.flags&flowBoth != 0:
		next = tcpEstablished
	case s.kind == segmentRst:
		var how rstKind
		if next, how = t.reset(s); how == rstForged {
			return tcpOutside
		} else if how == rstBelieved {
			return t.enter(s, old, next)
		}
	}
	switch t.inWindow(s, t.state == tcpFirst || t.state == tcpOpen, t.state == tcpFirst) {
	case fitIgnored:
		return tcpIgnored
	case fitOutside:
		t.distrust(s)
		return tcpOutside
	}
	return t.enter(s, old, next)
}

// enter takes a segment's new state.
func (t *tcp) enter(s *tcpSegment, old, next state) tcpVerdict {
	t.setLast(s)
	if next == tcpFinWait && old != next {
		t.flags |= flowClosing
	}
	if t.flags&flowReplied != 0 && next == tcpEstablished && (old == tcpOpen || old == tcpEstablished) {
		t.flags |= flowAssured
	}
	t.state = next
	return tcpFits
}

// distrust takes a note of a FIN or RST outside its window.
func (t *tcp) distrust(s *tcpSegment) {
	answer := t.lastWas(segmentFin, 1-s.dir) || t.lastWas(segmentRst, 1-s.dir)
	if t.flags&flowAssured != 0 && (s.kind == segmentFin || s.kind == segmentRst) && !answer {
		t.setLast(s)
	}
}

// ignore takes a note of a segment that the flow's ends may understand better than we do.
func (t *tcp) ignore(s *tcpSegment) {
	t.setLast(s)
	t.lastEnd, t.lastWin = s.end, s.win
	switch {
	case s.kind == segmentSyn && s.dir == 0:
		t.flags &^= flowBoth | flowChallenge | flowLastScaled | flowLastSACK
		said := handshakeOptions(s.options)
		t.last = t.last&(lastKind|lastReply) | said&windowScale<<lastScale
		if said&windowScaled != 0 {
			t.flags |= flowLastScaled
		}
		if said&windowSACK != 0 {
			t.flags |= flowLastSACK
		}
		if t.state == tcpLastAck {
			t.flags |= flowChallenge
		}
	case s.kind == segmentAck && s.dir == 1 && t.state == tcpFirst:
		t.side[1].maxAck = s.ack // not set otherwise before the answer; the RST to it must say the same
	}
}

// resync begins a flow again whose SYN was ignored, and is now answered.
func (t *tcp) resync(answering uint8) {
	began := 1 - answering
	t.side[began] = window{end: t.lastEnd, maxEnd: t.lastEnd, maxWin: max(uint32(t.lastWin), 1)}
	t.options[began] = t.last >> lastScale
	if t.flags&flowLastScaled != 0 {
		t.options[began] |= windowScaled
	}
	if t.flags&flowLastSACK != 0 {
		t.options[began] |= windowSACK
	}
	t.side[answering] = window{}
	t.options[answering] &= windowLiberal
	t.flags &^= flowClosing | flowChallenge
}

// rstKind is what a RST's numbers say of it.
type rstKind uint8

const (
	rstUnsure   rstKind = iota // the window decides
	rstBelieved                // it answers something that was let through unjudged, or the flow is ending anyway
	rstForged                  // from before what was acknowledged
)

// reset judges a RST, and gives the state after it. In an established flow a RST that is not exactly what the other
// side waits for ends nothing: it is answered with a challenge (RFC 5961 3.2).
func (t *tcp) reset(s *tcpSegment) (next state, how rstKind) {
	if t.state >= tcpFinWait {
		return tcpClosed, rstBelieved
	}
	next = tcpClosed
	last := segment(t.last & lastKind)
	established := t.state == tcpEstablished && t.flags&flowAssured != 0
	if t.options[1-s.dir]&windowAcked != 0 && last != segmentSyn {
		acked := t.side[1-s.dir].maxAck
		switch {
		case s.seq == 0 && !established:
			return next, rstUnsure
		case seqBefore(s.seq, acked):
			return next, rstForged
		case !established, s.seq == acked, t.lastWas(segmentAck, s.dir) && s.seq == t.lastEnd:
			return next, rstUnsure
		}
		next = t.state
	}
	answers := t.flags&flowReplied != 0 && t.lastWas(segmentSyn, 1-s.dir) || t.flags&flowAssured == 0 && last == segmentAck
	if answers && s.ack == t.lastEnd || t.state == tcpFirst && t.lastWas(segmentAck, 1) && s.seq == t.side[1].maxAck {
		return next, rstBelieved
	}
	return next, rstUnsure
}

// reopens says whether a segment is to be judged as if its flow were not known: a SYN after both sides' FIN, or after
// one's own RST, begins the connection anew; and where RST was the only answer, only that RST's own way to its guest
// still belongs to the flow.
func (e *entry) reopens(k *frame.Key, reply bool, d Dir) bool {
	if e.state != tcpTimeWait && e.state != tcpClosed {
		return false
	}
	seg := segmentOf(k.TCPFlags)
	ownRST := e.last&(lastKind|lastReply) == uint8(segmentRst)
	switch {
	case e.state == tcpClosed && e.flags&flowReplied == 0:
		return seg != segmentRst || d == FromGuest
	case seg != segmentSyn:
		return false
	case reply:
		ownRST = e.last&(lastKind|lastReply) == uint8(segmentRst)|lastReply
		return e.state == tcpTimeWait && (e.flags&flowClosing != 0 || ownRST)
	}
	return e.flags&flowClosing != 0 || ownRST
}

// beginTCP says in which state a TCP segment begins a flow, and whether it may.
func (p *Program) beginTCP(k *frame.Key) (start state, ok bool) {
	switch segmentOf(k.TCPFlags) {
	case segmentSyn:
		return tcpFirst, true
	case segmentAck:
		return tcpEstablished, p.policy.Midstream
	}
	return tcpFirst, false
}

// begin learns a flow's windows from the segment that begins it. What begins in the middle has no window scale, so its
// windows are not held against it.
func (p *progress) begin(s *tcpSegment) {
	p.opening(s)
	p.last = uint8(s.kind)
	if s.kind == segmentSyn {
		return
	}
	p.side[0].maxEnd = s.end + p.side[0].maxWin
	p.options = [2]uint8{windowSACK, windowSACK}
	p.unchecked()
	p.inWindow(s, false, false)
}

// unchecked says that the flow's windows are not known well enough to be held against it.
func (p *progress) unchecked() {
	p.options[0] |= windowLiberal
	p.options[1] |= windowLiberal
}
