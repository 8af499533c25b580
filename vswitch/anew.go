package vswitch

import (
	"context"
	"errors"
	"fmt"
)

// Forget makes the switch as if it had only begun: counters are zero, no MAC and no neighbour is known, the fast share begins anew, and,
// if history says so, there were no changes of placement. Ports, policy, placement and flows stay. No frame moves meanwhile, so that the
// books balance afterwards as before.
func (s *Switch) Forget(ctx context.Context, history bool) error {
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	hold := make(chan struct{})
	defer close(hold)
	back := context.WithoutCancel(ctx)
	if err := s.apply(ctx, s.newPlan(func(p *Plan) { p.Hold = hold })); err != nil {
		return errors.Join(fmt.Errorf("forget: %w", err), s.apply(back, s.newPlan(nil)))
	}
	s.forget(history)
	if err := s.apply(back, s.newPlan(nil)); err != nil {
		return fmt.Errorf("forget: %w", err)
	}
	return nil
}

// forget is Forget while no frame moves.
func (s *Switch) forget(history bool) {
	usage := s.usage()
	s.core.fdb.clear()
	s.core.neighbours.clear()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.policy != nil {
		s.policy.Recount()
	}
	for id, c := range s.counters {
		if c != nil {
			c.zero = c.raw()
			c.zeroDrops = dropsOf(s.nics[id])
		}
	}
	s.gone = books{}
	s.shareFrom = s.share(usage)
	if history {
		s.history = nil
	}
}
