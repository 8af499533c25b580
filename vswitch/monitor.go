package vswitch

import (
	"context"
	"fmt"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
)

const (
	// probeEvery is how often the appliance is asked whether it lives. Linux routers' BFD does the same in the same
	// order (RFC 5880).
	probeEvery = 50 * time.Millisecond
	// silence is after how long without an answer something is wrong: five probes, so that it is known within 300 ms.
	silence = 225 * time.Millisecond
	// late is how long an answer may take before the appliance has a backlog, and lateStill how long while it has one.
	late, lateStill = 150 * time.Millisecond, 50 * time.Millisecond
	// staleAfter is how long the appliance may hang before what it was handed is too old to be delivered once it wakes.
	// Shorter than that, it was only late: an emulated one on a busy machine may be silent for longer than silence.
	staleAfter = 2 * time.Second
	// recoverEvery is after how long recovery from the appliance's loss is tried again; from one time to the next twice
	// as long, up to recoverSlowest. recoverAtMost is how long the first try may take, and recoverPatience any.
	recoverEvery    = 200 * time.Millisecond
	recoverSlowest  = 10 * time.Second
	recoverAtMost   = 5 * time.Second
	recoverPatience = 15 * time.Second
)

// monitor watches the appliance in the placements that need it. It runs in a goroutine of its own; what others read of
// it is in the switch, under its mutex.
type monitor struct {
	s         *Switch
	placement firewall.Placement
	start     int64 // monotonic ns: nothing before counts
	state     firewall.Failure
	since     int64     // when the state began
	sleeper   Appliance // the one that hung last
	round     uint16
	settling  settling
	full      uint64        // frames that found the queue full, as of the last tick
	tried     int64         // when recovery was tried last
	wait      time.Duration // for how long it is not tried again
}

// monitor watches the appliance until the switch is closed.
func (s *Switch) monitor() {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	m, kept := &monitor{s: s}, &monitor{s: s}
	for {
		select {
		case <-tick.C:
			m.tick()
			kept.tickKept()
		case <-s.life.Done():
			return
		}
	}
}

// outlook is what the switch makes of an appliance that has failed.
type outlook struct {
	lost   bool // it has gone, or hangs for too long: what would meet it is dropped until recovery has brought it up to date
	bypass bool // it is passed by until recovery
	stale  bool // it hangs, and is handed nothing any more: what comes back is from before, and refused
}

// tick looks once at the appliance, and does what its state asks for.
func (m *monitor) tick() {
	s := m.s
	now := s.clock()
	s.mu.Lock()
	placement, session, was, had, appliance := s.placement, s.session, s.failure, s.outlook, s.appliance
	m.start = max(m.start, s.placed) // no probe was answered by another way
	s.mu.Unlock()
	if !placement.NeedsAppliance() || appliance == nil {
		m.placement = placement
		return
	}
	changing := s.placing.Load()
	if placement != m.placement || changing {
		m.placement, m.start = placement, now // a change may hold frames, probes among them
		m.full = m.queueFull(placement)
	}
	if was == firewall.Healthy && overload(m.state) { // a change of placement has ended it
		m.settling.over = now
	}
	unknown := had.lost && !(had.stale && appliance == m.sleeper) // it knows nothing: no probe would come back
	is := m.settling.settle(now, was, m.judge(now, placement, appliance, was, unknown), changing)
	if is != m.state {
		m.state, m.since, m.wait = is, now, 0
	}
	if is == firewall.Hung {
		m.sleeper = appliance
	}
	if placement.Visits() && is != firewall.Absent && !unknown {
		m.round++
		s.sendProbes(m.round, placement, session)
	}
	if m.recovers(now, had) {
		m.recover()
		return
	}
	s.setFailure(was, is)
	m.fallBack(now, is, had)
}

// tickKept looks at the appliance where none but flows that are kept meet it. Where it does not answer, they go the way
// of all others: the engine knows them.
func (m *monitor) tickKept() {
	s := m.s
	now := s.clock()
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

// recovers says whether the appliance may take its place again. One that woke may be slow for good, once all that it
// was handed is too old.
func (m *monitor) recovers(now int64, had outlook) bool {
	slow := had.stale && overload(m.state) && now-m.since >= int64(staleAfter)
	return (had.lost || had.bypass) && (m.state == firewall.Healthy || slow)
}

// wants is what should be made of the appliance.
func (m *monitor) wants(now int64, had outlook) outlook {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	o := outlook{lost: had.lost, bypass: m.s.failsOpen(m.state), stale: had.stale}
	switch {
	case m.state == firewall.Absent:
		o.lost, o.stale = true, false
	case m.state == firewall.Hung && now-m.since >= int64(staleAfter):
		o.lost, o.stale = true, true
	}
	return o
}

// judge says what is wrong with the appliance now.
func (m *monitor) judge(now int64, placement firewall.Placement, a Appliance, was firewall.Failure, unknown bool) firewall.Failure {
	queued := m.queueFull(placement)
	grew := queued > m.full
	m.full = queued
	switch {
	case a.Absent():
		return firewall.Absent
	case !placement.Visits() || unknown:
		return firewall.Healthy // unknown: it is there again, and recovery will say more
	}
	mark := late
	if was == firewall.Backlogged {
		mark = lateStill
	}
	probes := &m.s.probes
	switch {
	case probes.silentFor(int64(silence), m.start, now, false):
		return firewall.Hung
	case placement.Tracks() && probes.silentFor(int64(silence), m.start, now, true):
		return firewall.TableFull
	case probes.last() > int64(mark) || grew:
		return firewall.Backlogged
	}
	return firewall.Healthy
}

// queueFull counts the frames that the appliance's queues did not take.
func (m *monitor) queueFull(placement firewall.Placement) (n uint64) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	for id := range m.s.ports {
		if p := &m.s.ports[id]; p.ID != 0 && p.Serves(placement) {
			c, _ := m.s.engine.Counters(p.ID)
			n += c.Dropped[frame.ReasonFull]
		}
	}
	return n
}

// failing is how the appliance is, as the monitor saw it last.
func (s *Switch) failing() firewall.Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// setFailure notes a new state and tells it, unless somebody has recovered it meanwhile.
func (s *Switch) setFailure(was, f firewall.Failure) {
	s.mu.Lock()
	if s.failure != was || f == was {
		s.mu.Unlock()
		return
	}
	s.failure, s.unrecovered = f, ""
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

// fallBack brings the plan to what a failure asks for. Where somebody else changes the switch, it waits for the next
// tick.
func (m *monitor) fallBack(now int64, is firewall.Failure, had outlook) {
	s := m.s
	if m.wants(now, had) == had {
		return
	}
	if !s.tryAcquire() {
		return
	}
	defer s.release()
	// What is wanted is asked again: somebody may have recovered it, or changed how it fails, meanwhile.
	if o := m.wants(now, s.outlook); s.failing() == is && o != s.outlook {
		s.fallBack(o)
	}
}

// recover tries to bring the placement back, now and then: ever less often while that fails.
func (m *monitor) recover() {
	s := m.s
	if s.clock()-m.tried < int64(m.wait) {
		return
	}
	if !s.tryAcquire() {
		return
	}
	defer s.release()
	err := s.recover(context.Background(), min(recoverAtMost+m.wait, recoverPatience))
	if err != nil {
		m.wait = min(max(2*m.wait, recoverEvery), recoverSlowest)
	} else {
		m.wait = 0
	}
	m.tried = s.clock()
	m.start = m.tried // no probe was sent meanwhile
}

// Recover brings an appliance that takes the place of a lost one up to date, and returns once frames flow by it again.
// The switch does so by itself before long; this is for who wants to know.
func (s *Switch) Recover(ctx context.Context) error {
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	return s.recover(ctx, recoverPatience)
}

// fallBack puts a plan in force that does without the appliance: everything that would meet it is dropped, or passes it
// by.
func (s *Switch) fallBack(o outlook) {
	var program *firewall.Program
	if s.policy != nil {
		to := s.placement
		if o.bypass {
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
	gaveUp := o.stale && !s.stale
	s.outlook = o
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), recoverAtMost)
	defer cancel()
	if err := s.apply(ctx, s.newPlan(func(p *draft) { p.Program = program })); err != nil {
		s.log.Error("fall back from the appliance", "err", err)
	}
	if gaveUp {
		s.events.tell("appliance", "hung: it is handed nothing any more, and what it was handed is refused when it wakes")
	}
}

// recover brings the placement back into force with an appliance that is healthy again: policy, sessions and flows
// first, then frames. It is a change of placement from what was left of it. patience is how long it may take. The
// caller has the token.
func (s *Switch) recover(ctx context.Context, patience time.Duration) error {
	if !s.lost && !s.bypass {
		return nil // somebody has done so already
	}
	ctx, cancel := s.patience(ctx, patience+rulesAtMost(s.sentBytes))
	defer cancel()
	s.placing.Store(true)
	defer s.placing.Store(false)
	c := s.newChange(s.placement, Carry)
	c.keeping, c.recovering, c.patience = s.kept, true, patience
	r, err := c.run(ctx)
	if err != nil {
		s.notRecovered(err)
		return fmt.Errorf("recover: %w", err)
	}
	s.remember(r)
	s.mu.Lock()
	s.failure = firewall.Healthy
	s.mu.Unlock()
	said := fmt.Sprintf("ok: recovered, %d flows are known to it", r.FlowsCarried)
	if r.FlowsAnew > 0 {
		said += fmt.Sprintf(", %d begin anew", r.FlowsAnew)
	}
	if r.Unasked > 0 {
		said += fmt.Sprintf(", %d frames passed it by", r.Unasked)
	}
	s.events.tell("appliance", said)
	s.log.Warn("the appliance has recovered", "flows", r.FlowsCarried, "begun_anew", r.FlowsAnew, "unasked", r.Unasked)
	return nil
}

// notRecovered tells why a recovery has failed: once for each reason, since it is tried again and again.
func (s *Switch) notRecovered(err error) {
	s.mu.Lock()
	told := s.unrecovered == err.Error()
	s.unrecovered = err.Error()
	s.mu.Unlock()
	if told {
		return
	}
	s.events.tell("appliance", fmt.Sprintf("not recovered: %v; it is tried again, at last every %.0f s", err, recoverSlowest.Seconds()))
	s.log.Warn("the appliance is there, but its recovery has failed", "err", err)
}

// effective is the placement that frames see.
func (s *Switch) effective() firewall.Placement {
	if s.bypass {
		return s.placement.Bypassed()
	}
	return s.placement
}
