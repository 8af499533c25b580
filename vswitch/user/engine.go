// Package user is the engine in Go: one goroutine for each port, which reads a batch, asks the switch's core what
// becomes of each frame, and writes. It decides nothing.
package user

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vswitch"
	"sluice/vswitch/measure"
	"sluice/vswitch/walk"
)

// Engine moves frames between NICs. It is a vswitch.Engine; what is not about moving frames is the core's.
type Engine struct {
	*walk.Core
	now  atomic.Pointer[moment]
	nics atomic.Pointer[[]vnic.NIC] // by PortID; copied on each change
	own  *walk.Walker               // of the switch's own words: only Tend uses it

	ledger *measure.Ledger // the last one: its memory serves again

	mu      sync.Mutex // of what follows, and of changes to nics
	workers map[frame.PortID]*worker
	closed  bool
}

// moment is what frames walk by from one change to the next. A batch sees exactly one.
type moment struct {
	number uint64          // from 1
	plan   *walk.Plan      // nil before the first
	ledger *measure.Ledger // takes records; nil where nobody asks for them
	hold   chan struct{}   // closed when frames may go on; nil where none is held
}

// New makes an engine without ports.
func New(c walk.Config) (vswitch.Engine, error) {
	core, err := walk.NewCore(c)
	if err != nil {
		return nil, err
	}
	e := &Engine{Core: core, workers: map[frame.PortID]*worker{}}
	e.now.Store(&moment{})
	e.nics.Store(&[]vnic.NIC{})
	e.own = e.NewWalker(0)
	return e, nil
}

// Attach starts the goroutine of a port.
func (e *Engine) Attach(id frame.PortID, nic vnic.NIC) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return fmt.Errorf("attach %s: %w", nic.Name(), os.ErrClosed)
	case e.now.Load().plan == nil:
		return errors.New("attach a port before the first plan")
	case e.workers[id] != nil:
		return fmt.Errorf("attach %s: port %d has a NIC", nic.Name(), id)
	}
	e.setNIC(id, nic)
	w := newWorker(e, id, nic)
	e.workers[id] = w
	go w.run()
	return nil
}

// setNIC changes the table that all workers read.
func (e *Engine) setNIC(id frame.PortID, nic vnic.NIC) {
	next := slices.Clone(*e.nics.Load())
	for int(id) >= len(next) {
		next = append(next, nil)
	}
	next[id] = nic
	e.nics.Store(&next)
}

// Detach ends a port's goroutine and closes its NIC. No frame is delivered to the port once it has returned.
func (e *Engine) Detach(id frame.PortID) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := e.workers[id]
	if w == nil {
		return nil
	}
	delete(e.workers, id)
	e.setNIC(id, nil)
	close(w.stop)
	err := w.nic.Close()
	<-w.done
	// Others may still be writing to it, with the table of NICs that their batch began with.
	e.passed(context.Background(), func(o *worker) func() bool {
		was := o.batches.Load()
		return func() bool { return was%2 == 0 || o.batches.Load() != was }
	})
	return err
}

// Apply puts a plan in force, and returns once no frame walks by an older one.
func (e *Engine) Apply(ctx context.Context, p *walk.Plan) error {
	e.Prepare(p)
	e.begin(func(m *moment) { m.plan = p })
	if err := e.settled(ctx); err != nil {
		return err
	}
	e.Retire(p)
	return nil
}

// Hold makes every worker wait with its batch. The kernel's queues hold the rest.
func (e *Engine) Hold(ctx context.Context) error {
	e.begin(func(m *moment) { m.hold = make(chan struct{}) })
	if err := e.settled(ctx); err != nil {
		e.Release()
		return err
	}
	return nil
}

// Release lets the workers go on.
func (e *Engine) Release() {
	hold := e.now.Load().hold
	e.begin(func(m *moment) { m.hold = nil })
	close(hold)
}

// Record makes the workers note what enters and what is delivered.
func (e *Engine) Record(ctx context.Context) error {
	var ports []frame.PortID
	for _, p := range e.now.Load().plan.Ports {
		if p.ID != 0 {
			ports = append(ports, p.ID)
		}
	}
	e.ledger = measure.NewLedger(ports, e.ledger)
	e.begin(func(m *moment) { m.ledger = e.ledger })
	return e.settled(ctx)
}

// Records ends that, and gives what was noted once nobody writes any more.
func (e *Engine) Records(ctx context.Context) (*measure.Ledger, error) {
	e.begin(func(m *moment) { m.ledger = nil })
	return e.ledger, e.settled(ctx)
}

// begin begins a new moment. Only one goroutine at a time does so.
func (e *Engine) begin(edit func(*moment)) {
	m := *e.now.Load()
	m.number++
	edit(&m)
	e.now.Store(&m)
}

// settled waits until no frame walks by an older moment than the present one.
func (e *Engine) settled(ctx context.Context) error {
	number := e.now.Load().number
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.passed(ctx, func(w *worker) func() bool {
		return func() bool {
			at := w.moment.Load()
			return at == idle || at >= number
		}
	})
}

// passed waits until every worker has passed a point: test gives for each of them what says so. The caller has mu.
func (e *Engine) passed(ctx context.Context, test func(*worker) func() bool) error {
	const atFirst, atMost = 10 * time.Microsecond, time.Millisecond
	wait := atFirst
	for _, w := range e.workers {
		for done := test(w); !done(); wait = min(2*wait, atMost) {
			t := time.NewTimer(wait)
			select {
			case <-t.C:
			case <-w.done:
			case <-ctx.Done():
				t.Stop()
				return fmt.Errorf("wait for the frames of %s: %w", w.nic.Name(), context.Cause(ctx))
			}
		}
	}
	return nil
}

// Close detaches every port.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	ids := make([]frame.PortID, 0, len(e.workers))
	for id := range e.workers {
		ids = append(ids, id)
	}
	e.mu.Unlock()
	var errs []error
	for _, id := range ids {
		errs = append(errs, e.Detach(id))
	}
	return errors.Join(errs...)
}
