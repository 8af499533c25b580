// Package vswitch is a virtual switch: what changes it, and what is known of it. A placement, a policy and a port come
// by its methods; how one frame is decided is in walk, what a change cost in measure, and an engine under the switch
// moves the frames. It touches no device, and does not know what a lab or a QEMU is.
package vswitch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch/walk"
)

// Config describes a switch before it has ports.
type Config struct {
	Name   string
	Engine NewEngine // what moves its frames
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
	// tendEvery is how often the engine does what is due.
	tendEvery = 100 * time.Millisecond
	// historyLen is how many receipts are remembered.
	historyLen = 100
)

// Switch is a virtual switch: it owns the plan, and what is known of the ports, the policy and the placement. Its
// methods may be called at once from many goroutines; those that change it wait for each other. Who may touch a field
// is said above it, in four groups.
type Switch struct {
	// Set by New, or safe by themselves.
	name     string
	log      *slog.Logger
	limits   Limits
	handover Handover
	clock    func() int64 // monotonic ns
	engine   Engine
	rules    *firewall.Log // what logged rules decide
	probes   probes
	events   *events
	watch    atomic.Pointer[walk.Watch]
	plan     atomic.Pointer[walk.Plan] // the one in force
	placing  atomic.Bool
	segments []Segment
	outer    frame.Outer

	changing chan struct{}   // holds a token while nobody changes the switch
	life     context.Context // ends when the switch is closed
	end      context.CancelFunc
	closing  sync.Once
	running  sync.WaitGroup // every goroutine that the switch has started

	// Touched only with the token.
	epoch    uint64
	sessions uint8 // number of the last session
	// ended is closed once the appliance has been told of every session that is over; nil where none ever was.
	ended <-chan struct{}

	mu sync.Mutex

	// Touched only with the mutex.
	meter       func() Usage
	failure     firewall.Failure // of the appliance, as the monitor sees it
	unrecovered string           // why its recovery failed last; empty where it did not

	// Written with the token and the mutex; read with either.
	appliance   Appliance
	ports       []Port
	zero        []walk.Counters // by PortID: what was counted when the switch forgot
	realized    []uint64        // by PortID: generation of the policy that every frame of the port has met since the last change
	gone        walk.Counters   // of ports that were removed
	policy      *firewall.Policy
	since       time.Time // when the policy was put in force
	generation  uint64
	sent        uint64 // generation of the policy that the appliance has taken
	sentBytes   int    // of its ruleset
	placement   firewall.Placement
	history     []Receipt
	shareFrom   Share        // what was counted when the placement changed last
	session     walk.Session // zero where the placement does not steer
	kept        *keeping     // the way of flows that the last change has kept; nil where there are none
	placed      int64        // monotonic ns: since when frames have had their present way
	fail        Fail         // instead of what the policy says of failures; empty is the policy's
	outlook                  // what is made of an appliance that has failed
	unaskedTold uint64       // of the frames that passed it by, those that receipts have told of
}

// New makes a switch without ports, with placement off.
func New(c Config) (*Switch, error) {
	segments, err := number(c.Segments)
	if err != nil {
		return nil, fmt.Errorf("switch %s: %w", c.Name, err)
	}
	if c.Engine == nil {
		return nil, fmt.Errorf("switch %s: it has no engine", c.Name)
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
		ports:    make([]Port, 1), zero: make([]walk.Counters, 1), realized: make([]uint64, 1),
		clock: c.Clock, rules: firewall.NewLog(),
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.engine, err = c.Engine(walk.Config{
		Clock: c.Clock, Log: s.rules, Probed: s.probes.answer, Failed: s.portFailed,
		Flows: firewall.FlowsConfig{Max: c.Limits.Flows, PerPort: c.Limits.FlowsPerPort},
	})
	if err != nil {
		return nil, fmt.Errorf("switch %s: make its engine: %w", c.Name, err)
	}
	if err := s.apply(context.Background(), s.newPlan(nil)); err != nil {
		return nil, errors.Join(fmt.Errorf("switch %s: %w", c.Name, err), s.engine.Close())
	}
	s.changing <- struct{}{}
	s.running.Go(s.tend)
	s.running.Go(s.logRules)
	s.running.Go(s.monitor)
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

// started is where the machine's clock counts from.
var started = time.Now()

func monotonic() int64 { return int64(time.Since(started)) }

// SetAppliance says who serves the slow side; nil is nobody. For each segment that it serves, it has one service port.
// A change that runs ends with the appliance that it began with: SetAppliance waits for it.
func (s *Switch) SetAppliance(a Appliance) {
	if s.acquire(s.life) != nil {
		return // closed: nobody asks any more
	}
	defer s.release()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.appliance = a
}

// acquire waits until nobody else changes the switch.
func (s *Switch) acquire(ctx context.Context) error {
	select {
	case <-s.life.Done():
		return errClosed
	default:
	}
	select {
	case <-s.changing:
		return nil
	case <-s.life.Done():
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

// draft is a plan in the making: the plan, and the way of the flows that are to be kept beside it.
type draft struct {
	*walk.Plan
	keeping *keeping
}

// newPlan makes the next plan from the switch's state. edit, where not nil, is the last to change it.
func (s *Switch) newPlan(edit func(*draft)) *walk.Plan {
	s.epoch++
	p := &draft{keeping: s.kept, Plan: &walk.Plan{
		Epoch: s.epoch, Generation: s.generation, Placement: s.placement, Program: s.program(), Bypassed: s.bypass,
		Segments: slices.Clone(s.segments), Ports: slices.Clone(s.ports), Steering: walk.Steering{Outer: s.outer},
	}}
	p.Steer(s.placement, s.session)
	if s.lost || s.bypass {
		p.LoseAppliance()
	}
	if s.stale {
		p.RefuseStale()
	}
	if edit != nil {
		edit(p)
	}
	p.Derive()
	if k := p.keeping; k != nil {
		p.KeepBeside(s.epoch, k.placement, k.program, k.session)
		s.epoch++
		p.Epoch = s.epoch
	}
	return p.Plan
}

// program is what the plan in force walks by.
func (s *Switch) program() *firewall.Program {
	if p := s.plan.Load(); p != nil {
		return p.Program
	}
	return nil
}

// apply puts a plan in force. The caller has the token.
func (s *Switch) apply(ctx context.Context, p *walk.Plan) error {
	s.plan.Store(p)
	if err := s.engine.Apply(ctx, p); err != nil {
		return fmt.Errorf("apply plan %d: %w", p.Epoch, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.realized {
		s.realized[id] = p.Generation
	}
	return nil
}

// tend lets the engine do what is due, until the switch is closed.
func (s *Switch) tend() {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	kept := s.clock()
	for {
		select {
		case <-tick.C:
			s.engine.Tend()
			s.endKeeping(&kept)
		case <-s.life.Done():
			return
		}
	}
}

// Close detaches every port and ends the engine. It waits for a change that is running.
func (s *Switch) Close() error {
	var err error
	s.closing.Do(func() {
		<-s.changing
		s.end()
		s.running.Wait()
		err = s.engine.Close()
		s.events.close()
	})
	return err
}
