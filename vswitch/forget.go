package vswitch

import (
	"context"
	"fmt"

	"sluice/vnic/frame"
	"sluice/vswitch/walk"
)

// Forget makes the switch as if it had only begun: counters are zero, no MAC and no neighbour is known, the fast share
// begins anew, and, if history says so, there were no changes of placement. Ports, policy, placement and flows stay. No
// frame moves meanwhile, so that the books balance afterwards as before.
func (s *Switch) Forget(ctx context.Context, history bool) error {
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	if err := s.engine.Hold(ctx); err != nil {
		return fmt.Errorf("forget: %w", err)
	}
	defer s.engine.Release()
	usage := s.usage()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.engine.Forget(0)
	for id := range s.zero {
		s.zero[id], _ = s.engine.Counters(frame.PortID(id))
	}
	s.gone = walk.Counters{}
	s.shareFrom = s.share(usage)
	if history {
		s.history = nil
	}
	return nil
}
