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
)

// Engine moves frames between NICs. It is a vswitch.Datapath.
type Engine struct {
	core *vswitch.Core
	plan atomic.Pointer[vswitch.Plan]
	nics atomic.Pointer[[]vnic.NIC] // by PortID; copied on each change

	mu      sync.Mutex // of what follows, and of changes to nics
	workers map[frame.PortID]*worker
	closed  bool
}

// New makes an engine that walks with a switch's core. Use it so: s.Use(user.New(s.Core())).
func New(core *vswitch.Core) *Engine {
	e := &Engine{core: core, workers: map[frame.PortID]*worker{}}
	e.nics.Store(&[]vnic.NIC{})
	return e
}

// Attach starts the goroutine of a port. A plan with the port must have been applied.
func (e *Engine) Attach(id frame.PortID, nic vnic.NIC) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return fmt.Errorf("attach %s: %w", nic.Name(), os.ErrClosed)
	case e.plan.Load() == nil:
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

// Apply puts a plan in force, and returns once no frame is walking by an older one.
func (e *Engine) Apply(ctx context.Context, p *vswitch.Plan) error {
	e.plan.Store(p)
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.passed(ctx, func(w *worker) func() bool {
		return func() bool {
			at := w.epoch.Load()
			return at == idle || at >= p.Epoch
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
