package firewall

import "sluice/vnic/frame"

// state is where a flow is in its life. Timeouts are those of NSX's distributed firewall (they go back to pf); names
// are those of Linux's conntrack, because flows are carried to it and back.
type state uint8

const (
	stateFree        state = iota
	tcpFirst               // SYN seen
	tcpBoth                // SYN seen from both sides (simultaneous open, RFC 9293 3.5)
	tcpOpen                // SYN and its ACK seen
	tcpEstablished         // the handshake is complete
	tcpFinWait             // a FIN seen
	tcpCloseWait           // and its ACK
	tcpLastAck             // a second FIN seen
	tcpTimeWait            // and its ACK
	tcpClosed              // RST seen
	datagramFirst          // UDP, ICMP and others: one packet seen
	datagramSingle         // packets from one side only
	datagramMultiple       // from both sides
	states
)

var stateNames = [states]string{
	"free", "syn-sent", "syn-sent2", "syn-recv", "established", "fin-wait", "close-wait", "last-ack", "time-wait", "close",
	"unreplied", "unreplied", "replied",
}

func (s state) String() string { return stateNames[s] }

const second = 1000 // in milliseconds, as flows count time

// defaultTimeouts are in milliseconds of silence.
var defaultTimeouts = [states]uint32{
	tcpFirst: 120 * second, tcpBoth: 30 * second, tcpOpen: 30 * second, tcpEstablished: 43200 * second,
	tcpFinWait: 120 * second, tcpCloseWait: 120 * second, tcpLastAck: 45 * second, tcpTimeWait: 45 * second, tcpClosed: 20 * second,
	datagramFirst: 60 * second, datagramSingle: 30 * second, datagramMultiple: 60 * second,
}

// embryonic says whether the other side has not answered yet: the first to go where room is short.
func (s state) embryonic() bool {
	return s == tcpFirst || s == datagramFirst || s == datagramSingle
}

// over says whether the flow has ended, and is kept only for late packets.
func (s state) over() bool { return s >= tcpLastAck && s <= tcpClosed }

// parseState reads a FlowRecord's state; where it says nothing known, whether it was replied to must do.
func parseState(r *FlowRecord) state {
	switch {
	case r.Proto != frame.ProtoTCP && r.Replied:
		return datagramMultiple
	case r.Proto != frame.ProtoTCP:
		return datagramFirst
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
