package firewall

import (
	"sluice/firewall/classifier"
	"sluice/vnic/frame"
)

// Stateless rules make no flows. A packet that one of them is about (by from, to and service, wherever the rule is
// applied) is a stateless packet: it belongs to no flow and begins none, and both of its insertion points ask the rules
// about it, in order, as about any first packet. Which packets these are does not depend on the point, because the
// appliance has one conntrack for both.

// newStateless finds the packets that stateless rules are about; nil where the policy has no such rule.
func newStateless(rules []Rule) *classifier.Draft {
	var about []*classifier.Match
	for i := range rules {
		if rules[i].Stateless {
			m := rules[i].match
			m.Dirs, m.Ports = bothDirs, nil
			about = append(about, &m)
		}
	}
	if len(about) == 0 {
		return nil
	}
	return classifier.Prepare(about)
}

// isStateless says whether a stateless rule is about a packet. Neighbour discovery and group membership are not packets
// that anybody tracks, and one family's ICMP in the other has no type by which a rule could know it.
func (p *Program) isStateless(k *frame.Key) bool {
	if isMembership(k) || isForeignICMP(k) {
		return false
	}
	if k.Proto == frame.ProtoICMPv6 && k.Has(frame.KeyL4) {
		if kind, _ := icmpKindOf(k); kind == icmpHousekeeping {
			return false
		}
	}
	return p.stateless.Find(0, 0, classifier.PacketOf(k)) != classifier.NoRule
}

// Stateless says whether a stateless rule is about a packet, which then belongs to no flow.
func (p *Program) Stateless(k *frame.Key) bool { return p.stateless != nil && p.isStateless(k) }

// checkStateless asks the rules about one packet.
func (p *Program) checkStateless(cx *Context, pt Point, k *frame.Key) Verdict {
	cx.tell("stateless", "a stateless rule is about this packet: it belongs to no flow")
	if !p.enforce {
		cx.tell("pass", "in this placement the engine enforces nothing")
		return Verdict{Action: Pass}
	}
	cx.stateless = true
	v := p.evaluate(cx, pt, classifier.PacketOf(k), k.L3Len)
	cx.stateless = false
	return v
}
