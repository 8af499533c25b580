package vswitch

import (
	"context"
	"fmt"

	"sluice/firewall"
	"sluice/vswitch/walk"
)

// newSession begins a session for a placement that steers. Its number was not that of the last one.
func (s *Switch) newSession(to firewall.Placement) walk.Session {
	s.sessions = s.sessions%255 + 1
	return walk.Session{ID: s.sessions, Ticketed: to == firewall.Inspect}
}

// spec is what the appliance must know of a session.
func (s *Switch) spec(in walk.Session) firewall.SteerSpec {
	spec := firewall.SteerSpec{Session: in.ID, Inspect: in.Ticketed}
	for _, p := range s.ports {
		if p.ID != 0 && !p.Service {
			spec.Ports = append(spec.Ports, p.ID)
		}
	}
	return spec
}

// extend makes the appliance know a port that is new, in the sessions that frames are steered in.
func (s *Switch) extend(ctx context.Context) error {
	for _, in := range []walk.Session{s.session, s.kept.steeredIn()} {
		if in.ID == 0 {
			continue
		}
		if s.appliance == nil {
			return errNoAppliance
		}
		if err := s.appliance.Steer(ctx, s.spec(in)); err != nil {
			return fmt.Errorf("steer its frames: %w", err)
		}
	}
	return nil
}
