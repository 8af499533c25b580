package vswitch

import (
	"context"
	"errors"
	"fmt"

	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vswitch/walk"
)

// AddPort adds a port with a number of its own choice, which is free, and begins to move its frames. The switch closes
// the NIC in the end; on an error it is still the caller's.
func (s *Switch) AddPort(ctx context.Context, p Port, nic vnic.NIC) error {
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	if err := s.checkPort(p); err != nil {
		return fmt.Errorf("add port %s: %w", p.Name, err)
	}
	if p.MaxMACs == 0 {
		p.MaxMACs = s.limits.MACs
	}
	s.setPort(p.ID, p)
	var err error
	if !p.Service {
		err = s.extend(ctx)
	}
	if err == nil {
		err = s.apply(ctx, s.newPlan(nil))
	}
	if err == nil {
		err = s.engine.Attach(p.ID, nic)
	}
	if err != nil {
		s.mu.Lock()
		s.ports[p.ID] = Port{}
		s.mu.Unlock()
		err = errors.Join(err, s.apply(context.WithoutCancel(ctx), s.newPlan(nil)))
		s.forgetPort(p.ID)
		return fmt.Errorf("add port %s: %w", p.Name, err)
	}
	s.events.tell("port-up", p.Name)
	return nil
}

func (s *Switch) checkPort(p Port) error {
	switch {
	case p.ID == 0:
		return errors.New("ports are numbered from 1")
	case int(p.ID) < len(s.ports) && s.ports[p.ID].ID != 0:
		return fmt.Errorf("number %d is taken by %s", p.ID, s.ports[p.ID].Name)
	case p.Steer && (!p.Service || p.Segment != 0):
		return errors.New("the steer port is a service port on no segment")
	case (p.Segment == 0) != p.Steer || int(p.Segment) >= len(s.segments):
		return fmt.Errorf("there is no segment %d", p.Segment)
	}
	for _, q := range s.ports {
		if p.Steer && q.Steer {
			return fmt.Errorf("steered frames go to %s already", q.Name)
		}
		if p.Service && q.Service && q.Segment == p.Segment {
			return fmt.Errorf("segment %s is served by %s already", s.segments[p.Segment].Name, q.Name)
		}
	}
	return nil
}

// setPort writes a port's place in the switch's state.
func (s *Switch) setPort(id frame.PortID, p Port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for int(id) >= len(s.ports) {
		s.ports, s.zero, s.realized = append(s.ports, Port{}), append(s.zero, walk.Counters{}), append(s.realized, 0)
	}
	s.ports[id] = p
}

// forgetPort empties a port's place, once no plan has it. What it has counted stays in the sums.
func (s *Switch) forgetPort(id frame.PortID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := s.engine.Counters(id); ok {
		s.gone.Add(n.Since(s.zero[id]))
	}
	s.ports[id], s.zero[id], s.realized[id] = Port{}, walk.Counters{}, 0
	s.engine.Forget(id)
}

// RemovePort forgets a port and all that was learnt from it, and closes its NIC.
func (s *Switch) RemovePort(ctx context.Context, id frame.PortID) error {
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	if int(id) >= len(s.ports) || s.ports[id].ID == 0 {
		return fmt.Errorf("remove port %d: there is none", id)
	}
	name := s.ports[id].Name
	if err := s.engine.Detach(id); err != nil {
		s.log.Warn("close a port's NIC", "port", name, "err", err)
	}
	if s.ports[id].Service {
		s.loseService()
	}
	// Until the plan without the port is in force, others still count what they could not send to it.
	s.mu.Lock()
	s.ports[id] = Port{}
	s.mu.Unlock()
	err := s.apply(context.WithoutCancel(ctx), s.newPlan(nil))
	s.forgetPort(id)
	s.events.tell("port-down", name+" was removed")
	return err
}

// loseService notes that the appliance has lost a port: whoever takes its place knows nothing yet.
func (s *Switch) loseService() {
	if s.kept.visits() {
		s.forgetKept("the appliance has gone")
	}
	s.mu.Lock()
	s.lost = s.lost || s.placement.NeedsAppliance()
	s.mu.Unlock()
}

// portFailed is told by the engine that a NIC cannot be read any more. The port stays in the plan; others live on.
func (s *Switch) portFailed(id frame.PortID, err error) {
	name := s.plan.Load().Ports[id].Name
	s.log.Warn("a port's NIC has failed", "port", name, "err", err)
	s.events.tell("port-down", fmt.Sprintf("%s: %v", name, err))
}
