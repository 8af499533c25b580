package vswitch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch/measure"
	"sluice/vswitch/walk"
)

const (
	// watchBefore is how long the ledger runs before a change, so that it sees what a stream is like without one, and
	// watchAfter how long at least after it.
	watchBefore = 20 * time.Millisecond
	watchAfter  = 100 * time.Millisecond
	// How long a frame may be on its way before it counts as lost: in the engine, or through an appliance that may be
	// emulated and have to share its processor. An appliance that delivers nothing for so long is empty.
	graceEngine    = 10 * time.Millisecond
	graceAppliance = 250 * time.Millisecond
	// drainStep is how often the appliance's ports are looked at, and drainAtMost how long in all.
	drainStep   = 20 * time.Millisecond
	drainAtMost = 2 * time.Second
	// applianceAtMost and carryAtMost bound what the appliance is waited for (see Patient), so that a hung one fails a
	// change. While frames are held, carryAtMost is by the clock.
	applianceAtMost = 10 * time.Second
	carryAtMost     = 5 * time.Second
	// leaveAtMost bounds what is asked of an appliance that is left: nothing depends on the answer.
	leaveAtMost = time.Second
)

var errNoAppliance = errors.New("this lab has no appliance, which every placement but off and fast needs")

// PlaceOptions says how a placement is changed. The zero value is the default.
type PlaceOptions struct {
	Handover Handover // the switch's own where empty (see Config)
	Fail     Fail     // what becomes of frames while the appliance fails; as the policy says where empty
	First    bool     // the lab comes up: nobody has changed anything, and History does not tell of it
}

// Fail says what becomes of frames that the appliance cannot look at.
type Fail string

// The ways to fail.
const (
	FailClosed Fail = "closed" // they go nowhere
	FailOpen   Fail = "open"   // they pass it by
)

// Place changes where the policy is enforced. On an error, or when ctx ends before the new plan is in force, the old
// placement stays. After that the receipt is merely cut short.
func (s *Switch) Place(ctx context.Context, to firewall.Placement, o PlaceOptions) (Receipt, error) {
	if err := s.acquire(ctx); err != nil {
		return Receipt{}, err
	}
	defer s.release()
	s.placing.Store(true)
	defer s.placing.Store(false)
	c := s.newChange(to, cmp.Or(o.Handover, s.handover, Carry))
	c.fail, c.first = o.Fail, o.First
	if c.handover == Keep && c.from == c.to {
		c.handover = Carry // all is where it should be
	}
	if o.Fail != "" && o.Fail != FailOpen && o.Fail != FailClosed {
		return Receipt{}, fmt.Errorf("place %s: fail %q: open or closed", to, o.Fail)
	}
	r, err := c.run(ctx)
	if err != nil {
		s.events.tell("place-failed", fmt.Sprintf("%s to %s: %v", c.chosen, to, err))
		return Receipt{}, fmt.Errorf("place %s: %w", to, err)
	}
	if !o.First {
		s.remember(r)
	}
	s.events.tell("placed", r.summary())
	s.log.Info("placed", "from", r.From, "to", to, "bypassed", r.Bypassed, "epoch", r.Epoch, "gap_ms", r.GapMS, "lost", r.Lost,
		"leaked", r.Leaked, "unasked", r.Unasked, "flows_begun_anew", r.FlowsAnew, "flows_cut", r.FlowsCut)
	return r, nil
}

// newChange is a change from what is in force.
func (s *Switch) newChange(to firewall.Placement, how Handover) *change {
	return &change{
		s: s, chosen: s.placement, bypassed: s.bypass, from: s.effective(), to: to, handover: how, was: s.kept,
		recovering: s.lost || s.bypass, failed: s.failing() != firewall.Healthy, fail: s.fail,
	}
}

// remember puts a receipt into the history.
func (s *Switch) remember(r Receipt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = append(s.history, r)
	s.history = s.history[max(0, len(s.history)-historyLen):]
}

// change is one change of placement.
type change struct {
	s        *Switch
	chosen   firewall.Placement // what somebody asked for last
	bypassed bool               // but frames pass its appliance by
	from, to firewall.Placement // from is what frames see
	handover Handover
	fail     Fail
	first    bool     // the lab comes up
	was      *keeping // the way of flows that an earlier change has kept
	keeping  *keeping // and that of those that are kept under the new plan
	kept     int      // flows on it
	// recovering says that the appliance may know nothing of what it was told before.
	recovering bool
	failed     bool // the appliance was not healthy before
	// patience is how long the steps of a recovery may take; 0 where it is none, but what somebody asked for.
	patience time.Duration
	program  *firewall.Program
	recorded *measure.Ledger
	session  walk.Session // that frames are steered in under the new plan; zero where it does not steer
	ending   walk.Session // of the old plan, if it is another

	watched measure.Interval
	began   walk.Counters
	carried int
	anew    int // flows that are not carried
	// cutRelated is how many flows end that only a helper of the appliance let pass.
	cutRelated int
}

// run is a change from beginning to end. What fails before commit is taken back.
func (c *change) run(ctx context.Context) (Receipt, error) {
	start := time.Now()
	if err := c.check(); err != nil {
		return Receipt{}, err
	}
	if err := c.prepare(ctx); err != nil {
		return Receipt{}, err
	}
	if err := c.move(ctx); err != nil {
		back := context.WithoutCancel(ctx)
		_, stopped := c.s.engine.Records(back)
		err = errors.Join(err, stopped, c.s.apply(back, c.s.newPlan(nil)))
		if c.session != c.s.session {
			c.s.endSession(c.session)
		}
		if c.to == firewall.Push && c.from != firewall.Push {
			c.s.endAdministration(back)
		}
		return Receipt{}, err
	}
	c.commit()
	if c.from == firewall.Push && c.to != firewall.Push {
		c.s.endAdministration(context.WithoutCancel(ctx))
	}
	if !c.first { // no guest has sent anything yet
		c.drain(ctx)
	}
	c.forgetLeft(ctx)
	var err error
	if c.recorded, err = c.s.engine.Records(context.WithoutCancel(ctx)); err != nil {
		return Receipt{}, err
	}
	c.watched.End = c.s.clock()
	if err := c.s.apply(context.WithoutCancel(ctx), c.s.newPlan(c.new)); err != nil {
		return Receipt{}, err
	}
	c.s.endSession(c.ending)
	if c.was != nil && c.keeping == nil {
		c.s.endSession(c.was.session)
	}
	return c.receipt(time.Since(start)), nil
}

// check refuses what cannot be done.
func (c *change) check() error {
	s := c.s
	switch {
	case c.handover != Carry && c.handover != Keep && c.handover != Cut:
		return fmt.Errorf("no handover %q: carry, keep or cut", c.handover)
	case c.handover == Keep && c.was != nil:
		return fmt.Errorf("flows are still kept on the way of %s; wait until they have ended, or take carry or cut", c.was.placement)
	case c.handover == Keep && s.lost:
		return errors.New("the appliance has gone, and flows cannot be kept on its way; take carry or cut")
	case s.policy == nil && c.to.Enforces():
		return errors.New("there is no policy to enforce")
	}
	switch {
	case !c.to.NeedsAppliance():
		return nil
	case s.appliance == nil:
		return errNoAppliance
	case s.appliance.Absent():
		return errors.New("the appliance has ended; restart it first")
	case c.to == firewall.Slow:
		return s.checkServed()
	case c.to.Steers() && !slices.ContainsFunc(s.ports, func(p Port) bool { return p.Steer }):
		return errors.New("the appliance has no vNIC for steered frames")
	}
	return nil
}

// checkServed says whether the appliance has a port on every segment that has a gateway. On one without, guests would
// lose their gateway.
func (s *Switch) checkServed() error {
	served := map[frame.SegmentID]bool{}
	for _, p := range s.ports {
		served[p.Segment] = served[p.Segment] || p.Service
	}
	for _, seg := range s.segments[1:] {
		if len(seg.Gateways) > 0 && !served[seg.ID] {
			return fmt.Errorf("the appliance has no vNIC on segment %s", seg.Name)
		}
	}
	return nil
}

// prepare does what needs no change of plan: compile, and see that the appliance is ready and has the policy.
func (c *change) prepare(ctx context.Context) (err error) {
	c.ending = c.s.session
	if c.handover == Keep {
		if c.keeping, err = newKeeping(c.s.policy, c.from, c.ending); err != nil {
			return err
		}
		if c.keeping.session.ID != 0 {
			c.ending = walk.Session{}
		}
	}
	if c.s.policy != nil {
		if c.program, err = firewall.Compile(c.s.policy, c.to); err != nil {
			return fmt.Errorf("compile: %w", err)
		}
	}
	if !c.to.NeedsAppliance() {
		return nil
	}
	if err := c.ready(ctx); err != nil {
		return fmt.Errorf("the appliance is not ready: %w", err)
	}
	if c.to.Tracks() {
		if err := c.s.sendPolicy(ctx, c.s.policy, c.s.generation, c.from, c.to, c.keeping.way()); err != nil {
			return err
		}
	}
	ctx, cancel := c.s.patience(ctx, applianceAtMost)
	defer cancel()
	if err := c.begin(ctx); err != nil || c.to != firewall.Push {
		return err
	}
	return c.s.administer(ctx)
}

func (c *change) ready(ctx context.Context) error {
	ctx, cancel := c.s.patience(ctx, applianceAtMost)
	defer cancel()
	return c.s.appliance.Ready(ctx)
}

// begin begins a session where the new placement steers. A placement that is chosen again goes on with its own. Flows
// that are kept go on in the session that they began in.
func (c *change) begin(ctx context.Context) error {
	switch {
	case !c.to.Steers():
		return nil
	case c.from == c.to && c.ending.ID != 0 && !c.recovering:
		c.session, c.ending = c.ending, walk.Session{}
	default:
		c.session = c.s.newSession(c.to)
	}
	if err := c.s.appliance.Steer(ctx, c.s.spec(c.session)); err != nil {
		return fmt.Errorf("prepare the appliance for steered frames: %w", err)
	}
	return nil
}

// endSession lets the appliance forget a session. That it cannot is no matter: the switch takes nothing of it any more.
// The caller has the token.
func (s *Switch) endSession(over walk.Session) {
	a := s.appliance
	if over.ID == 0 || a == nil || a.Absent() {
		return
	}
	before, ended := s.ended, make(chan struct{})
	s.ended = ended
	s.running.Go(func() { // it may hang
		defer close(ended)
		ctx, cancel := context.WithTimeout(s.life, carryAtMost)
		defer cancel()
		if err := a.EndSteer(ctx, over.ID); err != nil && s.life.Err() == nil {
			s.log.Warn("end a session of the appliance", "session", over.ID, "err", err)
		}
		if before != nil {
			<-before
		}
	})
}

// sessionsEnded waits until the appliance has been told of every session that is over: it refuses a ruleset that has no
// table for one that it still serves. The caller has the token.
func (s *Switch) sessionsEnded(ctx context.Context) error {
	if s.ended == nil {
		return nil
	}
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait until the appliance has ended its last session: %w", context.Cause(ctx))
	}
}

// move brings the new plan into force, while records are taken.
func (c *change) move(ctx context.Context) error {
	s := c.s
	s.mu.Lock()
	c.began = s.books()
	s.mu.Unlock()
	watched := s.newPlan(c.listening)
	if err := s.apply(ctx, watched); err != nil {
		return err
	}
	c.watched = measure.Interval{
		Start: s.clock(), Grace: int64(c.grace(c.to)), Policy: s.policy,
		Placements: map[uint64]firewall.Placement{},
		Known:      func(t firewall.Tuple) bool { return s.engine.Flows().Knows(s.clock(), t) },
	}
	c.covers(watched, c.from)
	if err := s.engine.Record(ctx); err != nil {
		return err
	}
	if err := c.prove(ctx); err != nil {
		return err
	}
	return c.handOver(ctx)
}

// covers notes what placement frames see under a plan, and under the one beside it.
func (c *change) covers(p *walk.Plan, seen firewall.Placement) {
	c.watched.Placements[p.Epoch] = seen
	if p.Beside != nil {
		c.watched.Placements[p.Beside.Epoch] = p.Beside.Placement
	}
}

// listening edits a plan of the placement that is left: probes may come back by the new way. No frame can: none has
// been sent on it.
func (c *change) listening(p *draft) {
	if !c.to.Visits() {
		return
	}
	if c.session != p.Steering.In[0] {
		p.Steering.In[1] = c.session
	}
	for i := range p.Ports {
		p.Ports[i].Accept = p.Ports[i].Accept || p.Ports[i].Steer
	}
}

// new edits a plan to be of the placement that comes.
func (c *change) new(p *draft) {
	p.Placement, p.Program, p.Bypassed, p.keeping = c.to, c.program, false, c.keeping
	p.Steer(c.to, c.session)
}

// draining is new, but the appliance may still deliver what it was given, unless it hung so long that this is too old.
func (c *change) draining(p *draft) {
	c.new(p)
	if c.s.stale {
		return
	}
	for i := range p.Ports {
		q := &p.Ports[i]
		q.Accept = q.Accept || q.Serves(c.from) || c.was != nil && q.Serves(c.was.placement)
	}
	p.Steering.In[1] = c.ending
	if c.was != nil {
		p.Steering.In[2] = c.was.session
	}
}

// activate applies the new plan, while records are taken.
func (c *change) activate(ctx context.Context) error {
	p := c.s.newPlan(c.draining)
	c.covers(p, c.to)
	return c.s.apply(ctx, p)
}

// commit makes the new placement the switch's own. Its appliance is healthy: the way has just been proved. And one that
// is in no frame's way has no state: when frames are to meet it again, it is looked at anew. Of a recovery the state is
// told at its end.
func (c *change) commit() {
	s := c.s
	usage := s.usage()
	s.mu.Lock()
	s.placement, s.session, s.kept, s.outlook, s.fail = c.to, c.session, c.keeping, outlook{}, c.fail
	if c.patience == 0 {
		s.failure = firewall.Healthy
	}
	s.unrecovered = ""
	s.placed = s.clock()
	s.shareFrom = s.share(usage)
	s.mu.Unlock()
	if c.was != nil && c.keeping == nil {
		s.engine.Flows().Release()
	}
	if c.to.Enforces() && c.program != nil {
		s.engine.Flows().Revalidate(c.program)
	}
}

// grace is how long a frame may be on its way in a placement, or beside it, where flows are kept.
func (c *change) grace(p firewall.Placement) time.Duration {
	if p.Visits() || c.keeping.visits() {
		return graceAppliance
	}
	return graceEngine
}

// drain watches on: for long enough to tell what is lost from what is on its way, and where the old way led through the
// appliance, until it is empty of it.
func (c *change) drain(ctx context.Context) {
	began := c.s.clock()
	since := func(then int64) time.Duration { return time.Duration(c.s.clock() - then) }
	sounding := c.sound()
	last, changed := c.fromAppliance(), began
	for since(began) < drainAtMost {
		if pause(ctx, drainStep) != nil {
			return
		}
		if now := c.fromAppliance(); now != last {
			last, changed = now, c.s.clock()
		}
		answered := sounding.empty() || c.s.noMachine()
		empty := !c.drains() || answered && since(changed) >= graceAppliance
		if empty && since(began) >= watchAfter+c.grace(c.to) {
			return
		}
	}
}

// drains says whether an old way, on which no flow is kept, led through the appliance.
func (c *change) drains() bool {
	return c.handover != Keep && (c.from.Visits() && c.from != c.to || c.keeping == nil && c.was.visits())
}

// fromAppliance counts the frames that came out of the appliance by the old way so far.
func (c *change) fromAppliance() (n uint64) {
	slow := c.from == firewall.Slow
	n = c.s.engine.Returned(c.ending.ID)
	if c.was != nil {
		slow = slow || c.was.placement == firewall.Slow
		n += c.s.engine.Returned(c.was.session.ID)
	}
	for id, p := range c.s.ports {
		if slow && p.ID != 0 && p.Serves(firewall.Slow) && !p.Steer {
			counted, _ := c.s.engine.Counters(frame.PortID(id))
			n += counted.In
		}
	}
	return n
}

// receipt joins the ledger.
func (c *change) receipt(took time.Duration) Receipt {
	f := c.recorded.Join(c.watched)
	s := c.s
	s.mu.Lock()
	dropped := s.books().Since(c.began).Reasons()
	unasked := s.unasked()
	s.unaskedTold, unasked = unasked, unasked-min(unasked, s.unaskedTold)
	s.mu.Unlock()
	if f.Denied > 0 {
		dropped["appliance"] = uint64(f.Denied)
	}
	return Receipt{
		From: c.chosen, Bypassed: c.bypassed, To: c.to, Handover: c.handover, Epoch: s.epoch, Unasked: unasked,
		DurationMS: milliseconds(took), GapMS: milliseconds(time.Duration(f.Gap)),
		Observed: f.Observed, Delivered: f.Delivered,
		Lost: f.Lost, Duplicated: f.Duplicated, Reordered: f.Reordered, Leaked: f.Leaked,
		LostMost: f.LostMost.String(), LeakedMost: f.LeakedMost.String(),
		Drained: f.Drained, Dropped: dropped, Overflow: f.Overflow,
		FlowsCarried: c.carried, FlowsAnew: c.anew, FlowsCut: c.cutRelated, FlowsKept: c.kept,
	}
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
