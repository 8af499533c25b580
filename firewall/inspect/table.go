package inspect

import (
	"bytes"

	"sluice/vnic/frame"
)

// flow is a conversation that is looked into.
type flow struct {
	key     flowKey
	last    int64 // when it was seen last, in seconds
	judged  uint64
	ways    [2]window // TCP: by direction; 0 is from the end that comes first in key
	verdict frame.Verdict
	guilty  int  // the direction that has earned verdict
	clean   bool // the rest need not be looked at
	used    bool
}

// flowKey is the two ends of a flow, in an order that does not depend on the direction.
type flowKey struct {
	a, b         frame.Addr
	aPort, bPort uint16
	proto        uint8
}

func keyOf(k *frame.Key) (flowKey, int) {
	if c := bytes.Compare(k.Src[:], k.Dst[:]); c > 0 || c == 0 && k.SrcPort > k.DstPort {
		return flowKey{k.Dst, k.Src, k.DstPort, k.SrcPort, k.Proto}, 1
	}
	return flowKey{k.Src, k.Dst, k.SrcPort, k.DstPort, k.Proto}, 0
}

const (
	maxFlows  = 1 << 16
	maxMemory = 48 << 20 // bytes of all rings

	// How long a flow is remembered without a frame, in seconds. What follows later is picked up as if it had just
	// begun.
	longTime  = 3600 // where the receiver has got bytes, and may take more
	shortTime = 60   // everything else
	restTime  = 10   // after that, a ring that holds nothing of use is given back
)

// table is all flows. It is bounded, and no flow has to make room for another: who is there is remembered, who comes
// too late does not get through.
type table struct {
	flows  []flow
	free   []int32
	byKey  map[flowKey]int32
	hand   int // the next flow to be looked at for its age
	memory int // bytes of all rings
}

func (t *table) init() { t.clear() }

func (t *table) clear() { *t = table{byKey: map[flowKey]int32{}} }

// find gives a packet's flow, new where it was not known, and the packet's direction; nil where there is no room.
func (t *table) find(k *frame.Key, at int64) (*flow, int) {
	key, dir := keyOf(k)
	n, known := t.byKey[key]
	switch {
	case known:
	case len(t.free) > 0:
		n = t.free[len(t.free)-1]
		t.free = t.free[:len(t.free)-1]
	case len(t.flows) < maxFlows:
		n = int32(len(t.flows))
		t.flows = append(t.flows, flow{})
	default:
		return nil, 0
	}
	fl := &t.flows[n]
	if !known {
		*fl = flow{key: key, used: true}
		t.byKey[key] = n
	}
	fl.last = at
	return fl, dir
}

// tick looks at the age of two flows, so that all are looked at before the table can fill.
func (t *table) tick(at int64) {
	for range 2 {
		if t.hand >= len(t.flows) {
			t.hand = 0
			return
		}
		if fl := &t.flows[t.hand]; fl.used {
			t.age(fl, int32(t.hand), at)
		}
		t.hand++
	}
}

func (t *table) age(fl *flow, n int32, at int64) {
	limit := int64(shortTime)
	if fl.ways[0].matters() || fl.ways[1].matters() || fl.verdict == frame.VerdictQuarantine {
		limit = longTime
	}
	switch age := at - fl.last; {
	case age > limit:
		t.release(&fl.ways[0])
		t.release(&fl.ways[1])
		delete(t.byKey, fl.key)
		*fl = flow{}
		t.free = append(t.free, n)
	case age > restTime:
		for d := range fl.ways {
			if fl.ways[d].idle() {
				t.release(&fl.ways[d])
			}
		}
	}
}

// bypass notes that a flow is clean, and gives back what was needed to say so.
func (t *table) bypass(fl *flow) {
	for d := range fl.ways {
		t.release(&fl.ways[d])
		fl.ways[d] = window{}
	}
	fl.clean = true
}

func (t *table) release(w *window) {
	t.memory -= len(w.ring)
	w.ring = nil
}

// reserve gives a window room for bytes up to end; false where there is none.
func (t *table) reserve(w *window, end uint32) bool {
	n := w.room(end)
	if n == len(w.ring) {
		return true
	}
	if t.memory+n-len(w.ring) > maxMemory {
		return false
	}
	t.memory += n - len(w.ring)
	w.grow(n)
	return true
}
