package walk

import (
	"sluice/firewall"
	"sluice/vnic/frame"
)

// mayReject says whether a frame that a rule rejects is answered. Nobody answers what was for many, what came from no
// single host, a later fragment, or what its checksum says is not what was sent (RFC 1122 3.2.2, RFC 1812 4.3.2.7;
// nf_reject_ipv4.c). Errors about errors, and resets of resets, are kept back where they are made.
func (w *Walker) mayReject(f *frame.Frame, k *frame.Key) bool {
	if k.Flags&(frame.KeyGroup|frame.KeyLater) != 0 || k.Dst.IsGroup() || unspecified(k.Src) || k.Src.IsGroup() {
		return false
	}
	if w.plan.isGateway(k.Dst) && k.Proto != frame.ProtoUDP && !k.IsEchoRequest() {
		return false // the gateway drops what it does not serve
	}
	if k.Has(frame.KeyIPv6) && int(k.L4) >= int(k.L3)+int(k.L3Len) {
		return false // there is nothing behind its headers (nf_reject_ipv6.c)
	}
	return !w.plan.directedBroadcast(k.Dst) && !w.plan.directedBroadcast(k.Src) && frame.L4Holds(f.Eth(), k)
}

// directedBroadcast says whether an address is a segment's broadcast address.
func (p *Plan) directedBroadcast(a frame.Addr) bool {
	for i := range p.Net {
		if a == p.Net[i].Broadcast && a != (frame.Addr{}) {
			return true
		}
	}
	return false
}

// isGateway says whether an address is the gateway's of some segment. Nobody else may send as that.
func (p *Plan) isGateway(a frame.Addr) bool {
	for i := range p.Net {
		if n := &p.Net[i]; a == n.Gateway4 || a == n.Gateway6 {
			return a != frame.Addr{}
		}
	}
	return false
}

// routerFirst does for a frame what a router does before its firewall is asked: Linux finds the way, looks at the TTL
// and compares the length with the MTU in ip_forward, and only then calls the forward hook. So what could not have been
// forwarded anyway is answered as that, whatever the policy says of it. It is asked where the policy has denied a
// frame, and before one is steered; elsewhere routeIP does it.
func (w *Walker) routerFirst(f *frame.Frame, k *frame.Key, p *Port) frame.Reason {
	seg := &w.plan.Segments[p.Segment]
	switch {
	case k.Flags&(frame.KeyIPv4|frame.KeyIPv6) == 0, k.Has(frame.KeyGroup), k.DstMAC != seg.GatewayMAC, len(seg.Gateways) == 0:
		return frame.ReasonNone // not for the router
	case seg.GatewayPort != 0, w.plan.Net[p.Segment].Orphan, k.IsND():
		return frame.ReasonNone
	}
	to, h, known := w.plan.Route(k.Dst)
	if known && h.Port == 0 {
		return frame.ReasonNone // for the gateway itself
	}
	if r := w.obstacle(f, k, to); r != frame.ReasonNone {
		return w.because("route", r)
	}
	return frame.ReasonNone
}

// ofPolicy says whether a verdict is one that a firewall's forward hook would give, so that a router has looked for the
// way before.
func ofPolicy(v firewall.Verdict) bool {
	switch v.Reason {
	case frame.ReasonRule, frame.ReasonReject, frame.ReasonDefault, frame.ReasonState, frame.ReasonWindow, frame.ReasonFlows, frame.ReasonRevoked,
		frame.ReasonChecksum, frame.ReasonInspected:
		return true
	}
	return false
}
