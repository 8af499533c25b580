package firewall

import (
	"encoding/binary"

	"sluice/vnic/frame"
)

// window is what is known of the sequence space of one side of a TCP flow. The rules are those of Linux's conntrack,
// which has them from "Real Stateful TCP Packet Filtering in IP Filter" (Guido van Rooij): a segment must lie between
// what its sender was offered and what its receiver may still ask for again, and acknowledge what was sent, and not too
// long ago.
type window struct {
	end    uint32 // the highest sequence number that the side has sent, and one
	maxEnd uint32 // the highest that the other side has offered to take, and one
	maxWin uint32 // the largest window that the side has offered, scaled; 0: nothing of it was seen yet
	maxAck uint32 // the highest that the side has acknowledged, where windowAcked is set
}

// The flags of a side, beside its window scale in the low bits.
const (
	windowScale   = 1<<4 - 1
	windowScaled  = 1 << 4 // it sent the option
	windowSACK    = 1 << 5 // it takes selective acknowledgements
	windowLiberal = 1 << 6 // what it sends is not held against the window: its beginning was not seen
	windowAcked   = 1 << 7 // maxAck is set
)

const (
	maxScale = 14 // RFC 7323 2.3
	// ackWindow is how far an acknowledgement may lag behind, whatever windows are.
	ackWindow = 66000
)

// seqAfter says whether one sequence number is after another. They wrap: it is less than half of them ahead.
func seqAfter(a, b uint32) bool  { return int32(b-a) < 0 }
func seqBefore(a, b uint32) bool { return int32(a-b) < 0 }

// tcpSegment is what the windows need of a segment.
type tcpSegment struct {
	kind          segment
	dir           uint8  // 0 is who began the flow
	flags         uint8  // of the header
	win           uint16 // as in the header
	seq, end, ack uint32 // a frame that stands for several segments is one long one
	options       []byte
	liberal       bool // the policy lets pass what is outside its window
}

// segment reads a segment. Where the frame is not there, its options are none.
func (p *Program) segment(cx *Context, k *frame.Key, reply bool) (s tcpSegment) {
	s = tcpSegment{kind: segmentOf(k.TCPFlags), flags: k.TCPFlags, win: k.Window, seq: k.Seq, ack: k.Ack, liberal: p.policy.Liberal}
	if reply {
		s.dir = 1
	}
	eth := cx.Eth
	s.end = k.Seq + k.PayloadLen + uint32(k.TCPFlags&frame.TCPSyn)/frame.TCPSyn + uint32(k.TCPFlags&frame.TCPFin)
	if from := int(k.L4) + 20; from < int(k.Payload) && int(k.Payload) <= len(eth) {
		s.options = eth[from:k.Payload]
	}
	return s
}

// onlyTimestamp begins the options of most segments, which then have no other (RFC 7323 appendix A).
const onlyTimestamp = 0x0101080a

// mayHaveSACK says whether a segment's options must be read for a SACK.
func mayHaveSACK(options []byte) bool {
	return len(options) > 0 && (len(options) != 12 || binary.BigEndian.Uint32(options) != onlyTimestamp)
}

// TCP options (IANA).
const (
	optionEnd, optionNop           = 0, 1
	optionScale, optionScaleLen    = 3, 3
	optionSACKOK, optionSACKOKLen  = 4, 2
	optionSACK, optionSACKBlockLen = 5, 8
)

// eachOption calls fn with the options of a header, until it says false. What is malformed ends them, as in Linux.
func eachOption(b []byte, fn func(kind uint8, value []byte) bool) {
	for len(b) > 0 {
		switch {
		case b[0] == optionEnd:
			return
		case b[0] == optionNop:
			b = b[1:]
			continue
		case len(b) < 2 || b[1] < 2 || int(b[1]) > len(b):
			return
		}
		if !fn(b[0], b[2:b[1]]) {
			return
		}
		b = b[b[1]:]
	}
}

// handshakeOptions reads what a SYN says of its side.
func handshakeOptions(options []byte) (flags uint8) {
	eachOption(options, func(kind uint8, value []byte) bool {
		switch {
		case kind == optionSACKOK && len(value)+2 == optionSACKOKLen:
			flags |= windowSACK
		case kind == optionScale && len(value)+2 == optionScaleLen:
			flags = flags&^windowScale | windowScaled | min(value[0], maxScale)
		}
		return true
	})
	return flags
}

// highestSACK is the highest right edge of the blocks in a header, or ack.
func highestSACK(options []byte, ack uint32) uint32 {
	eachOption(options, func(kind uint8, value []byte) bool {
		if kind != optionSACK || len(value) == 0 || len(value)%optionSACKBlockLen != 0 {
			return true
		}
		for ; len(value) > 0; value = value[optionSACKBlockLen:] {
			if right := binary.BigEndian.Uint32(value[4:]); seqAfter(right, ack) {
				ack = right
			}
		}
		return false
	})
	return ack
}

// opening learns a side from its SYN.
func (p *progress) opening(s *tcpSegment) {
	p.side[s.dir] = window{end: s.end, maxEnd: s.end, maxWin: max(uint32(s.win), 1), maxAck: p.side[s.dir].maxAck}
	if len(s.options) > 0 {
		p.options[s.dir] = p.options[s.dir]&windowLiberal | handshakeOptions(s.options)
	}
	if s.dir == 1 && p.options[0]&p.options[1]&windowScaled == 0 { // both or none (RFC 7323 2.2)
		p.options[0] &^= windowScale
		p.options[1] &^= windowScale
	}
}

// fit is what the windows say of a segment.
type fit uint8

const (
	fitInside  fit = iota
	fitIgnored     // old, or a little too much: it passes, and changes nothing
	fitOutside
)

// inWindow judges a segment, and learns from it where it is inside. opens says that the flow's handshake is still going
// on.
func (p *progress) inWindow(s *tcpSegment, opens, synSent bool) fit {
	from, to := &p.side[s.dir], &p.side[1-s.dir]
	ack := s.ack
	sack := ack
	if p.options[1-s.dir]&windowSACK != 0 && mayHaveSACK(s.options) {
		sack = highestSACK(s.options, ack)
	}
	syn, acks := s.flags&frame.TCPSyn != 0, s.flags&frame.TCPAck != 0
	win := uint32(s.win)
	switch {
	case from.maxWin == 0 && !syn:
		p.pickUp(s, sack)
	case from.maxWin == 0 || syn && opens && seqAfter(s.end, from.end):
		fresh := from.maxWin == 0
		p.opening(s)
		if !acks && (fresh || s.dir == 1) {
			return fitInside // simultaneous open
		}
	}
	rst := s.flags&frame.TCPRst != 0
	if !acks || rst && ack == 0 {
		ack, sack = to.end, to.end
	}
	seq, end := s.seq, s.end
	if rst && seq == 0 && synSent {
		seq, end = from.end, from.end
	}
	lag := max(from.maxWin, ackWindow)
	recent := seqAfter(sack, to.end-lag-1)
	wanted := seqAfter(end, from.end-to.maxWin-1)
	switch {
	case !seqBefore(seq, from.maxEnd+1):
		// Some send more than they may. What was sent must be known, or its acknowledgement would not fit.
		if to.maxWin != 0 && wanted && recent && end-from.maxEnd+1 <= to.maxWin && seqBefore(sack, to.end+1) {
			from.end = end
			return p.unless(s, fitIgnored)
		}
		return p.unless(s, fitOutside)
	case !seqBefore(sack, to.end+1):
		return p.unless(s, fitOutside)
	case to.maxWin != 0 && !wanted, !recent:
		return p.unless(s, fitIgnored)
	}
	if !syn {
		win <<= p.options[s.dir] & windowScale
	}
	p.learn(s, end, ack, sack, win)
	return fitInside
}

// unless says what a segment is that is not inside its window.
func (p *progress) unless(s *tcpSegment, is fit) fit {
	if s.liberal || p.options[s.dir]&windowLiberal != 0 {
		return fitInside
	}
	return is
}

// pickUp learns a side in the middle of its flow.
func (p *progress) pickUp(s *tcpSegment, sack uint32) {
	from, to := &p.side[s.dir], &p.side[1-s.dir]
	from.end = s.end
	from.maxWin = max(uint32(s.win)<<(p.options[s.dir]&windowScale), 1)
	from.maxEnd = s.end + from.maxWin
	switch {
	case to.maxWin == 0:
		to.end, to.maxEnd = sack, sack
	case sack == to.end+1:
		to.end++ // likely the answer to a keep-alive
	}
}

// learn takes in a segment that is inside its window.
func (p *progress) learn(s *tcpSegment, end, ack, sack, win uint32) {
	from, to := &p.side[s.dir], &p.side[1-s.dir]
	from.maxWin = max(from.maxWin, win+sack-ack)
	if seqAfter(end, from.end) {
		from.end = end
	}
	if s.flags&frame.TCPAck != 0 && (p.options[s.dir]&windowAcked == 0 || seqAfter(ack, from.maxAck)) {
		from.maxAck = ack
		p.options[s.dir] |= windowAcked
	}
	if to.maxWin != 0 && seqAfter(end, from.maxEnd) {
		to.maxWin += end - from.maxEnd
	}
	if seqAfter(sack+win, to.maxEnd-1) {
		to.maxEnd = sack + max(win, 1)
	}
	if s.kind == segmentAck {
		p.lastEnd, p.lastWin = s.end, s.win
	}
}

// follow takes an ACK of an established flow into account, where it is simply inside its window. It is the short way of
// step, for nearly all segments: where it says no, it has changed nothing, and where it says yes, it has changed what
// step would.
func (e *entry) follow(k *frame.Key, eth []byte, dir uint8) bool {
	from, to := &e.side[dir&1], &e.side[1-dir&1]
	options := e.options[dir&1]
	seq, ack, end := k.Seq, k.Ack, k.Seq+k.PayloadLen
	if from.maxWin == 0 || to.maxWin == 0 || !seqBefore(seq, from.maxEnd+1) || !seqBefore(ack, to.end+1) ||
		!seqAfter(end, from.end-to.maxWin-1) || !seqAfter(ack, to.end-max(from.maxWin, ackWindow)-1) || options&windowAcked == 0 {
		return false
	}
	if at := int(k.L4) + 20; e.options[1-dir&1]&windowSACK != 0 && at < int(k.Payload) && int(k.Payload) <= len(eth) && mayHaveSACK(eth[at:k.Payload]) {
		return false
	}
	win := uint32(k.Window) << (options & windowScale)
	from.maxWin = max(from.maxWin, win)
	if seqAfter(end, from.end) {
		from.end = end
	}
	if seqAfter(ack, from.maxAck) {
		from.maxAck = ack
	}
	if seqAfter(end, from.maxEnd) {
		to.maxWin += end - from.maxEnd
	}
	if seqAfter(ack+win, to.maxEnd-1) {
		to.maxEnd = ack + max(win, 1)
	}
	e.lastEnd, e.lastWin = end, k.Window
	e.last = e.last&^(lastKind|lastReply) | uint8(segmentAck) | dir*lastReply
	if e.flags&flowReplied != 0 {
		e.flags |= flowAssured
	}
	return true
}
