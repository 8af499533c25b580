package walk

import (
	"encoding/binary"

	"sluice/vnic/frame"
	"sluice/vswitch/measure"
)

// trouble is an ICMP error, in both families.
type trouble struct{ type4, code4, type6, code6 uint8 }

var (
	noRoute     = trouble{frame.ICMPUnreachable, frame.ICMPNet, frame.ICMP6Unreachable, frame.ICMP6NoRoute}
	noHost      = trouble{frame.ICMPUnreachable, frame.ICMPHost, frame.ICMP6Unreachable, frame.ICMP6Host}
	noService   = trouble{frame.ICMPUnreachable, frame.ICMPPort, frame.ICMP6Unreachable, frame.ICMP6Port}
	tooBig      = trouble{frame.ICMPUnreachable, frame.ICMPTooBig, frame.ICMP6TooBig, 0}
	prohibited  = trouble{frame.ICMPUnreachable, frame.ICMPAdminProhibited, frame.ICMP6Unreachable, frame.ICMP6AdminProhibited}
	ttlExceeded = trouble{frame.ICMPTimeExceeded, 0, frame.ICMP6TimeExceeded, 0}
)

const (
	ourTTL = 64  // of the switch's own packets: Linux's default
	ndTTL  = 255 // of ND: what came through a router is not believed (RFC 4861 3.1)
	// quote4 is the longest ICMPv4 error, IP header included (RFC 1812 4.3.2.3); for IPv6 it is answerLen.
	quote4 = 576
)

var (
	broadcast  = frame.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	allNodes   = frame.Addr{0xff, 0x02, 15: 1}
	allRouters = frame.Addr{0xff, 0x02, 15: 2}
)

// answer takes a frame of n bytes for the switch's own words. nil means that this batch has said enough.
func (w *Walker) answer(n int) *frame.Frame {
	if w.said == answerRoom {
		return nil
	}
	f := w.answers[w.said]
	w.said++
	f.Off, f.Len = frame.Headroom, n
	f.Vnet().Clear()
	clear(f.Eth())
	return f
}

// speak sends one of the switch's own frames to a guest. No check point sees it: it is the switch that speaks.
func (w *Walker) speak(f *frame.Frame, to frame.PortID) {
	w.own.frames++
	w.own.bytes += uint64(f.Len)
	w.outputs = append(w.outputs, Output{Port: to, Frame: f, mark: measure.NoMark})
}

// reject answers a frame as nft's "reject with tcp reset" and "reject with icmpx admin-prohibited" do
// (net/ipv4/netfilter/nf_reject_ipv4.c).
func (w *Walker) reject(f *frame.Frame, k *frame.Key) {
	if !w.mayReject(f, k) {
		return
	}
	if k.Proto == frame.ProtoTCP && k.Has(frame.KeyL4) {
		w.reset(k)
		return
	}
	w.sendICMPError(f, k, prohibited, 0)
}

// reset answers a TCP segment with a reset from its destination.
func (w *Walker) reset(k *frame.Key) {
	if k.TCPFlags&frame.TCPRst != 0 {
		return
	}
	r := *k
	r.Src, r.Dst, r.SrcPort, r.DstPort = k.Dst, k.Src, k.DstPort, k.SrcPort
	if k.TCPFlags&frame.TCPAck != 0 {
		r.Seq, r.Ack, r.TCPFlags = k.Ack, 0, frame.TCPRst
	} else { // RFC 9293 3.10.7.1
		end := k.Seq + k.PayloadLen
		if k.TCPFlags&frame.TCPSyn != 0 {
			end++
		}
		if k.TCPFlags&frame.TCPFin != 0 {
			end++
		}
		r.Seq, r.Ack, r.TCPFlags = 0, end, frame.TCPRst|frame.TCPAck
	}
	from := k.DstMAC
	if k.Has(frame.KeyGroup) {
		from = w.plan.Segments[w.plan.Ports[w.from].Segment].GatewayMAC
	}
	w.putReset(&r, from, k.SrcMAC, w.from)
}

// resetOther tells the one that a TCP segment was for that its sender has ended the connection.
func (w *Walker) resetOther(k *frame.Key, p *Port) {
	out := w.aim(k, p)
	if out == nil {
		return
	}
	r := *k
	r.TCPFlags = frame.TCPRst | k.TCPFlags&frame.TCPAck
	from := k.SrcMAC
	if out.Segment != p.Segment {
		from = w.plan.Segments[out.Segment].GatewayMAC
	}
	w.putReset(&r, from, out.MAC, out.ID)
}

// putReset sends a TCP segment without payload that says what r says.
func (w *Walker) putReset(r *frame.Key, from, to frame.MAC, port frame.PortID) {
	l3 := 20
	if r.Has(frame.KeyIPv6) {
		l3 = 40
	}
	f := w.answer(frame.MinLen + l3 + 20)
	if f == nil {
		return
	}
	b := f.Eth()
	frame.PutEth(b, to, from, r.EtherType)
	if r.Has(frame.KeyIPv6) {
		frame.PutIPv6(b[frame.MinLen:], r.Src, r.Dst, frame.ProtoTCP, ourTTL, 20)
	} else {
		frame.PutIPv4(b[frame.MinLen:], r.Src, r.Dst, frame.ProtoTCP, ourTTL, l3+20)
	}
	t := b[frame.MinLen+l3:]
	binary.BigEndian.PutUint16(t, r.SrcPort)
	binary.BigEndian.PutUint16(t[2:], r.DstPort)
	binary.BigEndian.PutUint32(t[4:], r.Seq)
	binary.BigEndian.PutUint32(t[8:], r.Ack)
	t[12], t[13] = 5<<4, r.TCPFlags
	binary.BigEndian.PutUint16(t[16:], frame.L4Checksum(r.Src, r.Dst, frame.ProtoTCP, t))
	w.speak(f, port)
}

// sendICMPError answers a packet with an ICMP error from the gateway, or from the packet's destination where the
// segment has no gateway. It keeps to RFC 1122 3.2.2 and RFC 4443 2.4: never about an error, a later fragment, or
// a group.
func (w *Walker) sendICMPError(f *frame.Frame, k *frame.Key, t trouble, info uint32) {
	if !answerable(k) || !w.icmp.take(w.cx.Now) {
		return
	}
	v6 := k.Has(frame.KeyIPv6)
	from, l3, most := w.plan.Net[w.plan.Ports[w.from].Segment].Gateway4, 20, quote4
	typ, code, proto := t.type4, t.code4, uint8(frame.ProtoICMP)
	if v6 {
		from, l3, most = w.plan.Net[w.plan.Ports[w.from].Segment].Gateway6, 40, answerLen-frame.MinLen
		typ, code, proto = t.type6, t.code6, frame.ProtoICMPv6
	}
	if from == (frame.Addr{}) {
		from = k.Dst
	}
	quoted := min(int(k.L3Len), f.Len-int(k.L3), most-l3-8)
	a := w.answer(frame.MinLen + l3 + 8 + quoted)
	if a == nil {
		return
	}
	m := a.Eth()[frame.MinLen+l3:]
	m[0], m[1] = typ, code
	binary.BigEndian.PutUint32(m[4:], info)
	copy(m[8:], f.Eth()[k.L3:int(k.L3)+quoted])
	w.putIP(a.Eth(), k, from, k.Src, proto, ourTTL)
	if v6 {
		binary.BigEndian.PutUint16(m[2:], frame.L4Checksum(from, k.Src, proto, m))
	} else {
		binary.BigEndian.PutUint16(m[2:], frame.Checksum(m))
	}
	w.speak(a, w.from)
}

// answerable says whether an ICMP error about a packet may be sent.
func answerable(k *frame.Key) bool {
	if k.Has(frame.KeyLater) || k.Has(frame.KeyGroup) || k.Dst.IsGroup() || unspecified(k.Src) {
		return false
	}
	switch {
	case k.Has(frame.KeyIPv6):
		return k.Proto != frame.ProtoICMPv6 || k.ICMPType >= frame.ICMP6Informs && k.ICMPType != frame.ICMP6Redirect
	case k.Has(frame.KeyIPv4):
		if k.Proto != frame.ProtoICMP {
			return true
		}
		switch k.ICMPType {
		case frame.ICMPUnreachable, frame.ICMPSourceQuench, frame.ICMPRedirect, frame.ICMPTimeExceeded, frame.ICMPParameter:
			return false
		}
		return true
	}
	return false
}

// putIP writes the headers of a frame back to the guest whose frame is k: the MACs are k's, turned round.
func (w *Walker) putIP(b []byte, k *frame.Key, src, dst frame.Addr, proto, ttl uint8) {
	from := k.DstMAC
	if k.Has(frame.KeyGroup) {
		from = w.plan.Segments[w.plan.Ports[w.from].Segment].GatewayMAC
	}
	frame.PutEth(b, k.SrcMAC, from, k.EtherType)
	if k.Has(frame.KeyIPv6) {
		frame.PutIPv6(b[frame.MinLen:], src, dst, proto, ttl, len(b)-frame.MinLen-40)
	} else {
		frame.PutIPv4(b[frame.MinLen:], src, dst, proto, ttl, len(b)-frame.MinLen)
	}
}

func unspecified(a frame.Addr) bool {
	return a == frame.Addr{} || a.IsIPv4() && binary.BigEndian.Uint32(a[12:]) == 0
}

func linkLocal(a frame.Addr) bool {
	return a[0] == 0xfe && a[1]&0xc0 == 0x80 || a.IsIPv4() && a[12] == 169 && a[13] == 254
}
