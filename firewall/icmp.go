package firewall

import (
	"encoding/binary"

	"sluice/firewall/classifier"
	"sluice/vnic/frame"
)

// icmpKind is what an ICMP message is for the flow table.
type icmpKind uint8

const (
	icmpStray        icmpKind = iota // begins no flow and belongs to none
	icmpRequest                      // may begin a flow
	icmpReply                        // belongs to the flow that its request began
	icmpError                        // about a packet of another flow
	icmpHousekeeping                 // neighbour discovery and group membership: kept in no flow
)

// icmpKindOf tells messages apart as Linux's conntrack does, and for requests and replies gives the request's type.
func icmpKindOf(k *frame.Key) (kind icmpKind, request uint8) {
	if k.Proto == frame.ProtoICMP {
		switch k.ICMPType {
		case frame.ICMPEcho, frame.ICMPTimestamp, frame.ICMPInfo, frame.ICMPMask:
			return icmpRequest, k.ICMPType
		case frame.ICMPEchoReply:
			return icmpReply, frame.ICMPEcho
		case frame.ICMPTimestampReply, frame.ICMPInfoReply, frame.ICMPMaskReply:
			return icmpReply, k.ICMPType - 1
		case frame.ICMPUnreachable, frame.ICMPSourceQuench, frame.ICMPRedirect, frame.ICMPTimeExceeded, frame.ICMPParameter:
			return icmpError, 0
		}
		return icmpStray, 0
	}
	switch t := k.ICMPType; {
	case t < frame.ICMP6Informs:
		return icmpError, 0
	case t == frame.ICMP6Echo || t == frame.ICMP6NodeQuery:
		return icmpRequest, t
	case t == frame.ICMP6EchoReply || t == frame.ICMP6NodeReply:
		return icmpReply, t - 1
	case t >= frame.ICMP6ListenerQuery && t <= frame.ICMP6Redirect || t == frame.ICMP6ListenerReport2: // MLD and neighbour discovery
		return icmpHousekeeping, 0
	}
	return icmpStray, 0
}

// isForeignICMP says whether a packet has the ICMP of the other family.
func isForeignICMP(k *frame.Key) bool {
	return k.Proto == frame.ProtoICMP && k.Has(frame.KeyIPv6) || k.Proto == frame.ProtoICMPv6 && k.Has(frame.KeyIPv4)
}

// checkICMP judges ICMP and ICMPv6 messages that the flow table does not know; done says so. For others it completes
// the flow's identity, and says whether they may begin one.
func (p *Program) checkICMP(cx *Context, pt Point, k *frame.Key, id *flowID, swapped bool) (v Verdict, mayBegin, done bool) {
	if isMembership(k) {
		cx.tell("igmp", "group membership on the segment is housekeeping: no rule is asked")
		return Verdict{Action: Pass}, false, true
	}
	switch {
	case isForeignICMP(k):
		return p.refuse(cx, pt, frame.ReasonState, "one family's ICMP in the other: conntrack, too, makes nothing of it"), false, true
	case !k.Has(frame.KeyL4):
		return v, true, false // IGMP that goes further: a protocol like any that we do not know
	}
	kind, request := icmpKindOf(k)
	switch kind {
	case icmpError:
		return p.checkError(cx, pt, k), false, true
	case icmpHousekeeping:
		return p.checkHousekeeping(cx, pt, k), false, true
	case icmpStray:
		return p.refuse(cx, pt, frame.ReasonState, "this ICMP type neither asks nor answers"), false, true
	}
	id.ask(identifierOf(k, cx.Eth), request, k.ICMPCode, swapped == (kind == icmpRequest))
	return v, kind == icmpRequest, false
}

// checkHousekeeping passes neighbour discovery and group membership that stay on their segment: no policy is about
// them, and without them IPv6 does not work. What is sent further than they ever need is asked of the rules like any
// other packet, but is no flow.
func (p *Program) checkHousekeeping(cx *Context, pt Point, k *frame.Key) Verdict {
	hops := uint8(onLinkHops)
	if k.IsND() {
		hops = 255 // RFC 4861 7.1: it cannot have crossed a router
	}
	if k.TTL == hops && p.policy.onLink(pt.Port, k) || !p.enforce {
		cx.tell("nd", "neighbour discovery and group membership on the segment are housekeeping: no rule is asked")
		return Verdict{Action: Pass}
	}
	return p.evaluate(cx, pt, classifier.PacketOf(k), k.L3Len)
}

// onLink says whether a packet's destination is on the port's own segment.
func (p *Policy) onLink(port frame.PortID, k *frame.Key) bool {
	d := &k.Dst
	if d[0] == 0xff || d[0] == 0xfe && d[1]&0xc0 == 0x80 { // ff00::/8, fe80::/10
		return true
	}
	return int(port) < len(p.links) && p.ranges[p.links[port].From:p.links[port].To].Contains(*d)
}

// checkError judges an ICMP error by the packet inside it: it passes where a packet of that flow would pass that goes
// the same way as the error, and where the error goes to whom the packet came from.
func (p *Program) checkError(cx *Context, pt Point, k *frame.Key) Verdict {
	if !cx.partial && !frame.L4Holds(cx.Eth, k) {
		return p.refuse(cx, pt, frame.ReasonChecksum, "an ICMP error whose checksum is wrong")
	}
	inner, ok := insideError(cx.Eth, k)
	if !ok || inner.Src != k.Dst {
		return p.refuse(cx, pt, frame.ReasonState, "an ICMP error about no packet of whom it goes to")
	}
	id, swapped, ok := asked(&inner, inner.SrcPort)
	if !ok {
		return p.refuse(cx, pt, frame.ReasonState, "an ICMP error about ICMP that is no flow")
	}
	at, e := cx.Flows.hold(&id)
	defer cx.Flows.release(at)
	if e == nil || e.expired(milliseconds(cx.Now), p.policy.timeouts) {
		return p.refuse(cx, pt, frame.ReasonState, "an ICMP error about a flow that is not known")
	}
	reply := swapped == e.swapped() // the error goes against the packet inside it
	if cx.Rec != nil {
		p.tellFlow(cx, e, reply, milliseconds(cx.Now))
	}
	v := Verdict{Action: Pass, Flags: VerdictKnown, Rule: e.rule}
	dir := pt.Dir
	if reply {
		v.Flags |= VerdictReply
		dir = 1 - dir
	}
	if p.enforce && (e.stamp != p.stamp || e.points[dir] != pt.Port) {
		e = cx.own(e)
		return p.again(cx, Point{pt.Port, dir}, k, at.shard, e, v.Flags)
	}
	return v
}

// insideError reads the packet that an ICMP error tells of: at least its IP header and 8 bytes (RFC 792, RFC 4443 2.4).
func insideError(eth []byte, k *frame.Key) (inner frame.Key, ok bool) {
	if len(eth) < int(k.Payload)+int(k.PayloadLen) {
		return inner, false
	}
	b := eth[k.Payload : int(k.Payload)+int(k.PayloadLen)]
	head := 0
	switch {
	case k.Has(frame.KeyIPv4) && len(b) >= 20 && b[0]>>4 == 4:
		head = int(b[0]&15) * 4
		if head < 20 || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
			return inner, false
		}
		inner.Proto = b[9]
		inner.Src, inner.Dst = mapped(b[12:16]), mapped(b[16:20])
	case k.Has(frame.KeyIPv6) && len(b) >= 40 && b[0]>>4 == 6:
		inner.Src, inner.Dst = frame.Addr(b[8:24]), frame.Addr(b[24:40])
		if inner.Proto, head, ok = frame.LastHeader(b); !ok {
			return inner, false
		}
	default:
		return inner, false
	}
	if len(b) < head+8 {
		return inner, false
	}
	b = b[head:]
	switch inner.Proto {
	case frame.ProtoTCP, frame.ProtoUDP:
		inner.SrcPort, inner.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	case frame.ProtoICMP, frame.ProtoICMPv6:
		inner.ICMPType, inner.ICMPCode = b[0], b[1]
		inner.SrcPort = binary.BigEndian.Uint16(b[4:])
		inner.DstPort = inner.SrcPort
	}
	return inner, true
}

func mapped(b []byte) (a frame.Addr) {
	a[10], a[11] = 0xff, 0xff
	copy(a[12:], b)
	return a
}
