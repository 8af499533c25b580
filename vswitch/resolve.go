package vswitch

import (
	"encoding/binary"

	"sluice/vnic/frame"
)

// resolve is the gateway's ARP and ND, the same in every placement. used means that the frame has served its purpose.
func (w *Walker) resolve(f *frame.Frame, k *frame.Key, p *Port, seg *Segment) (used bool) {
	switch {
	case k.Has(frame.KeyARP):
		return w.resolveARP(f, k, p, seg)
	case k.Proto == frame.ProtoICMPv6 && k.Has(frame.KeyIPv6|frame.KeyL4) && k.TTL == ndTTL && k.PayloadLen >= 16:
		if k.ICMPType == icmp6Ask || k.ICMPType == icmp6Answer {
			return w.resolveND(f, k, p, seg)
		}
	}
	return false
}

func (w *Walker) resolveARP(f *frame.Frame, k *frame.Key, p *Port, seg *Segment) bool {
	own := w.plan.net[p.Segment].gateway4
	if frame.ARPSender(f, k) == k.SrcMAC {
		w.meet(k.Src, k.SrcMAC, p)
	}
	if k.ARPOp != 1 || k.Dst != own || own == (frame.Addr{}) {
		return false
	}
	if a := w.answer(frame.MinLen + 28); a != nil {
		frame.PutEth(a.Eth(), k.SrcMAC, seg.GatewayMAC, frame.EtherARP)
		frame.PutARP(a.Eth()[frame.MinLen:], 2, seg.GatewayMAC, own, frame.ARPSender(f, k), k.Src)
		w.speak(a, p.ID)
	}
	return true
}

func (w *Walker) resolveND(f *frame.Frame, k *frame.Key, p *Port, seg *Segment) bool {
	own := w.plan.net[p.Segment].gateway6
	target := frame.Addr(f.Eth()[k.Payload : k.Payload+16])
	if k.ICMPType == icmp6Answer {
		w.meet(target, k.SrcMAC, p)
		return false
	}
	w.meet(k.Src, k.SrcMAC, p)
	if target != own || own == (frame.Addr{}) {
		return false
	}
	a := w.answer(frame.MinLen + 40 + 32)
	if a == nil {
		return true
	}
	// Router, solicited, override (RFC 4861 4.4). Whoever has no address yet is told with everybody else.
	to, flags := k.Src, uint32(0xe0000000)
	if unspecified(to) {
		to, flags = allNodes, 0xa0000000
	}
	b := a.Eth()
	frame.PutEth(b, k.SrcMAC, seg.GatewayMAC, frame.EtherIPv6)
	frame.PutIPv6(b[frame.MinLen:], own, to, frame.ProtoICMPv6, ndTTL, 32)
	putND(b[frame.MinLen+40:], icmp6Answer, flags, own, to, own, seg.GatewayMAC)
	w.speak(a, p.ID)
	return true
}

// putND writes a neighbour solicitation or advertisement of 32 bytes, with the sender's link-layer address option.
func putND(m []byte, typ uint8, flags uint32, src, dst, target frame.Addr, mac frame.MAC) {
	m[0] = typ
	binary.BigEndian.PutUint32(m[4:], flags)
	copy(m[8:], target[:])
	m[24], m[25] = 1, 1 // source link-layer address, in units of 8 bytes (RFC 4861 4.6.1)
	if typ == icmp6Answer {
		m[24] = 2 // target link-layer address
	}
	copy(m[26:], mac[:])
	binary.BigEndian.PutUint16(m[2:], frame.L4Checksum(src, dst, frame.ProtoICMPv6, m[:32]))
}

// meet notes who has an address of the segment, if nobody has it by the plan.
func (w *Walker) meet(a frame.Addr, mac frame.MAC, p *Port) {
	if w.dry || unspecified(a) {
		return
	}
	if seg, _, known := w.plan.route(a); known || seg != p.Segment {
		return
	}
	w.core.neighbours.learn(neighbourKey{p.Segment, a}, mac, p.ID, w.cx.Now)
}

// ask sends a question for a neighbour to every guest of a segment.
func (w *Walker) ask(seg frame.SegmentID, a frame.Addr) {
	s, n := &w.plan.Segments[seg], &w.plan.net[seg]
	var q *frame.Frame
	if isIPv4(&a) {
		if q = w.answer(frame.MinLen + 28); q == nil {
			return
		}
		frame.PutEth(q.Eth(), broadcast, s.GatewayMAC, frame.EtherARP)
		frame.PutARP(q.Eth()[frame.MinLen:], 1, s.GatewayMAC, n.gateway4, frame.MAC{}, a)
	} else {
		if q = w.answer(frame.MinLen + 40 + 32); q == nil {
			return
		}
		b := q.Eth()
		// The solicited-node group (RFC 4291 2.7.1) and its MAC (RFC 2464 7).
		to := frame.Addr{0xff, 0x02, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]}
		frame.PutEth(b, frame.MAC{0x33, 0x33, 0xff, a[13], a[14], a[15]}, s.GatewayMAC, frame.EtherIPv6)
		frame.PutIPv6(b[frame.MinLen:], n.gateway6, to, frame.ProtoICMPv6, ndTTL, 32)
		putND(b[frame.MinLen+40:], icmp6Ask, 0, n.gateway6, to, a, s.GatewayMAC)
	}
	for _, out := range n.flood {
		w.speak(q, out)
	}
}
