package vnic

import (
	"os"
	"sync"
	"sync/atomic"

	"sluice/vnic/frame"
)

// PipeOptions says how a Pipe behaves. The zero value is a queue of 256 frames and no offloads.
type PipeOptions struct {
	Queue    int           // frames that each way holds; 0 means 256
	Offloads frame.Offload // what both ends say they take; Pipe carries anything, so this is only said, not done
}

// Pipe is a pair of NICs in memory: what one writes the other reads. A test gives one end to the switch and plays the
// guest at the other. Like any NIC it never blocks a writer: what the queue does not hold is not sent, and is counted
// by Drops.
func Pipe(name string, o PipeOptions) (sw, guest NIC) {
	if o.Queue == 0 {
		o.Queue = 256
	}
	closed := make(chan struct{})
	once := new(sync.Once)
	up, down := newPipeQueue(o.Queue), newPipeQueue(o.Queue)
	end := func(suffix string, in, out *pipeQueue) *pipeEnd {
		return &pipeEnd{name: name + suffix, offloads: o.Offloads, in: in, out: out, closed: closed, once: once}
	}
	return end("", up, down), end("-guest", down, up)
}

// pipeQueue is one way of a Pipe: frames in flight, and empty ones to copy into.
type pipeQueue struct {
	mu    sync.Mutex // writers, so that each one's frames stay in order
	full  chan *frame.Frame
	empty chan *frame.Frame
	drops atomic.Uint64
}

func newPipeQueue(n int) *pipeQueue {
	// A reader holds up to a batch of frames beyond those in flight.
	q := &pipeQueue{full: make(chan *frame.Frame, n), empty: make(chan *frame.Frame, n+frame.BatchSize)}
	for range cap(q.empty) {
		q.empty <- &frame.Frame{}
	}
	return q
}

// put copies a frame into the queue, and says whether there was room.
func (q *pipeQueue) put(src *frame.Frame) bool {
	if len(q.full) == cap(q.full) {
		return false
	}
	f := <-q.empty
	f.CopyFrom(src)
	q.full <- f
	return true
}

type pipeEnd struct {
	name     string
	offloads frame.Offload
	in, out  *pipeQueue
	lent     [frame.BatchSize]*frame.Frame
	nlent    int
	closed   chan struct{} // of the pair: a guest that goes takes its port with it
	once     *sync.Once
}

func (p *pipeEnd) Name() string            { return p.name }
func (p *pipeEnd) Offloads() frame.Offload { return p.offloads }

// Drops is how many frames the other end wrote and this end could never read, because the queue was full.
func (p *pipeEnd) Drops() uint64 { return p.in.drops.Load() }

func (p *pipeEnd) ReadBatch(b *frame.Batch) error {
	for i := range p.nlent {
		p.in.empty <- p.lent[i]
	}
	p.nlent, b.N = 0, 0
	select {
	case <-p.closed:
		return os.ErrClosed
	default:
	}
	if b.Waited = len(p.in.full) == 0; b.Waited {
		select {
		case f := <-p.in.full:
			p.take(b, f)
		case <-p.closed:
			return os.ErrClosed
		}
	}
	for b.N < frame.BatchSize {
		select {
		case f := <-p.in.full:
			p.take(b, f)
		default:
			return nil
		}
	}
	return nil
}

func (p *pipeEnd) take(b *frame.Batch, f *frame.Frame) {
	p.lent[p.nlent] = f
	p.nlent++
	b.Frames[b.N] = *f
	b.N++
}

func (p *pipeEnd) WriteBatch(frames []*frame.Frame) (int, error) {
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	for i, f := range frames {
		select {
		case <-p.closed:
			return i, os.ErrClosed
		default:
		}
		if !p.out.put(f) {
			p.out.drops.Add(uint64(len(frames) - i))
			return i, nil
		}
	}
	return len(frames), nil
}

// Close ends both ends of the pair.
func (p *pipeEnd) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}
