package walk

import (
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch/measure"
)

const (
	// answerRoom is how many frames of its own the switch sends for one batch of a guest. What would be more is not
	// said.
	answerRoom = 32
	// answerLen is the longest of them: an ICMPv6 error, which quotes up to the minimum MTU (RFC 4443 2.4).
	answerLen = frame.MinLen + 1280
)

// Output is a frame on its way out.
type Output struct {
	Port  frame.PortID
	Frame *frame.Frame
	mark  int32 // place in the port's journal; measure.NoMark is none
}

// Walker is what one goroutine of an engine walks frames with: scratch memory and counts, nothing that others see. For
// each batch it is used so: Begin, Decide for every frame, Sent for every output port, End.
type Walker struct {
	core     *Core
	plan     *Plan
	counters []*counters  // of the core, by PortID
	port     frame.PortID // whose NIC the frames came from
	from     frame.PortID // the guest's port that the present frame is of: another where the appliance gave it back
	cx       firewall.Context
	key      frame.Key

	sent      uint64    // bytes of the present frame, as it came
	waits     bool      // the present frame waits for its neighbour
	freed     []waiting // what the present frame has ended the waiting of
	releasing bool

	outputs []Output
	tried   int // outputs that the frame had before the check points at their ports
	answers [answerRoom]*frame.Frame
	said    int // answers used in this batch
	icmp    bucket

	showing showing // of the present frame
	reply   bool    // its flow was begun by the other side, as its last check point knows

	ticket frame.Ticket    // of the present frame
	pieces frame.Segmenter // for what cannot be steered whole
	spares []*frame.Frame  // those pieces, until the batch's End
	spared int

	tally tally // of port
	own   tally // of the switch itself: its answers

	watch   *Watch           // of the batch; nil where nobody watches
	journal *measure.Journal // of the ledger, while a change is watched
	mark    int32            // of the present frame's record that says it entered
	dry     bool             // nothing outside the walker may change
	record  func(TraceStep)
	last    firewall.Verdict // of the last check point, where a trace records
	ended   frame.Reason     // why the last frame that went nowhere did so
}

// NewWalker makes the walker of a port's goroutine.
func (c *Core) NewWalker(port frame.PortID) *Walker {
	w := &Walker{core: c, port: port, outputs: make([]Output, 0, 64)}
	w.cx.Flows, w.cx.Log = c.flows, c.Log
	for i := range w.answers {
		w.answers[i] = frame.New(answerLen)
	}
	return w
}

// Begin starts a batch: everything until End walks by this plan, which the core was prepared for. l takes the records
// of the walk; nil is for nobody.
func (w *Walker) Begin(p *Plan, l *measure.Ledger) {
	w.plan, w.counters = p, *w.core.counters.Load()
	w.cx.Now, w.cx.From = w.core.Clock(), w.port
	w.said, w.spared = 0, 0
	w.journal = l.Journal(w.port)
	if w.watch = nil; !w.dry {
		w.watch = w.core.watch.Load()
	}
}

// Woken notes that the batch's reader had to wait for it.
func (w *Walker) Woken() { w.tally.wakes++ }

// End writes the batch's counts to the books.
func (w *Walker) End() {
	if c := w.countersOf(w.port); c != nil && w.port != 0 {
		w.tally.batches++
		w.tally.flush(c)
	}
	w.own.flush(w.counters[0])
}

// countersOf finds a port's counters; nil where there is no such port.
func (w *Walker) countersOf(id frame.PortID) *counters {
	if int(id) >= len(w.counters) {
		return nil
	}
	return w.counters[id]
}

// Sent accounts for what became of outputs to one port: NIC.WriteBatch took the first sent of them, and err is what it
// said. An output without a NIC has sent 0 and os.ErrClosed.
func (w *Walker) Sent(port frame.PortID, outputs []Output, sent int, err error) {
	c := w.counters[port]
	var bytes uint64
	for i := range outputs[:sent] {
		bytes += uint64(outputs[i].Frame.Len)
	}
	c.outFrames.Add(uint64(sent))
	c.outBytes.Add(bytes)
	if left := len(outputs) - sent; left > 0 {
		c.dropped[unsent(err)].Add(uint64(left))
	}
	if w.journal != nil {
		now := w.core.Clock()
		for i := range outputs[:sent] {
			w.journal.Delivered(outputs[i].mark, now)
		}
	}
}

// leaving notes a frame that is on its way to a port, where somebody watches.
func (w *Walker) leaving(to *Port, f *frame.Frame, k *frame.Key) int32 {
	if w.journal == nil {
		return measure.NoMark
	}
	return w.journal.Leaving(w.mark, w.hop(to), f, k)
}

// hop is the way of a frame to a port, for the records.
func (w *Walker) hop(to *Port) measure.Hop {
	return measure.Hop{Now: w.cx.Now, Epoch: w.plan.Epoch, FromApp: w.plan.Ports[w.port].Service, ToApp: to.Service}
}

// bucket limits how many ICMP errors a port's frames can cause. The figures are Linux's icmp_msgs_per_sec and
// icmp_msgs_burst (Documentation/networking/ip-sysctl.rst).
type bucket struct {
	tokens int64
	filled int64 // monotonic ns
}

const (
	icmpPerSecond = 1000
	icmpBurst     = 50
)

func (b *bucket) take(now int64) bool {
	if b.filled == 0 {
		b.tokens, b.filled = icmpBurst, now
	}
	if more := (now - b.filled) * icmpPerSecond / int64(time.Second); more > 0 {
		b.tokens = min(icmpBurst, b.tokens+more)
		b.filled = now
	}
	if b.tokens == 0 {
		return false
	}
	b.tokens--
	return true
}
