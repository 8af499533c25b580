package walk

import (
	"encoding/binary"

	"sluice/vnic/frame"
)

// resolve is the gateway's ARP and ND, the same in every placement: it answers for its own addresses, believes what
// guests say of theirs, and tells an appliance that asks for a guest. used means that the frame has served its purpose.
func (w *Walker) resolve(f *frame.Frame, k *frame.Key, p *Port, seg *Segment) (used bool) {
	switch {
	case k.Has(frame.KeyARP):
		if p.Service {
			return k.ARPOp == 1 && w.vouch(k.Dst, k, p)
		}
		return w.resolveARP(f, k, p, seg)
	case k.Proto == frame.ProtoICMPv6 && k.Has(frame.KeyIPv6|frame.KeyL4) && k.TTL == ndTTL && k.ICMPType >= frame.ICMP6RouterSolicit && k.ICMPCode == 0:
		m, ok := readND(f, k)
		if p.Service {
			return ok && k.ICMPType == frame.ICMP6NeighbourSolicit && w.vouch(m.target, k, p)
		}
		return ok && w.resolveND(&m, k, p, seg)
	}
	return false
}

// hears says whether a router would take a frame: it is for everybody, or for the gateway.
func (w *Walker) hears(k *frame.Key, seg *Segment) bool {
	return k.Has(frame.KeyGroup) || k.DstMAC == seg.GatewayMAC
}

func (w *Walker) resolveARP(f *frame.Frame, k *frame.Key, p *Port, seg *Segment) bool {
	own := w.plan.Net[p.Segment].Gateway4
	if (k.ARPOp == 1 || k.ARPOp == 2) && w.hears(k, seg) {
		w.learnNeighbour(k.Src, frame.ARPSender(f, k), p, true)
	}
	if k.ARPOp != 1 || k.Dst != own || own == (frame.Addr{}) || !w.hears(k, seg) || k.Src == own {
		return false // as Linux: neither what was for another machine, nor what says that it is from the gateway
	}
	w.answerARP(k, p, seg.GatewayMAC, frame.ARPSender(f, k))
	return true
}

// answerARP answers a question: k.Dst is at a MAC.
func (w *Walker) answerARP(k *frame.Key, p *Port, at, asker frame.MAC) {
	if a := w.answer(frame.MinLen + 28); a != nil {
		frame.PutEth(a.Eth(), k.SrcMAC, at, frame.EtherARP)
		frame.PutARP(a.Eth()[frame.MinLen:], 2, at, k.Dst, asker, k.Src)
		w.speak(a, p.ID)
	}
}

// ndMessage is what a message of neighbour discovery says (RFC 4861 4).
type ndMessage struct {
	target frame.Addr // of solicitations and advertisements
	flags  uint8      // of advertisements
	mac    frame.MAC  // the link-layer address option for its kind; zero where there is none
}

// The flags of an advertisement (RFC 4861 4.4).
const ndSolicited, ndOverride = 0x40, 0x20

// readND reads a message that is about neighbours; ok is false for others, and for what RFC 4861 7.1 does not let one
// believe.
func readND(f *frame.Frame, k *frame.Key) (m ndMessage, ok bool) {
	b := f.Eth()[k.L4 : int(k.Payload)+int(k.PayloadLen)]
	if f.Vnet().Flags()&frame.VnetNeedsCsum == 0 && frame.L4Checksum(k.Src, k.Dst, frame.ProtoICMPv6, b) != 0 {
		return m, false
	}
	at, option := 24, byte(frame.NDSource)
	switch k.ICMPType {
	case frame.ICMP6RouterSolicit:
		at = 8
	case frame.ICMP6NeighbourAdvert:
		option = frame.NDTarget
	case frame.ICMP6NeighbourSolicit:
	default:
		return m, false
	}
	if len(b) < at {
		return m, false
	}
	if m.flags = b[4]; at == 24 {
		m.target = frame.Addr(b[8:24])
	}
	if m.target.IsGroup() || k.ICMPType == frame.ICMP6NeighbourAdvert && k.Dst.IsGroup() && m.flags&ndSolicited != 0 {
		return m, false
	}
	for at < len(b) {
		if at+8 > len(b) || b[at+1] == 0 {
			return m, false
		}
		if b[at] == option {
			m.mac = frame.MAC(b[at+2 : at+8])
		}
		at += int(b[at+1]) * 8
	}
	return m, true
}

func (w *Walker) resolveND(m *ndMessage, k *frame.Key, p *Port, seg *Segment) bool {
	n := &w.plan.Net[p.Segment]
	ours := m.target != (frame.Addr{}) && (m.target == n.Gateway6 || m.target == n.LinkLocal)
	mac, named := m.mac, m.mac != frame.MAC{}
	if !named {
		mac = k.SrcMAC
	}
	switch {
	case !w.hears(k, seg):
	case k.ICMPType == frame.ICMP6NeighbourAdvert:
		w.learnNeighbour(m.target, mac, p, named && m.flags&ndOverride != 0)
	case k.ICMPType == frame.ICMP6RouterSolicit || ours: // what is asked of others goes to their groups, which a router does not hear
		w.learnNeighbour(k.Src, mac, p, named)
	}
	if k.ICMPType != frame.ICMP6NeighbourSolicit || !ours {
		return false
	}
	w.answerND(m.target, k, p, seg.GatewayMAC, 0x80) // a router
	return true
}

// answerND answers a question: the target is at a MAC.
func (w *Walker) answerND(target frame.Addr, k *frame.Key, p *Port, at frame.MAC, flags uint32) {
	a := w.answer(frame.MinLen + 40 + 32)
	if a == nil {
		return
	}
	// Solicited, override (RFC 4861 4.4). Whoever has no address yet is told with everybody else.
	to := k.Src
	if flags |= ndSolicited | ndOverride; unspecified(to) {
		to, flags = allNodes, flags&^ndSolicited
	}
	b := a.Eth()
	frame.PutEth(b, k.SrcMAC, at, frame.EtherIPv6)
	frame.PutIPv6(b[frame.MinLen:], target, to, frame.ProtoICMPv6, ndTTL, 32)
	nd{kind: frame.ICMP6NeighbourAdvert, flags: flags << 24, src: target, dst: to, target: target, mac: at}.put(b[frame.MinLen+40:])
	w.speak(a, p.ID)
}

// vouch answers the appliance's question for a guest from what the gateway knows, so that the two never differ. What
// may have changed the guests are asked.
func (w *Walker) vouch(a frame.Addr, k *frame.Key, p *Port) bool {
	seg, h, known := w.plan.Route(a)
	if seg != p.Segment || unspecified(k.Src) || known && h.Port == 0 {
		return false
	}
	if e, stale := w.core.neighbours.lookup(neighbourKey{seg, a}, w.cx.Now); e != nil {
		if stale {
			return false
		}
		h.MAC = e.mac()
	} else if !known {
		return false
	}
	if k.Has(frame.KeyARP) {
		w.answerARP(k, p, h.MAC, k.SrcMAC)
	} else {
		w.answerND(a, k, p, h.MAC, 0)
	}
	return true
}

// nd is a neighbour solicitation or advertisement.
type nd struct {
	kind             uint8 // ICMPv6's type
	flags            uint32
	src, dst, target frame.Addr
	mac              frame.MAC // the sender's, in its link-layer address option
}

// put writes the message's 32 bytes, with its checksum.
func (n nd) put(m []byte) {
	m[0] = n.kind
	binary.BigEndian.PutUint32(m[4:], n.flags)
	copy(m[8:], n.target[:])
	m[24], m[25] = frame.NDSource, 1 // in units of 8 bytes (RFC 4861 4.6.1)
	if n.kind == frame.ICMP6NeighbourAdvert {
		m[24] = frame.NDTarget
	}
	copy(m[26:], n.mac[:])
	binary.BigEndian.PutUint16(m[2:], frame.L4Checksum(n.src, n.dst, frame.ProtoICMPv6, m[:32]))
}

// learnNeighbour notes who has an address of the segment: the latest who says so. SpoofGuard has dropped the claims
// that a guest may not make. The gateway's own addresses, and its MAC, are nobody else's.
func (w *Walker) learnNeighbour(a frame.Addr, mac frame.MAC, p *Port, override bool) {
	if w.dry || unspecified(a) || mac[0]&1 != 0 || mac == (frame.MAC{}) || mac == w.plan.Segments[p.Segment].GatewayMAC {
		return
	}
	seg, h, known := w.plan.Route(a)
	if seg != p.Segment || known && h.Port == 0 || w.plan.aside(seg, a) {
		return
	}
	key, n := neighbourKey{seg, a}, w.core.neighbours
	var changed bool
	var freed []waiting
	if known && h.Port == p.ID && h.MAC == mac {
		changed, freed = n.giveBack(key)
	} else {
		changed, freed = n.learn(claim{key: key, mac: mac, port: p.ID, override: override, planned: known}, w.cx.Now)
	}
	w.freed = append(w.freed, freed...)
	if changed {
		w.announce(seg, a, mac)
	}
}

// announce tells an appliance that routes where an address is now. It has the guests' addresses in its own table, and
// hears no broadcasts.
func (w *Walker) announce(seg frame.SegmentID, a frame.Addr, mac frame.MAC) {
	for p := w.plan; p != nil; p = p.Beside {
		port := p.Segments[seg].GatewayPort
		if port == 0 {
			continue
		}
		if f := w.answer(announcementLen(a)); f != nil {
			putAnnouncement(f.Eth(), a, mac, p.Segments[seg].GatewayMAC)
			w.speak(f, port)
		}
	}
}

// Announcement is what tells a router where an address is now.
func Announcement(a frame.Addr, mac, to frame.MAC) *frame.Frame {
	f := frame.New(announcementLen(a))
	putAnnouncement(f.Eth(), a, mac, to)
	return f
}

func announcementLen(a frame.Addr) int {
	if a.IsIPv4() {
		return frame.MinLen + 28
	}
	return frame.MinLen + 40 + 16
}

// putAnnouncement writes what moves an address in a router's table: a gratuitous ARP request (RFC 5227 3), or a router
// solicitation with the MAC as an option (RFC 4861 6.2.6), which holds whatever state the entry is in.
func putAnnouncement(b []byte, a frame.Addr, mac, to frame.MAC) {
	if a.IsIPv4() {
		frame.PutEth(b, to, mac, frame.EtherARP)
		frame.PutARP(b[frame.MinLen:], 1, mac, a, frame.MAC{}, a)
		return
	}
	frame.PutEth(b, to, mac, frame.EtherIPv6)
	frame.PutIPv6(b[frame.MinLen:], a, allRouters, frame.ProtoICMPv6, ndTTL, 16)
	m := b[frame.MinLen+40:]
	m[0], m[8], m[9] = frame.ICMP6RouterSolicit, frame.NDSource, 1
	copy(m[10:], mac[:])
	binary.BigEndian.PutUint16(m[2:], frame.L4Checksum(a, allRouters, frame.ProtoICMPv6, m[:16]))
}

// ask sends a question for a neighbour to every guest of a segment.
func (w *Walker) ask(seg frame.SegmentID, a frame.Addr) {
	s, n := &w.plan.Segments[seg], &w.plan.Net[seg]
	var q *frame.Frame
	if a.IsIPv4() {
		if q = w.answer(frame.MinLen + 28); q == nil {
			return
		}
		frame.PutEth(q.Eth(), broadcast, s.GatewayMAC, frame.EtherARP)
		frame.PutARP(q.Eth()[frame.MinLen:], 1, s.GatewayMAC, n.Gateway4, frame.MAC{}, a)
	} else {
		if q = w.answer(frame.MinLen + 40 + 32); q == nil {
			return
		}
		b := q.Eth()
		// The solicited-node group (RFC 4291 2.7.1) and its MAC (RFC 2464 7).
		to := frame.Addr{0xff, 0x02, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]}
		frame.PutEth(b, frame.MAC{0x33, 0x33, 0xff, a[13], a[14], a[15]}, s.GatewayMAC, frame.EtherIPv6)
		frame.PutIPv6(b[frame.MinLen:], n.Gateway6, to, frame.ProtoICMPv6, ndTTL, 32)
		nd{kind: frame.ICMP6NeighbourSolicit, src: n.Gateway6, dst: to, target: a, mac: s.GatewayMAC}.put(b[frame.MinLen+40:])
	}
	for _, out := range n.Flood {
		w.speak(q, out)
	}
}
