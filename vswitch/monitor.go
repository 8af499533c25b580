package vswitch

import (
	"context"
	"fmt"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
)

const (
	// probeEvery is how often the appliance is asked whether it lives. Linux routers' BFD does the same in the same order (RFC 5880).
	probeEvery = 50 * time.Millisecond
	// silence is after how long without an answer something is wrong: five probes, so that it is known within 300 ms.
	silence = 225 * time.Millisecond
	// late is how long an answer may take before the appliance has a backlog.
	late = 150 * time.Millisecond
	// healthyTicks is how many ticks without a fault it takes to believe that one is over.
	healthyTicks = 3
	// recoverEvery is how often recovery from the appliance's loss is tried, and recoverAtMost how long one try may take.
	recoverEvery  = 200 * time.Millisecond
	recoverAtMost = 5 * time.Second
)

// monitor watches the appliance in the placements that need it. It runs in a goroutine of its own; what others read of it is in the
// switch, under its mutex.
type monitor struct {
	s         *Switch
	placement firewall.Placement
	start     int64 // monotonic ns: nothing before counts
	round     uint16
	good      int    // ticks without a fault
	full      uint64 // frames that found the queue full, as of the last tick
	tried     time.Time
}

// watch runs the monitor until the switch is closed.
func (s *Switch) watch() {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	m, kept := &monitor{s: s}, &monitor{s: s}
	for {
		select {
		case <-tick.C:
			m.tick()
			kept.tickKept()
		case <-s.closed:
			return
		}
	}
}

// tick looks once at the appliance, and does what its state asks for.
func (m *monitor) tick() {
	s := m.s
	now := s.core.Now()
	s.mu.Lock()
	placement, session, was, lost, appliance := s.placement, s.session, s.failure, s.lost, s.appliance
	m.start = max(m.start, s.placed) // no probe was answered by another way
	s.mu.Unlock()
	if !placement.NeedsAppliance() || appliance == nil {
		m.placement = placement
		return
	}
	if placement != m.placement || s.placing.Load() {
		m.placement, m.start = placement, now // a change may hold frames, probes among them
	}
	is := m.judge(now, placement, appliance, lost)
	if placement.Visits() && is != firewall.Absent && !lost {
		m.round++
		s.sendProbes(m.round, placement, session)
	}
	switch {
	case is != firewall.Healthy:
		m.good = 0
	case was != firewall.Healthy:
		if m.good++; m.good < healthyTicks {
			is = was
		}
	}
	lost = lost || is == firewall.Absent
	s.mu.Lock()
	recovers := is == firewall.Healthy && (lost || s.bypass)
	s.mu.Unlock()
	if recovers {
		m.recover()
		return
	}
	if is != was {
		s.setFailure(is)
	}
	m.fallBack(is, lost)
}

// judge says what is wrong with the appliance now.
func (m *monitor) judge(now int64, placement firewall.Placement, a Appliance, lost bool) firewall.Failure {
	queued := m.queueFull(placement)
	grew := queued > m.full
	m.full = queued
	switch {
	case a.Absent():
		return firewall.Absent
	case !placement.Visits() || lost:
		return firewall.Healthy // lost: it is there again, and recovery will say more
	}
	silent, took := m.s.core.probes.since(m.start, now, false)
	if silent > int64(silence) {
		return firewall.Hung
	}
	if silent, _ := m.s.core.probes.since(m.start, now, true); placement.Tracks() && silent > int64(silence) {
		return firewall.TableFull
	}
	if took > int64(late) || grew {
		return firewall.Backlogged
	}
	return firewall.Healthy
}

// queueFull counts the frames that the appliance's queues did not take.
func (m *monitor) queueFull(placement firewall.Placement) (n uint64) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	for id := range m.s.ports {
		if p := &m.s.ports[id]; p.ID != 0 && p.serves(placement) {
			n += m.s.counters[id].dropped[frame.ReasonFull].Load()
		}
	}
	return n
}

// setFailure notes a new state, and tells it.
func (s *Switch) setFailure(f firewall.Failure) {
	s.mu.Lock()
	s.failure = f
	open, missed := s.failsOpen(f), s.placement.Visits()
	s.mu.Unlock()
	detail := f.String()
	switch {
	case f == firewall.Healthy:
	case !missed:
		detail += ", and no frame misses it"
	case open:
		detail += ", fails open: frames pass it by"
	default:
		detail += ", fails closed: what it cannot look at goes nowhere"
	}
	s.events.tell("appliance", detail)
	s.log.Warn("the appliance's state has changed", "state", f, "open", open)
}

// failsOpen says whether frames pass the appliance by while it fails so. The caller has the mutex.
func (s *Switch) failsOpen(f firewall.Failure) bool {
	switch {
	case f == firewall.Healthy || !s.placement.Visits():
		return false
	case s.fail != "":
		return s.fail == FailOpen
	}
	return s.policy != nil && s.policy.FailOpen[f]
}

// fallBack brings the plan to what a failure asks for. Where somebody else changes the switch, it waits for the next tick.
func (m *monitor) fallBack(is firewall.Failure, lost bool) {
	s := m.s
	s.mu.Lock()
	bypass := s.failsOpen(is)
	settled := lost == s.lost && bypass == s.bypass
	s.mu.Unlock()
	if settled {
		return
	}
	select {
	case <-s.changing:
		defer s.release()
		s.fallBack(lost, bypass)
	default:
	}
}

// recover tries to bring the placement back, now and then.
func (m *monitor) recover() {
	if time.Since(m.tried) < recoverEvery {
		return
	}
	s := m.s
	select {
	case <-s.changing:
		defer s.release()
	default:
		return
	}
	m.tried = time.Now()
	if err := s.recover(context.Background()); err != nil {
		s.log.Info("the appliance is there, but not ready", "err", err)
	}
	m.start = s.core.Now() // no probe was sent meanwhile
}

// Recover brings an appliance that takes the place of a lost one up to date, and returns once frames flow by it again. The switch does so by
// itself before long; this is for who wants to know.
func (s *Switch) Recover(ctx context.Context) error {
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	if !s.lost && !s.bypass {
		return nil
	}
	return s.recover(ctx)
}

// fallBack puts a plan in force that does without the appliance: everything that would meet it is dropped, or passes it by.
func (s *Switch) fallBack(lost, bypass bool) {
	var program *firewall.Program
	if s.policy != nil {
		to := s.placement
		if bypass {
			to = to.Bypassed()
		}
		var err error
		if program, err = firewall.Compile(s.policy, to); err != nil {
			s.log.Error("compile for a placement without its appliance", "err", err)
			return
		}
	}
	if s.kept.visits() {
		s.forgetKept("the appliance has failed")
	}
	s.mu.Lock()
	s.lost, s.bypass = lost, bypass
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), recoverAtMost)
	defer cancel()
	if err := s.apply(ctx, s.newPlan(func(p *Plan) { p.Program = program })); err != nil {
		s.log.Error("fall back from the appliance", "err", err)
	}
}

// recover brings the placement back into force with an appliance that is healthy again: policy, sessions and flows first, then
// frames. It is a change of placement from what was left of it. The caller has the token.
func (s *Switch) recover(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, recoverAtMost)
	defer cancel()
	s.placing.Store(true)
	defer s.placing.Store(false)
	c := &change{s: s, from: s.effective(), to: s.placement, handover: Carry, was: s.kept, keeping: s.kept, recovering: true}
	r, err := c.run(ctx)
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	s.remember(r)
	s.events.tell("appliance", fmt.Sprintf("recovered: %d flows are known to it", r.FlowsCarried))
	s.setFailure(firewall.Healthy)
	return nil
}

// effective is the placement that frames see.
func (s *Switch) effective() firewall.Placement {
	if s.bypass {
		return s.placement.Bypassed()
	}
	return s.placement
}
