package firewall

import (
	"net/netip"
	"slices"

	"sluice/firewall/classifier"
	"sluice/vnic/frame"
)

// samples are packets that stand for all that conditions can tell apart: source ports, and TCP's flags. Without any,
// source ports and flags make no difference: the zero samples are one packet.
type samples struct {
	ports []uint16
	flags []uint8
}

// usualPort is a source port as hosts choose one (RFC 6335 6): the best example.
const usualPort = 49152

// samplesOf finds them for the conditions of some rules; the best example comes first.
func samplesOf(rules ...*Rule) (s samples) {
	starts := []uint32{0}
	var masks [][2]uint8
	for _, r := range rules {
		for i := range r.match.Parts {
			p := &r.match.Parts[i]
			for _, at := range p.From {
				starts = append(starts, at.Lo, at.Hi+1)
			}
			if m := [2]uint8{p.Mask, p.Flags}; p.Mask != 0 && !slices.Contains(masks, m) {
				masks = append(masks, m)
			}
		}
	}
	if len(starts) > 1 {
		s.ports = portSamples(starts)
	}
	if len(masks) > 0 {
		s.flags = flagSamples(masks)
	}
	return s
}

// portSamples takes a port between each two at which a condition begins or ends.
func portSamples(starts []uint32) (ports []uint16) {
	slices.Sort(starts)
	starts = slices.Compact(starts)
	for i, lo := range starts {
		hi := uint32(0xffff)
		if i+1 < len(starts) {
			hi = starts[i+1] - 1
		}
		switch {
		case lo > 0xffff:
		case lo <= usualPort && usualPort <= hi:
			ports = slices.Insert(ports, 0, usualPort)
		case lo == 0 && hi > 0:
			ports = append(ports, 1) // port 0 is nobody's example
		default:
			ports = append(ports, uint16(lo))
		}
	}
	return ports
}

// flagSamples takes one combination of flags for each answer that all conditions together can give.
func flagSamples(masks [][2]uint8) (flags []uint8) {
	seen := map[string]bool{}
	take := func(f uint8) {
		k := make([]byte, len(masks))
		for i, m := range masks {
			k[i] = boolByte(f&m[0] == m[1])
		}
		// What may begin a flow is told apart from what may not.
		if k = append(k, byte(segmentOf(f))); !seen[string(k)] {
			seen[string(k)] = true
			flags = append(flags, f)
		}
	}
	take(frame.TCPSyn)
	for f := range 256 {
		take(uint8(f))
	}
	return flags
}

// each calls fn for the packets of a flow's service, until it says false.
func (s *samples) each(t Tuple, fn func(Tuple) bool) bool {
	if t.Proto != frame.ProtoTCP && t.Proto != frame.ProtoUDP || s.ports == nil && s.flags == nil {
		return fn(t)
	}
	ports, flags := s.ports, s.flags
	if ports == nil {
		ports = []uint16{0}
	}
	if flags == nil || t.Proto != frame.ProtoTCP {
		flags = []uint8{frame.TCPSyn}
	}
	for _, f := range flags {
		for _, port := range ports {
			if !fn(t.with(port, f)) {
				return false
			}
		}
	}
	return true
}

// count is how many packets each gives at most.
func (s *samples) count() int { return max(1, len(s.ports)) * max(1, len(s.flags)) }

// with gives a packet another source port and, of TCP, other flags.
func (t Tuple) with(port uint16, flags uint8) Tuple {
	t.Src = netip.AddrPortFrom(t.Src.Addr(), port)
	if t.Proto == frame.ProtoTCP {
		t.TCPFlags, t.NoSYN = flags&^frame.TCPSyn, flags&frame.TCPSyn == 0
	}
	return t
}

// asks says whether rules are asked about a packet: segments that may begin no flow are dropped before, but for those
// that a stateless rule is about.
func (p *Policy) asks(t *Tuple) bool {
	if t.Proto != frame.ProtoTCP {
		return true
	}
	switch segmentOf(t.flags()) {
	case segmentSyn:
		return true
	case segmentAck:
		if p.Midstream {
			return true
		}
	}
	if p.stateless == nil {
		return false
	}
	first := t.first()
	return p.stateless.Find(0, 0, first.packet()) != classifier.NoRule
}

// example makes a packet fulfil a condition; ok is false where the policy asks no rule about such packets.
func (p *Policy) example(c *classifier.Condition, t Tuple) (Tuple, bool) {
	if c.IsNone() {
		return t, true
	}
	port := uint16(usualPort)
	if c.From != nil && !c.From.Contains(usualPort) {
		port = uint16(c.From[0].Lo)
		if port == 0 && c.From[0].Hi > 0 {
			port = 1
		}
	}
	for _, f := range append([]uint8{c.Flags | frame.TCPSyn, c.Flags | frame.TCPAck}, flagSamples([][2]uint8{{c.Mask, c.Flags}})...) {
		if f&c.Mask != c.Flags {
			continue
		}
		if out := t.with(port, f); p.asks(&out) {
			return out, true
		}
	}
	return t, false
}
