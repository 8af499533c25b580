package firewall

import "sluice/vnic/frame"

// What a TCP segment is for the state machine (RFC 9293 3.10.7).
type segment uint8

const (
	segmentSyn segment = iota
	segmentSynAck
	segmentFin
	segmentAck
	segmentRst
	segments
	segmentNone // flags that no stack sends
)

// segmentOf reads flags. Combinations that no stack sends are refused, as Linux does: they only serve to fingerprint and to evade.
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

// Steps that are no states: the segment has no business there; it passes and changes nothing; or it begins a new flow in the old one's
// place, which reopens asks before.
const (
	stepRefused = states + iota
	stepIgnored
	stepAnew
)

// tcpSteps is the state after a segment: by side (who began, the other), segment, and state from tcpFirst on. What passes and what does
// not is as in Linux's conntrack, so that the appliance agrees.
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

// The flags that say which segment came last, where that matters.
const flowLast = flowLastSyn | flowLastRst | flowLastRstReply

// nextTCP gives the state and flags of a flow after a segment; ok is false where the segment has no business there. Beyond the table, and
// as conntrack with the rules that NFT renders: until the other side has answered, who began may only repeat the SYN; and a SYN to a
// connection that the other side then answers in full begins it again.
func nextTCP(s state, seg segment, reply bool, flags uint8) (next state, newFlags uint8, ok bool) {
	answered := flags&flowReplied != 0
	switch {
	case seg == segmentNone:
		return s, flags, false
	case !reply && !answered && seg != segmentSyn && s == tcpFirst:
		return s, flags, false
	}
	side := 0
	if reply {
		side = 1
		if seg != segmentRst {
			flags |= flowReplied
		}
	}
	if s == tcpLastAck && seg == segmentAck && reply && flags&flowChallenge != 0 {
		return s, flags &^ flowChallenge, true // the challenge of a SYN (RFC 5961 4.2), not the ACK of a FIN
	}
	last := flags & flowLast
	flags &^= flowLast
	next = tcpSteps[side][seg][s]
	switch next {
	case stepRefused:
		return s, flags | last, false
	case stepIgnored, stepAnew:
		switch {
		case seg == segmentSyn:
			flags = flags&^(flowBoth|flowChallenge) | flowLastSyn
			if s == tcpLastAck {
				flags |= flowChallenge
			}
		case seg == segmentSynAck && last == flowLastSyn:
			return tcpOpen, flags &^ flowClosing, true
		}
		return s, flags, true
	case tcpBoth:
		flags |= flowBoth
	case tcpOpen:
		if seg == segmentAck && flags&flowBoth != 0 {
			next = tcpEstablished
		}
	case tcpFinWait:
		flags |= flowClosing
	case tcpClosed:
		if seg == segmentRst {
			flags |= []uint8{flowLastRst, flowLastRstReply}[side]
		}
	}
	return next, flags, true
}

// reopens says whether a segment is to be judged as if its flow were not known: a SYN after both sides' FIN, or after one's own RST,
// begins the connection anew; and where RST was the only answer, only that RST's own way to its guest still belongs to the flow.
func (e *flow) reopens(k *frame.Key, reply bool, d Dir) bool {
	if e.state != tcpTimeWait && e.state != tcpClosed {
		return false
	}
	seg := segmentOf(k.TCPFlags)
	switch {
	case e.state == tcpClosed && e.flags&flowReplied == 0:
		return seg != segmentRst || d == FromGuest
	case seg != segmentSyn:
		return false
	case reply:
		return e.state == tcpTimeWait && e.flags&(flowClosing|flowLastRstReply) != 0
	}
	return e.flags&(flowClosing|flowLastRst) != 0
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
