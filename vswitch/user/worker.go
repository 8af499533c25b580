package user

import (
	"errors"
	"os"
	"sync/atomic"

	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

// idle is the epoch of a worker that walks by no plan: it waits for frames, or holds them until it may take a new plan.
const idle = 0

// worker is one port's goroutine.
type worker struct {
	engine *Engine
	port   frame.PortID
	nic    vnic.NIC
	walker *vswitch.Walker
	stop   chan struct{} // closed by Detach
	done   chan struct{} // closed when run has returned

	epoch   atomic.Uint64 // of the plan that a batch walks by, or idle
	batches atomic.Uint64 // odd while one walks

	batch  frame.Batch
	staged []stage        // by output PortID
	used   []frame.PortID // those of staged that hold something
	frames []*frame.Frame // for one WriteBatch
}

// stage is what a batch has for one output port.
type stage struct{ outputs []vswitch.Output }

func newWorker(e *Engine, id frame.PortID, nic vnic.NIC) *worker {
	return &worker{
		engine: e, port: id, nic: nic, walker: e.core.NewWalker(id),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
}

// run moves the port's frames until its NIC ends.
func (w *worker) run() {
	defer close(w.done)
	for {
		if err := w.nic.ReadBatch(&w.batch); err != nil {
			if !errors.Is(err, os.ErrClosed) {
				w.engine.core.PortFailed(w.port, err)
			}
			return
		}
		plan := w.enter()
		if plan == nil {
			return
		}
		w.walk(plan)
		w.leave()
	}
}

// enter takes the plan that a batch walks by. It waits while a plan holds the frames; nil means that the port is gone.
func (w *worker) enter() *vswitch.Plan {
	for {
		p := w.engine.plan.Load()
		if p.Hold != nil {
			select {
			case <-p.Hold:
			case <-w.stop:
				return nil
			}
			// By now there is a plan that does not hold; whoever let go has applied it before.
			continue
		}
		w.epoch.Store(p.Epoch)
		if w.engine.plan.Load() == p { // else Apply may not have seen that this batch began
			w.batches.Add(1)
			return p
		}
		w.epoch.Store(idle)
	}
}

func (w *worker) leave() {
	w.batches.Add(1)
	w.epoch.Store(idle)
}

// walk decides a batch, then writes what there is for each output port.
func (w *worker) walk(plan *vswitch.Plan) {
	w.walker.Begin(plan)
	if w.batch.Waited {
		w.walker.Woken()
	}
	if len(w.staged) < len(plan.Ports) {
		w.staged = append(w.staged, make([]stage, len(plan.Ports)-len(w.staged))...)
	}
	for i := range w.batch.N {
		for _, o := range w.walker.Decide(&w.batch.Frames[i]) {
			s := &w.staged[o.Port]
			if len(s.outputs) == 0 {
				w.used = append(w.used, o.Port)
			}
			s.outputs = append(s.outputs, o)
		}
	}
	nics := *w.engine.nics.Load()
	for _, id := range w.used {
		w.write(nics, id, w.staged[id].outputs)
		w.staged[id].outputs = w.staged[id].outputs[:0]
	}
	w.used = w.used[:0]
	w.walker.End()
}

// write hands a port its frames. What its queue does not take is dropped and counted: nobody waits.
func (w *worker) write(nics []vnic.NIC, id frame.PortID, outputs []vswitch.Output) {
	if int(id) >= len(nics) || nics[id] == nil {
		w.walker.Sent(id, outputs, 0, os.ErrClosed)
		return
	}
	w.frames = w.frames[:0]
	for i := range outputs {
		w.frames = append(w.frames, outputs[i].Frame)
	}
	sent, err := nics[id].WriteBatch(w.frames)
	w.walker.Sent(id, outputs, sent, err)
}
