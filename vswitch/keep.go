package vswitch

import (
	"context"
	"fmt"

	"sluice/firewall"
	"sluice/vswitch/walk"
)

// A change with handover keep leaves the flows that the policy allows on the way on which they began, until they end.
// The flow table knows which they are; the plan holds, beside itself, the plan that they walk by.

// keeping is the way of the flows that are kept.
type keeping struct {
	placement firewall.Placement
	program   *firewall.Program
	session   walk.Session // that they are steered in; zero where the placement does not steer
}

// keptWay is the way on which flows go on that began in a placement. Off is none: from the change on the engine checks
// what is kept of it. And what push has in common with fast is all that a frame meets.
func keptWay(from firewall.Placement) firewall.Placement {
	if from == firewall.Off || from == firewall.Push {
		return firewall.Fast
	}
	return from
}

// newKeeping is the way that a change leaves behind.
func newKeeping(policy *firewall.Policy, from firewall.Placement, in walk.Session) (*keeping, error) {
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

// way is the placement whose way it is, off where there is none; visits says whether frames of flows that are kept meet
// the appliance, and tracks whether its conntrack knows them. All may be asked of nil.
func (k *keeping) way() firewall.Placement {
	if k == nil {
		return firewall.Off
	}
	return k.placement
}
func (k *keeping) steeredIn() walk.Session {
	if k == nil {
		return walk.Session{}
	}
	return k.session
}
func (k *keeping) visits() bool { return k != nil && k.placement.Visits() }
func (k *keeping) tracks() bool { return k != nil && k.placement.Tracks() }

// keep leaves the flows on their old way. While no frame moves, those are marked that have come since the first look.
func (c *change) keep(ctx context.Context) error {
	flows := c.s.engine.Flows()
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
	c.kept = flows.Keep(c.s.clock(), c.program, 0)
	err := c.held(ctx, func() error {
		c.kept += flows.Keep(c.s.clock(), c.program, mark)
		return nil
	})
	if err != nil {
		flows.Release()
	}
	return err
}

// endKeeping lets the switch forget the old way once the last flow on it has ended, and what it sent last has had time
// to arrive. last is when there was one.
func (s *Switch) endKeeping(last *int64) {
	s.mu.Lock()
	k := s.kept
	s.mu.Unlock()
	now := s.clock()
	if k == nil || s.engine.Flows().KeepsAny(now) {
		*last = now
		return
	}
	if k.visits() && now-*last < int64(graceAppliance) {
		return
	}
	s.takeDown(k, "the last flow that was kept has ended")
}

// takeDown ends an old way, unless somebody changes the switch, or has done so meanwhile: then whoever watches the way
// comes again.
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

// forgetKept makes flows that are kept go the way of all others: when the status says that none is kept, they do. The
// caller has the token.
func (s *Switch) forgetKept(why string) {
	k := s.kept
	if k == nil {
		return
	}
	s.engine.Flows().Release()
	s.mu.Lock()
	s.kept = nil
	s.mu.Unlock()
	s.endSession(k.session)
	s.events.tell("kept", fmt.Sprintf("on the way of %s no more: %s", k.placement, why))
}
