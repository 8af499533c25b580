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
	batches, wakes      atomic.Uint64 // that the port's goroutine has read, and before how many of them it had to wait
	slow, slowBytes     atomic.Uint64 // of those in, what was sent to the appliance
	unasked             atomic.Uint64 // of those in, what passed it by, because it had failed
	dropped             [frame.Reasons]atomic.Uint64
	down                atomic.Bool   // the NIC has failed
	generation          atomic.Uint64 // of the policy that every frame of the port has met since the last change

	// From where they are told: what they were when the switch forgot. The switch's mutex guards both.
	zero      books
	zeroDrops uint64 // of the NIC
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
