package vswitch

import (
	"context"
	"fmt"
	"slices"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// A change with handover keep leaves the flows that the policy allows on the way on which they began, until they end. The flow table knows
// which they are; the plan holds, beside itself, the plan that they walk by.

// keeping is the way of the flows that are kept.
type keeping struct {
	placement firewall.Placement
	program   *firewall.Program
	session   *session // that they are steered in; nil where the placement does not steer
}

// keptWay is the way on which flows go on that began in a placement. Off is none: from the change on the engine checks what is kept of it.
// And what push has in common with fast is all that a frame meets.
func keptWay(from firewall.Placement) firewall.Placement {
	if from == firewall.Off || from == firewall.Push {
		return firewall.Fast
	}
	return from
}

// newKeeping is the way that a change leaves behind.
func newKeeping(policy *firewall.Policy, from firewall.Placement, in *session) (*keeping, error) {
	k := &keeping{placement: keptWay(from)}
	if k.placement.Steers() {
		k.session = in
	}
	if policy == nil {
		return k, nil
	}
	var err error
	if k.program, err = firewall.Compile(policy, k.placement); err != nil {
		return nil, fmt.Errorf("compile for the flows that are kept: %w", err)
	}
	return k, nil
}

// with is the same way by another policy. It may be asked of nil.
func (k *keeping) with(policy *firewall.Policy) (*keeping, error) {
	if k == nil {
		return nil, nil
	}
	return newKeeping(policy, k.placement, k.session)
}

// way is the placement whose way it is, off where there is none; visits says whether frames of flows that are kept meet the appliance, and
// tracks whether its conntrack knows them. All may be asked of nil.
func (k *keeping) way() firewall.Placement {
	if k == nil {
		return firewall.Off
	}
	return k.placement
}
func (k *keeping) visits() bool { return k != nil && k.placement.Visits() }
func (k *keeping) tracks() bool { return k != nil && k.placement.Tracks() }

// beside makes the plan that the flows walk by which p keeps, and lets p take what comes back to it from the appliance.
func (p *Plan) beside(epoch uint64) *Plan {
	q := *p
	q.Epoch, q.Placement, q.Program, q.Bypassed, q.keeping = epoch, p.keeping.placement, p.keeping.program, false, nil
	q.Segments, q.Ports = slices.Clone(p.Segments), slices.Clone(p.Ports)
	q.steer(p.keeping.placement, p.keeping.session)
	q.derive()
	p.steering.in[2] = p.keeping.session
	for i := range p.Ports {
		p.Ports[i].Accept = p.Ports[i].Accept || q.Ports[i].Accept && q.Ports[i].Steer
	}
	return &q
}

// sideOf is the plan by which a frame walks that came in by a port: p, or the one that is beside it. What comes out of the appliance may be the last
// frame of a flow, whose end the switch has seen when it went in.
func (p *Plan) sideOf(flows *firewall.Flows, in frame.PortID, f *frame.Frame, k *frame.Key) *Plan {
	if flows.Kept(k, f.Eth(), int(in) < len(p.Ports) && p.Ports[in].Service) {
		return p.kept
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

// keep leaves the flows on their old way. While no frame moves, those are marked that have come since the first look.
func (c *change) keep(ctx context.Context) error {
	flows := c.s.core.flows
	if c.from.Tracks() {
		c.carryFromAppliance(ctx)
	}
	if c.to.Tracks() && !c.from.Tracks() {
		limited, cancel := context.WithTimeout(ctx, carryAtMost)
		defer cancel()
		if err := c.s.flush(limited); err != nil {
			return err
		}
	}
	mark := flows.Mark()
	c.kept = flows.Keep(c.s.core.Now(), c.program, 0)
	err := c.held(ctx, func() error {
		c.kept += flows.Keep(c.s.core.Now(), c.program, mark)
		return nil
	})
	if err != nil {
		flows.Release()
	}
	return err
}

// endKeeping lets the switch forget the old way once the last flow on it has ended, and what it sent last has had time to arrive. last is when
// there was one.
func (s *Switch) endKeeping(last *int64) {
	s.mu.Lock()
	k := s.kept
	s.mu.Unlock()
	now := s.core.Now()
	if k == nil || s.core.flows.KeepsAny(now) {
		*last = now
		return
	}
	if k.visits() && now-*last < int64(graceAppliance) {
		return
	}
	s.takeDown(k, "the last flow that was kept has ended")
}

// takeDown ends an old way, unless somebody changes the switch, or has done so meanwhile: then whoever watches the way comes again.
func (s *Switch) takeDown(k *keeping, why string) {
	if !s.tryAcquire() {
		return
	}
	defer s.release()
	if s.kept != k {
		return
	}
	s.forgetKept(why)
	if err := s.apply(context.Background(), s.newPlan(nil)); err != nil {
		s.log.Error("take down the old way of flows that were kept", "err", err)
	}
}

// forgetKept makes flows that are kept go the way of all others, from the next plan on. The caller has the token.
func (s *Switch) forgetKept(why string) {
	s.mu.Lock()
	k := s.kept
	s.kept = nil
	s.mu.Unlock()
	if k == nil {
		return
	}
	s.core.flows.Release()
	s.endSession(context.Background(), k.session)
	s.events.tell("kept", fmt.Sprintf("on the way of %s no more: %s", k.placement, why))
}

// tickKept looks at the appliance where none but flows that are kept meet it. Where it does not answer, they go the way of all others: the
// engine knows them.
func (m *monitor) tickKept() {
	s := m.s
	now := s.core.Now()
	s.mu.Lock()
	k, placement, appliance := s.kept, s.placement, s.appliance
	m.start = max(m.start, s.placed)
	s.mu.Unlock()
	if !k.visits() || placement.Visits() || appliance == nil || s.placing.Load() {
		m.start = now
		return
	}
	is := m.judge(now, k.placement, appliance, firewall.Healthy, false)
	if is != firewall.Absent && is != firewall.Hung {
		m.round++
		s.sendProbes(m.round, k.placement, k.session)
		return
	}
	s.takeDown(k, "the appliance is "+is.String())
}
