package firewall

import "sluice/vnic/frame"

// state is where a flow is in its life. Timeouts are those of NSX's distributed firewall (they go back to pf); names are those of
// Linux's conntrack, because flows are carried to it and back.
type state uint8

const (
	stateFree        state = iota
	tcpFirst               // SYN seen
	tcpBoth                // SYN seen from both sides (simultaneous open, RFC 9293 3.5)
	tcpOpen                // SYN and ACK seen
	tcpEstablished         // the handshake is complete
	tcpClosing             // one FIN seen
	tcpFinWait             // a FIN from each side seen
	tcpClosed              // RST seen
	datagramFirst          // UDP, ICMP and others: one packet seen
	datagramSingle         // packets from one side only
	datagramMultiple       // from both sides
	states
)

var stateNames = [states]string{
	"free", "syn-sent", "syn-sent2", "syn-recv", "established", "fin-wait", "time-wait", "close", "unreplied", "unreplied", "replied",
}

func (s state) String() string { return stateNames[s] }

const second = 1000 // in milliseconds, as flows count time

// defaultTimeouts are in milliseconds of silence.
var defaultTimeouts = [states]uint32{
	tcpFirst: 120 * second, tcpBoth: 30 * second, tcpOpen: 30 * second, tcpEstablished: 43200 * second,
	tcpClosing: 120 * second, tcpFinWait: 45 * second, tcpClosed: 20 * second,
	datagramFirst: 60 * second, datagramSingle: 30 * second, datagramMultiple: 60 * second,
}

// embryonic says whether the other side has not answered yet: the first to go where room is short.
func (s state) embryonic() bool {
	return s == tcpFirst || s == datagramFirst || s == datagramSingle
}

// over says whether the flow has ended, and is kept only for late packets.
func (s state) over() bool { return s == tcpFinWait || s == tcpClosed }

// parseState reads a FlowRecord's state; where it says nothing known, whether it was replied to must do.
func parseState(r *FlowRecord) state {
	switch {
	case r.Proto != frame.ProtoTCP && r.Replied:
		return datagramMultiple
	case r.Proto != frame.ProtoTCP:
		return datagramFirst
	case r.State == "close-wait":
		return tcpClosing
	case r.State == "last-ack":
		return tcpFinWait
	}
	for s := tcpFirst; s <= tcpClosed; s++ {
		if stateNames[s] == r.State {
			return s
		}
	}
	if r.Replied {
		return tcpEstablished
	}
	return tcpFirst
}

// What a TCP segment is for the state machine (RFC 9293 3.10.7).
type segment uint8

const (
	segmentNone segment = iota // flags that no stack sends
	segmentSyn
	segmentSynAck
	segmentFin
	segmentAck
	segmentRst
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

// nextTCP gives the state after a segment; ok is false where the segment has no business there. What passes and what does
// not is as in Linux's conntrack with the rules that NFT renders, so that the appliance agrees: among others, until the other side has
// answered, who began may only repeat the SYN; and a flow that was refused (RST is the only answer) is over at once. flags are the
// flow's; again says that this frame may have been seen before, at its other insertion point.
func nextTCP(s state, seg segment, reply, again bool, flags *uint8) (next state, ok bool) {
	answered := *flags&flowReplied != 0
	if !reply && !answered && seg != segmentSyn && (s == tcpFirst || s == tcpClosed) {
		return s, false
	}
	if reply && !answered && s == tcpClosed {
		return s, again && seg == segmentRst
	}
	if reply && seg != segmentRst {
		*flags |= flowReplied
	}
	switch seg {
	case segmentRst:
		return tcpClosed, true
	case segmentSyn:
		if !reply {
			return s, true
		}
		return tcpBoth, s == tcpFirst || s == tcpBoth
	case segmentSynAck:
		switch {
		case s == tcpBoth || reply && s == tcpFirst:
			return tcpOpen, true
		default:
			return s, reply || s == tcpOpen
		}
	case segmentFin:
		if s == tcpFirst || s == tcpBoth {
			return s, false
		}
		if s == tcpClosed {
			return s, true
		}
		*flags |= sideBit(reply)
		if both := sideBit(false) | sideBit(true); *flags&both == both {
			return tcpFinWait, true
		}
		return max(s, tcpClosing), true
	case segmentAck:
		switch {
		case s == tcpFirst || s == tcpBoth:
			return s, reply
		case s == tcpOpen && !reply:
			return tcpEstablished, true
		}
		return s, true
	}
	return s, false
}

func sideBit(reply bool) uint8 {
	if reply {
		return flowFinReply
	}
	return flowFinOriginal
}

// nextDatagram gives the state of a flow without a handshake after a packet; frames are those of the side that began.
func nextDatagram(s state, reply bool, frames uint32, flags *uint8) state {
	switch {
	case reply:
		*flags |= flowReplied
		return datagramMultiple
	case s == datagramFirst && frames > 1:
		return datagramSingle
	}
	return s
}
