package vswitch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sluice/firewall"
	"sluice/vnic"
	"sluice/vnic/frame"
)

// Config describes a switch before it has ports.
type Config struct {
	Name string
	// Segments are numbered by their place in the list, from 1. Segment.ID may be left 0; if set, it must agree.
	Segments []Segment
	Log      *slog.Logger // slog.Default() where nil
	Limits   Limits
	Handover Handover     // of changes that do not say; Carry where empty
	Clock    func() int64 // monotonic ns; nil is the machine's clock
	Outer    frame.Outer  // the two ends of the tunnel for steered frames; zero where nothing is steered
}

// Limits bound what guests can make the switch remember. Zero values take the defaults.
type Limits struct {
	Flows        int // flow table; default 1,000,000
	FlowsPerPort int // flows begun by one port; default Flows / 4
	MACs         int // FDB entries of a port that sets no MaxMACs; default 64
}

const (
	defaultMACs = 64
	// expireEvery is how often the flow table is asked to forget what is over.
	expireEvery = 100 * time.Millisecond
	// historyLen is how many receipts are remembered.
	historyLen = 100
)

// Switch is a virtual switch: it owns the plan, and everything that outlives one. Its methods may be called at once from
// many goroutines; those that change it wait for each other.
type Switch struct {
	name     string
	log      *slog.Logger
	limits   Limits
	handover Handover
	core     *Core
	events   *events
	plan     atomic.Pointer[Plan] // the one in force

	changing chan struct{} // holds a token while nobody changes the switch

	// What follows is changed only by who has the token; the mutex is for readers.
	mu          sync.Mutex
	engine      Datapath
	appliance   Appliance
	segments    []Segment
	ports       []Port
	nics        []vnic.NIC // by PortID
	counters    []*counters
	gone        books // of ports that were removed
	policy      *firewall.Policy
	since       time.Time // when the policy was put in force
	generation  uint64
	sent        uint64 // generation of the policy that the appliance has taken
	sentBytes   int    // of its ruleset
	placement   firewall.Placement
	epoch       uint64
	history     []Receipt
	shareFrom   Share // what was counted when the placement changed last
	meter       func() Usage
	outer       frame.Outer
	session     *session         // nil where the placement does not steer
	kept        *keeping         // the way of flows that the last change has kept; nil where there are none
	sessions    uint8            // number of the last one
	failure     firewall.Failure // of the appliance, as the monitor sees it
	placed      int64            // monotonic ns: since when frames have had their present way
	fail        Fail             // instead of what the policy says of failures; empty is the policy's
	outlook                      // what is made of an appliance that has failed
	unrecovered string           // why its recovery failed last; empty where it did not
	unaskedTold uint64           // of the frames that passed it by, those that receipts have told of
	placing     atomic.Bool
	lastLedger  *ledger // its memory serves again

	closed   chan struct{}
	closing  sync.Once
	expirers sync.WaitGroup
}

// New makes a switch without ports, with placement off.
func New(c Config) (*Switch, error) {
	segments, err := number(c.Segments)
	if err != nil {
		return nil, fmt.Errorf("switch %s: %w", c.Name, err)
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Clock == nil {
		c.Clock = monotonic
	}
	if c.Limits.MACs == 0 {
		c.Limits.MACs = defaultMACs
	}
	s := &Switch{
		name: c.Name, log: c.Log, limits: c.Limits, handover: c.Handover, segments: segments, outer: c.Outer,
		events:   newEvents(),
		changing: make(chan struct{}, 1),
		ports:    make([]Port, 1), nics: make([]vnic.NIC, 1), counters: []*counters{{}},
		closed: make(chan struct{}),
		core: &Core{
			fdb: newFDB(), neighbours: newNeighbours(), clock: c.Clock, log: firewall.NewLog(),
			flows: firewall.NewFlows(firewall.FlowsConfig{Max: c.Limits.Flows, PerPort: c.Limits.FlowsPerPort}),
		},
	}
	s.core.failed = s.portFailed
	s.changing <- struct{}{}
	s.plan.Store(s.newPlan(nil))
	s.expirers.Go(s.expire)
	s.expirers.Go(s.logRules)
	s.expirers.Go(s.watch)
	return s, nil
}

// number checks the segments and gives them their numbers.
func number(in []Segment) ([]Segment, error) {
	out := make([]Segment, 1, len(in)+1)
	for i, s := range in {
		id := frame.SegmentID(i + 1)
		switch {
		case s.ID != 0 && s.ID != id:
			return nil, fmt.Errorf("segment %s is number %d in the list, but says %d", s.Name, id, s.ID)
		case len(s.Gateways) > 0 && (s.GatewayMAC == frame.MAC{} || s.GatewayMAC[0]&1 != 0):
			return nil, fmt.Errorf("segment %s has a gateway without a MAC of its own", s.Name)
		}
		s.ID = id
		out = append(out, s)
	}
	return out, nil
}

// Core is what an engine walks with.
func (s *Switch) Core() *Core { return s.core }

// Use puts an engine under the switch. It is called once, before the first AddPort.
func (s *Switch) Use(d Datapath) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.engine = d
}

// SetAppliance says who serves the slow side; nil is nobody. For each segment that it serves, it has one service port.
func (s *Switch) SetAppliance(a Appliance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.appliance = a
}

// acquire waits until nobody else changes the switch.
func (s *Switch) acquire(ctx context.Context) error {
	select {
	case <-s.closed:
		return errClosed
	default:
	}
	select {
	case <-s.changing:
		return nil
	case <-s.closed:
		return errClosed
	case <-ctx.Done():
		return fmt.Errorf("wait for another change of the switch: %w", context.Cause(ctx))
	}
}

// tryAcquire is acquire for who would rather come again than wait.
func (s *Switch) tryAcquire() bool {
	select {
	case <-s.changing:
		return true
	default:
		return false
	}
}

func (s *Switch) release() { s.changing <- struct{}{} }

var errClosed = errors.New("the switch is closed")

// newPlan makes the next plan from the switch's state. edit, where not nil, is the last to change it.
func (s *Switch) newPlan(edit func(*Plan)) *Plan {
	s.epoch++
	p := &Plan{
		Epoch: s.epoch, Generation: s.generation, Placement: s.placement, Program: s.program(),
		Segments: append([]Segment(nil), s.segments...),
		Ports:    append([]Port(nil), s.ports...),
		counters: append([]*counters(nil), s.counters...),
		steering: &steering{outer: s.outer}, keeping: s.kept,
	}
	p.steer(s.placement, s.session)
	if p.Bypassed = s.bypass; s.lost || s.bypass {
		p.loseAppliance()
	}
	if s.stale {
		p.refuseStale()
	}
	if edit != nil {
		edit(p)
	}
	p.derive()
	if p.keeping != nil {
		p.kept = p.beside(s.epoch)
		s.epoch++
		p.Epoch = s.epoch
	}
	return p
}

// steer gives the segments' gateways to the appliance's ports in slow, and to the switch in every other placement; and the guests' frames
// to a session where the placement steers.
func (p *Plan) steer(to firewall.Placement, in *session) {
	p.steering = &steering{outer: p.steering.outer}
	if to.Steers() {
		p.steering.out, p.steering.in[0] = in, in
	}
	for i := range p.Segments {
		p.Segments[i].GatewayPort = 0
	}
	for i := range p.Ports {
		q := &p.Ports[i]
		switch q.Accept = q.serves(to); {
		case q.Steer:
			p.steering.port = q.ID
		case q.Accept:
			p.Segments[q.Segment].GatewayPort = q.ID
		}
	}
}

// loseAppliance takes the appliance out of a plan: what would go there has nowhere to go. What comes back is still taken, probes too.
func (p *Plan) loseAppliance() {
	p.steering.out, p.steering.port = nil, 0
	for i := range p.Segments {
		p.Segments[i].GatewayPort = 0
	}
}

// refuseStale takes nothing of the appliance any more but probes.
func (p *Plan) refuseStale() {
	p.steering.stale = true
	for i := range p.Ports {
		p.Ports[i].Accept = p.Ports[i].Steer
	}
}

// serves says whether a port is one through which frames come from the appliance in a placement.
func (q *Port) serves(pl firewall.Placement) bool {
	return q.Service && (q.Steer && pl.Visits() || !q.Steer && pl == firewall.Slow)
}

// program is what the plan in force walks by.
func (s *Switch) program() *firewall.Program {
	if p := s.plan.Load(); p != nil {
		return p.Program
	}
	return nil
}

// apply puts a plan in force. The caller has the token.
func (s *Switch) apply(ctx context.Context, p *Plan) error {
	if s.engine == nil {
		return errors.New("the switch has no engine")
	}
	s.plan.Store(p)
	if err := s.engine.Apply(ctx, p); err != nil {
		return fmt.Errorf("apply plan %d: %w", p.Epoch, err)
	}
	for _, c := range p.counters {
		if c != nil {
			c.generation.Store(p.Generation)
		}
	}
	return nil
}

// expire lets the flow table forget, until the switch is closed.
func (s *Switch) expire() {
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	kept := s.core.Now()
	own := s.core.NewWalker(0)
	for {
		select {
		case <-tick.C:
			s.settleNeighbours(own)
			s.core.flows.Expire(s.core.Now())
			s.endKeeping(&kept)
		case <-s.closed:
			return
		}
	}
}

// Close detaches every port and ends the engine. It waits for a change that is running.
func (s *Switch) Close() error {
	var err error
	s.closing.Do(func() {
		<-s.changing
		close(s.closed)
		s.expirers.Wait()
		if s.engine != nil {
			err = s.engine.Close()
		}
		s.events.close()
	})
	return err
}
