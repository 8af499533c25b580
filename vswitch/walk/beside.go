package walk

import (
	"sluice/firewall"
	"sluice/vnic/frame"
)

// sideOf is the plan by which a frame walks that came in by a port: p, or the one that is beside it. What comes out of
// the appliance may be the last frame of a flow, whose end the switch has seen when it went in.
func (p *Plan) sideOf(flows *firewall.Flows, in frame.PortID, f *frame.Frame, k *frame.Key) *Plan {
	if flows.Kept(k, f.Eth(), int(in) < len(p.Ports) && p.Ports[in].Service) {
		return p.Beside
	}
	return p
}

// walkBy is walk by another plan than the batch's.
func (w *Walker) walkBy(p *Plan, f *frame.Frame, k *frame.Key) frame.Reason {
	whole := w.plan
	w.plan = p
	reason := w.walk(f, k)
	w.plan = whole
	return reason
}
