package walk

import (
	"sync/atomic"

	"sluice/vnic/frame"
)

// counters are one port's share of the books. Any goroutine may add to them; each adds once for a batch.
type counters struct {
	inFrames, inBytes   atomic.Uint64
	outFrames, outBytes atomic.Uint64
	copies              atomic.Uint64
	batches, wakes      atomic.Uint64 // that the port's goroutine has read, and before how many of them it had to wait
	slow, slowBytes     atomic.Uint64 // of those in, what was sent to the appliance
	unasked             atomic.Uint64 // of those in, what passed it by, because it had failed
	dropped             [frame.Reasons]atomic.Uint64
	down                atomic.Bool // the NIC has failed
}

// Counters are what a port's counters said at one moment, or a sum of such. Frames are counted as the guest sees them.
type Counters struct {
	In, InBytes     uint64 // from the guest
	Copies          uint64 // made of its frames beyond the first: floods
	Out, OutBytes   uint64 // to the guest
	Dropped         [frame.Reasons]uint64
	Batches, Wakes  uint64 // how often what was there was taken, and how often the engine had to be woken for it
	Slow, SlowBytes uint64 // of those in, what was sent to the appliance
	Unasked         uint64 // of those in, what passed it by, because it had failed
	Kernel          uint64 // of those in, what a program in the kernel has sent on by itself
	NICDrops        uint64 // what the NIC has lost itself: not in the books
	Down            bool   // the NIC has failed
}

// read reads each counter once. What is part of another is read before it, so that it is never more.
func (c *counters) read() (n Counters) {
	n.Slow, n.SlowBytes, n.Unasked = c.slow.Load(), c.slowBytes.Load(), c.unasked.Load()
	n.In, n.InBytes = c.inFrames.Load(), c.inBytes.Load()
	n.Copies = c.copies.Load()
	n.Wakes = c.wakes.Load()
	n.Batches = c.batches.Load()
	n.Out, n.OutBytes = c.outFrames.Load(), c.outBytes.Load()
	for r := range c.dropped {
		n.Dropped[r] = c.dropped[r].Load()
	}
	n.Down = c.down.Load()
	return n
}

// Add adds other counters to a sum.
func (n *Counters) Add(o Counters) {
	n.In += o.In
	n.InBytes += o.InBytes
	n.Copies += o.Copies
	n.Batches += o.Batches
	n.Wakes += o.Wakes
	n.Out += o.Out
	n.OutBytes += o.OutBytes
	n.Slow += o.Slow
	n.SlowBytes += o.SlowBytes
	n.Unasked += o.Unasked
	n.Kernel += o.Kernel
	n.NICDrops += o.NICDrops
	for r, d := range o.Dropped {
		n.Dropped[r] += d
	}
}

// Since is what has been added to earlier counters of the same port. A NIC that is closed has no drops any more.
func (n Counters) Since(old Counters) Counters {
	n.In -= old.In
	n.InBytes -= old.InBytes
	n.Copies -= old.Copies
	n.Batches -= old.Batches
	n.Wakes -= old.Wakes
	n.Out -= old.Out
	n.OutBytes -= old.OutBytes
	n.Slow -= old.Slow
	n.SlowBytes -= old.SlowBytes
	n.Unasked -= old.Unasked
	n.Kernel -= old.Kernel
	n.NICDrops -= min(n.NICDrops, old.NICDrops)
	for r := range n.Dropped {
		n.Dropped[r] -= old.Dropped[r]
	}
	return n
}

// Reasons names what was dropped, by reason; what is zero is left out.
func (n Counters) Reasons() map[string]uint64 {
	m := map[string]uint64{}
	for r, d := range n.Dropped {
		if d > 0 {
			m[frame.Reason(r).String()] = d
		}
	}
	return m
}

// tally is what a batch adds to the counters of the port it came from.
type tally struct {
	frames, bytes, copies uint64
	slow, slowBytes       uint64
	unasked               uint64
	batches, wakes        uint64
	dropped               [frame.Reasons]uint32
	drops                 bool // whether dropped has anything
}

func (t *tally) drop(r frame.Reason) {
	t.dropped[r]++
	t.drops = true
}

// flush adds the tally to c and empties it.
func (t *tally) flush(c *counters) {
	if t.frames > 0 {
		c.inFrames.Add(t.frames)
		c.inBytes.Add(t.bytes)
	}
	if t.batches > 0 {
		c.batches.Add(t.batches)
	}
	if t.wakes > 0 {
		c.wakes.Add(t.wakes)
	}
	if t.copies > 0 {
		c.copies.Add(t.copies)
	}
	if t.slow > 0 {
		c.slow.Add(t.slow)
		c.slowBytes.Add(t.slowBytes)
	}
	if t.unasked > 0 {
		c.unasked.Add(t.unasked)
		t.unasked = 0
	}
	if t.drops {
		for r, n := range t.dropped {
			if n > 0 {
				c.dropped[r].Add(uint64(n))
			}
		}
		t.dropped, t.drops = [frame.Reasons]uint32{}, false
	}
	t.frames, t.bytes, t.copies, t.slow, t.slowBytes, t.batches, t.wakes = 0, 0, 0, 0, 0, 0, 0
}
