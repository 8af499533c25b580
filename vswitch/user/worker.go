package user

import (
	"errors"
	"os"
	"sync/atomic"

	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vswitch/walk"
)

// idle is the moment of a worker that walks by none: it waits for frames, or holds them until it may go on.
const idle = 0

// worker is one port's goroutine.
type worker struct {
	engine *Engine
	port   frame.PortID
	nic    vnic.NIC
	walker *walk.Walker
	stop   chan struct{} // closed by Detach
	done   chan struct{} // closed when run has returned

	moment  atomic.Uint64 // number of the one that a batch walks by, or idle
	batches atomic.Uint64 // odd while one walks

	batch  frame.Batch
	staged []stage        // by output PortID
	used   []frame.PortID // those of staged that hold something
	frames []*frame.Frame // for one WriteBatch
}

// stage is what a batch has for one output port.
type stage struct{ outputs []walk.Output }

func newWorker(e *Engine, id frame.PortID, nic vnic.NIC) *worker {
	return &worker{
		engine: e, port: id, nic: nic, walker: e.NewWalker(id),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
}

// run moves the port's frames until its NIC ends.
func (w *worker) run() {
	defer close(w.done)
	for {
		if err := w.nic.ReadBatch(&w.batch); err != nil {
			if !errors.Is(err, os.ErrClosed) {
				w.engine.PortFailed(w.port, err)
			}
			return
		}
		m := w.enter()
		if m == nil {
			return
		}
		w.walk(m)
		w.leave()
	}
}

// enter takes the moment that a batch walks by. It waits while frames are held; nil means that the port is gone.
func (w *worker) enter() *moment {
	for {
		m := w.engine.now.Load()
		if m.hold != nil {
			select {
			case <-m.hold:
			case <-w.stop:
				return nil
			}
			continue
		}
		w.moment.Store(m.number)
		if w.engine.now.Load() == m { // else settled may not have seen that this batch began
			w.batches.Add(1)
			return m
		}
		w.moment.Store(idle)
	}
}

func (w *worker) leave() {
	w.batches.Add(1)
	w.moment.Store(idle)
}

// walk decides a batch, then writes what there is for each output port.
func (w *worker) walk(m *moment) {
	w.walker.Begin(m.plan, m.ledger)
	if w.batch.Waited {
		w.walker.Woken()
	}
	if ports := len(m.plan.Ports); len(w.staged) < ports {
		w.staged = append(w.staged, make([]stage, ports-len(w.staged))...)
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
func (w *worker) write(nics []vnic.NIC, id frame.PortID, outputs []walk.Output) {
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
