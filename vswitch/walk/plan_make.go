package walk

import (
	"slices"

	"sluice/firewall"
)

// A plan is made in steps before it is in force: a copy of the segments and ports, where frames are steered, what has
// failed, what is derived from all that, and at last the plan beside it.

// Steer gives the segments' gateways to the appliance's ports in slow, and to the switch in every other placement; and
// the guests' frames to a session where the placement steers.
func (p *Plan) Steer(to firewall.Placement, in Session) {
	p.Steering = Steering{Outer: p.Steering.Outer}
	if to.Steers() {
		p.Steering.Out, p.Steering.In[0] = in, in
	}
	for i := range p.Segments {
		p.Segments[i].GatewayPort = 0
	}
	for i := range p.Ports {
		q := &p.Ports[i]
		switch q.Accept = q.Serves(to); {
		case q.Steer:
			p.Steering.Port = q.ID
		case q.Accept:
			p.Segments[q.Segment].GatewayPort = q.ID
		}
	}
}

// LoseAppliance takes the appliance out of a plan: what would go there has nowhere to go. What comes back is still
// taken, probes too.
func (p *Plan) LoseAppliance() {
	p.Steering.Out, p.Steering.Port = Session{}, 0
	for i := range p.Segments {
		p.Segments[i].GatewayPort = 0
	}
}

// RefuseStale takes nothing of the appliance any more but probes.
func (p *Plan) RefuseStale() {
	p.Steering.Stale = true
	for i := range p.Ports {
		p.Ports[i].Accept = p.Ports[i].Steer
	}
}

// Serves says whether a port is one through which frames come from the appliance in a placement.
func (q *Port) Serves(pl firewall.Placement) bool {
	return q.Service && (q.Steer && pl.Visits() || !q.Steer && pl == firewall.Slow)
}

// KeepBeside puts the plan beside p by which the flows walk that are kept on the way of another placement, and lets p
// take what comes back to them from the appliance. p is complete but for that.
func (p *Plan) KeepBeside(epoch uint64, on firewall.Placement, program *firewall.Program, in Session) {
	q := *p
	q.Epoch, q.Placement, q.Program, q.Bypassed = epoch, on, program, false
	q.Segments, q.Ports = slices.Clone(p.Segments), slices.Clone(p.Ports)
	q.Steer(on, in)
	q.Derive()
	p.Steering.In[2] = in
	for i := range p.Ports {
		p.Ports[i].Accept = p.Ports[i].Accept || q.Ports[i].Accept && q.Ports[i].Steer
	}
	p.Beside = &q
}
