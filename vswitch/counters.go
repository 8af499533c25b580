package vswitch

import (
	"sync/atomic"

	"sluice/vnic/frame"
)

// counters are one port's share of the books. Any goroutine may add to them; each adds once for a batch.
type counters struct {
	inFrames, inBytes   atomic.Uint64
	outFrames, outBytes atomic.Uint64
	copies              atomic.Uint64
	dropped             [frame.Reasons]atomic.Uint64
	down                atomic.Bool // the NIC has failed
}

// tally is what a batch adds to the counters of the port it came from.
type tally struct {
	frames, bytes, copies uint64
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
	if t.copies > 0 {
		c.copies.Add(t.copies)
	}
	if t.drops {
		for r, n := range t.dropped {
			if n > 0 {
				c.dropped[r].Add(uint64(n))
			}
		}
		t.dropped, t.drops = [frame.Reasons]uint32{}, false
	}
	t.frames, t.bytes, t.copies = 0, 0, 0
}

// add adds what another port counted, for the books of ports that are gone.
func (c *counters) add(o *counters) {
	c.inFrames.Add(o.inFrames.Load())
	c.inBytes.Add(o.inBytes.Load())
	c.outFrames.Add(o.outFrames.Load())
	c.outBytes.Add(o.outBytes.Load())
	c.copies.Add(o.copies.Load())
	for r := range o.dropped {
		c.dropped[r].Add(o.dropped[r].Load())
	}
}

// drops lists the reasons that occurred.
func (c *counters) drops() map[string]uint64 {
	m := map[string]uint64{}
	for r := range c.dropped {
		if n := c.dropped[r].Load(); n > 0 {
			m[frame.Reason(r).String()] = n
		}
	}
	return m
}
