// Package kernel is the engine with a part in the kernel: a BPF program at the ingress of each port's device decides
// what it knows wholly, and punts the rest to the engine in Go (vswitch/user), which goes on with the same frame. What
// it knows are plain frames of known flows, whose way Go has shown it, and which it takes into account in the same flow
// table. So whatever holds frames, changes plans and measures is one piece of code: while such a thing goes on, all is
// punted. The package forwards nothing in Go itself, and makes no devices (vnic).
package kernel

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"

	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vswitch"
	"sluice/vswitch/measure"
	"sluice/vswitch/user"
	"sluice/vswitch/walk"
)

// Engine is a vswitch.Engine: the one in Go, with programs in front.
type Engine struct {
	*user.Engine
	objects objects
	tables  tables
	yard    *vnic.Yard
	clock   func() int64

	mu      sync.Mutex
	shut    map[reason]bool // why all is punted
	plan    *walk.Plan
	home    uint64 // the namespace whose devices frames are redirected between: the first port's
	devices map[frame.PortID]int
}

// reason is why the programs punt everything for a while.
type reason string

const (
	applying  reason = "another plan comes into force"
	holding   reason = "frames are held"
	recording reason = "frames are noted"
	watching  reason = "frames are watched for a check"
	planless  reason = "there is no plan"
)

// New loads the programs, and makes an engine without ports.
func New(c walk.Config) (vswitch.Engine, error) {
	e := &Engine{clock: c.Clock, shut: map[reason]bool{planless: true}, devices: map[frame.PortID]int{}}
	if err := e.load(c); err != nil {
		return nil, errors.Join(err, e.unload())
	}
	return e, nil
}

// Check is nil where this process can have the engine, or says why not.
func Check() error {
	e := &Engine{}
	return errors.Join(e.load(walk.Config{Clock: func() int64 { return 0 }}), e.unload())
}

func (e *Engine) load(c walk.Config) (err error) {
	if c.Flows.Max == 0 {
		c.Flows.Max = maxFlows
	}
	c.Flows.Shared, c.Flows.Seeds, c.Flows.Memory, c.Shortcuts = true, drawSeeds(), nil, (*shortcuts)(e)
	c.Flows.Memory = func(entries, buckets int) (_, _ []byte, err error) {
		return e.memory(entries, buckets, c)
	}
	inner, err := user.New(c)
	if err != nil {
		return fmt.Errorf("load the engine's programs into the kernel: %w", err)
	}
	e.Engine = inner.(*user.Engine)
	e.tables.settings.bucketMask = uint32(e.Core.Flows().ShardBuckets() - 1)
	e.yard, err = vnic.NewYard()
	return err
}

// memory loads programs and tables, of which the flow table is one, in bytes.
func (e *Engine) memory(entries, buckets int, c walk.Config) (eb, bb []byte, err error) {
	const entryBytes, bucketBytes = 128, 64
	if err := e.objects.load(entries/entryBytes, buckets/bucketBytes, c.Flows.Seeds); err != nil {
		return nil, nil, err
	}
	t, o := &e.tables, &e.objects
	t.portOf, t.counts = o.PortOf, o.Counts
	one, err := view[settings](t, o.Settings)
	if err != nil {
		return nil, nil, err
	}
	t.settings = &one[0]
	if t.ports, err = view[port](t, o.Ports); err != nil {
		return nil, nil, err
	}
	if t.walks, err = view[walking](t, o.Walks); err != nil {
		return nil, nil, err
	}
	if t.ways, err = view[way](t, o.Ways); err != nil {
		return nil, nil, err
	}
	es, err := view[[entryBytes]byte](t, o.Entries)
	if err != nil {
		return nil, nil, err
	}
	bs, err := view[[bucketBytes]byte](t, o.Buckets)
	if err != nil {
		return nil, nil, err
	}
	return bytesOf(es), bytesOf(bs), nil
}

func (e *Engine) unload() error {
	err := e.objects.close()
	e.tables.close()
	if e.yard != nil {
		err = errors.Join(err, e.yard.Close())
	}
	return err
}

// Close detaches every port, and lets go of what is in the kernel.
func (e *Engine) Close() error { return errors.Join(e.Engine.Close(), e.unload()) }

// Attach puts the program before a NIC that has a device, and gives it to Go. Of another NIC, in memory or on the
// machine's own stack, Go hears every frame. To close the NIC, as Detach does, takes the program away.
func (e *Engine) Attach(id frame.PortID, nic vnic.NIC) error {
	if d, ok := nic.(vnic.Diverter); ok {
		if err := e.divert(id, d); err != nil {
			return err
		}
	}
	return e.Engine.Attach(id, nic)
}

func (e *Engine) divert(id frame.PortID, d vnic.Diverter) error {
	at, err := d.Device()
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.home == 0 {
		e.home = at.Namespace
	}
	if at.Namespace != e.home || at.Index >= maxDevices || int(id) >= maxPorts {
		return d.Divert(e.yard, e.objects.Elsewhere, nil)
	}
	p := &e.tables.ports[id]
	if err := d.Divert(e.yard, e.objects.Decide, &vnic.Punts{Came: &p.punted, Settled: &p.settled}); err != nil {
		return err
	}
	e.devices[id] = at.Index
	e.configurePort(id)
	return e.tables.portOf.Update(uint32(at.Index), uint32(id), ebpf.UpdateAny)
}

// Detach has no frame of known flows go to the port, or come from it, before the NIC is closed.
func (e *Engine) Detach(id frame.PortID) error {
	e.mu.Lock()
	if at, ok := e.devices[id]; ok {
		_ = e.tables.portOf.Update(uint32(at), uint32(0), ebpf.UpdateAny)
		delete(e.devices, id)
		e.configurePort(id)
		e.tables.quiet()
	}
	e.mu.Unlock()
	return e.Engine.Detach(id)
}

// configurePort tells the programs of a port, as the plan has it. Whoever calls has mu.
func (e *Engine) configurePort(id frame.PortID) {
	p := &e.tables.ports[id]
	p.device = uint32(e.devices[id])
	p.mac, p.gateway = frame.MAC{}, frame.MAC{}
	if e.plan == nil {
		return
	}
	if q := e.plan.Port(id); q != nil && !q.Steer {
		p.mac = q.MAC
		p.gateway = e.plan.Segments[q.Segment].GatewayMAC
	}
	p.generation.Add(1)
}

// closed has the programs punt everything from now on, and returns once none of them walks.
func (e *Engine) closed(why reason) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.shut[why] = true
	e.tables.settings.open.Store(0)
	e.tables.quiet()
}

// opened ends a reason.
func (e *Engine) opened(why reason) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if delete(e.shut, why); len(e.shut) == 0 {
		e.tables.settings.open.Store(1)
	}
}

// Apply puts a plan in force. Meanwhile all is punted; where it is not known that nobody walks by an older one, that
// goes on until the next.
func (e *Engine) Apply(ctx context.Context, p *walk.Plan) error {
	e.closed(applying)
	if err := e.Engine.Apply(ctx, p); err != nil {
		return err
	}
	e.mu.Lock()
	s := e.tables.settings
	e.plan = p
	if p.Program != nil {
		asks := p.Program.Settling()
		s.stamp, s.enforce, s.timeouts = asks.Stamp, 0, asks.Timeouts
		if asks.Enforces {
			s.enforce = 1
		}
	}
	for id := range e.devices {
		e.configurePort(id)
	}
	s.generation.Add(1)
	e.mu.Unlock()
	e.opened(planless)
	e.opened(applying)
	return nil
}

// Hold has frames wait, which only Go can.
func (e *Engine) Hold(ctx context.Context) error {
	e.closed(holding)
	err := e.Engine.Hold(ctx)
	if err != nil {
		e.opened(holding)
	}
	return err
}

// Release lets them go on.
func (e *Engine) Release() {
	e.Engine.Release()
	e.opened(holding)
}

// Record begins to note frames.
func (e *Engine) Record(ctx context.Context) error {
	e.closed(recording)
	return e.Engine.Record(ctx)
}

// Records ends that.
func (e *Engine) Records(ctx context.Context) (*measure.Ledger, error) {
	l, err := e.Engine.Records(ctx)
	e.opened(recording)
	return l, err
}

// Watch has frames counted for a check, or not.
func (e *Engine) Watch(w *walk.Watch) {
	if w != nil {
		e.closed(watching)
	}
	e.Engine.Watch(w)
	if w == nil {
		e.opened(watching)
	}
}

// Counters is what a port has counted, in Go and in the kernel.
func (e *Engine) Counters(id frame.PortID) (n walk.Counters, ok bool) {
	fast := e.tables.count(id)
	if n, ok = e.Engine.Counters(id); ok {
		n.In, n.InBytes, n.Kernel = n.In+fast.In, n.InBytes+fast.InBytes, fast.In
		n.Out, n.OutBytes = n.Out+fast.Out, n.OutBytes+fast.OutBytes
		n.Slow, n.SlowBytes = n.Slow+fast.Slow, n.SlowBytes+fast.SlowBytes
	}
	return n, ok
}

// Forget forgets what was learnt from a port, and its counters.
func (e *Engine) Forget(id frame.PortID) {
	e.Engine.Forget(id)
	if id != 0 && int(id) < maxPorts {
		_ = e.tables.uncount(id) // it fails for a number beyond the table only
	}
}

// Tend tells the programs the time, and the FDB whom they have heard.
func (e *Engine) Tend() {
	now := e.clock()
	e.tables.settings.now.Store(milliseconds(now))
	e.mu.Lock()
	for id := range e.devices {
		p := &e.tables.ports[id]
		if q := e.plan.Port(id); q != nil && p.seen.Load() != 0 {
			e.Touch(q.Segment, q.MAC, id, now-int64(milliseconds(now)-p.seen.Load())*1e6)
		}
	}
	e.mu.Unlock()
	e.Engine.Tend()
}

func milliseconds(now int64) uint32 { return uint32(now / 1e6) }
