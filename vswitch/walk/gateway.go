package walk

import (
	"encoding/binary"

	"sluice/vnic/frame"
)

// atGateway ends a frame that is for the gateway itself. It is no loss.
func (w *Walker) atGateway() frame.Reason {
	w.say("gateway", func() string {
		return "it is for the gateway itself, and ends here: " + frame.ReasonOwnGateway.String()
	})
	return frame.ReasonOwnGateway
}

// routeIP is the gateway's work in every placement but slow: a packet that a guest sent to the gateway's MAC goes on
// into the segment of its destination, or is answered.
func (w *Walker) routeIP(f *frame.Frame, k *frame.Key, p *Port, seg *Segment) frame.Reason {
	if k.Flags&(frame.KeyIPv4|frame.KeyIPv6) == 0 || k.IsND() {
		return w.atGateway()
	}
	to, h, known := w.plan.Route(k.Dst)
	if known && h.Port == 0 {
		w.local(f, k)
		return w.atGateway()
	}
	if r := w.obstacle(f, k, to); r != frame.ReasonNone {
		return w.because("route", r)
	}
	out := &w.plan.Segments[to]
	w.say("route", func() string { return k.Dst.IP().String() + " is on " + out.Name })
	if h, known = w.nextHop(to, k.Dst, h, known); !known {
		return w.unresolved(f, k, to)
	}
	if h.Port == p.ID {
		return w.because("forward", frame.ReasonSamePort)
	}
	s := &w.showing
	s.found, s.way.Routed, s.way.Dst, s.way.To, s.way.MTU = true, true, k.DstMAC, h.MAC, out.MTU
	frame.DecTTL(f, k)
	frame.PutEth(f.Eth(), h.MAC, out.GatewayMAC, k.EtherType)
	w.say("forward", func() string {
		return "the gateway's neighbour " + k.Dst.IP().String() + " has " + macString(h.MAC) + ", on " + w.nameOf(h.Port)
	})
	w.deliver(f, k, h.Port)
	return frame.ReasonNone
}

// obstacle is why a packet cannot be forwarded to a segment, which is 0 where none has its destination; who sent it is
// told.
func (w *Walker) obstacle(f *frame.Frame, k *frame.Key, to frame.SegmentID) frame.Reason {
	if w.plan.isGateway(k.Src) {
		return frame.ReasonBadAddress
	}
	if k.Dst.IsGroup() || linkLocal(k.Dst) || linkLocal(k.Src) || unspecified(k.Src) || w.plan.directedBroadcast(k.Dst) {
		return frame.ReasonNoRoute // these stay on their segment (RFC 4291 2.5.6, RFC 1812 5.3.7, RFC 2644)
	}
	if to == 0 || len(w.plan.Segments[to].Gateways) == 0 { // none, or one that keeps to itself
		w.sendICMPError(f, k, noRoute, 0)
		return frame.ReasonNoRoute
	}
	if k.TTL <= 1 {
		w.sendICMPError(f, k, ttlExceeded, 0)
		return frame.ReasonTTL
	}
	if mtu := w.plan.Segments[to].MTU; mtu > 0 && packetLen(f, k) > mtu {
		w.sendICMPError(f, k, tooBig, uint32(mtu))
		return frame.ReasonTooBig
	}
	return frame.ReasonNone
}

// packetLen is the length in bytes of an IP packet, or of the longest that a GSO frame stands for.
func packetLen(f *frame.Frame, k *frame.Key) int {
	if k.Has(frame.KeyGSO) {
		return int(k.Payload-k.L3) + int(f.Vnet().GSOSize())
	}
	return int(k.L3Len)
}

// local answers what is addressed to the gateway itself: echo requests, and UDP as traceroute sends it.
func (w *Walker) local(f *frame.Frame, k *frame.Key) {
	echo := k.IsEchoRequest()
	switch {
	case !k.Has(frame.KeyL4) || k.Has(frame.KeyGroup) || unspecified(k.Src) || w.plan.isGateway(k.Src) || !frame.L4Holds(f.Eth(), k):
	case echo && !k.Has(frame.KeyFragment):
		w.echo(f, k)
	case k.Proto == frame.ProtoUDP:
		w.sendICMPError(f, k, noService, 0)
	}
}

// echo turns an echo request round in its own memory, so that it may be of any length.
func (w *Walker) echo(f *frame.Frame, k *frame.Key) {
	b := f.Eth()
	m := b[k.L4 : int(k.L3)+int(k.L3Len)]
	if k.Has(frame.KeyIPv6) {
		copy(b[k.L3+8:], k.Dst[:])
		copy(b[k.L3+24:], k.Src[:])
		b[k.L3+7] = ourTTL
		m[0] = frame.ICMP6EchoReply
	} else {
		copy(b[k.L3+12:], k.Dst[12:])
		copy(b[k.L3+16:], k.Src[12:])
		b[k.L3+8] = ourTTL
		frame.SetIPv4Checksum(b[k.L3:])
		m[0] = frame.ICMPEchoReply
	}
	if f.Vnet().Flags()&frame.VnetNeedsCsum == 0 { // else whoever finishes it sums up the new type
		old := binary.BigEndian.Uint16(m[2:])
		binary.BigEndian.PutUint16(m[2:], frame.UpdateChecksum(old, word(k.ICMPType, m[1]), word(m[0], m[1])))
	}
	frame.PutEth(b, k.SrcMAC, k.DstMAC, k.EtherType)
	w.speak(f, w.from)
}

func word(high, low uint8) uint16 { return uint16(high)<<8 | uint16(low) }
