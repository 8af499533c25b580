package firewall

import (
	"sync"

	"sluice/vnic/frame"
)

// sources counts the flows of each source address, where a policy limits them. It is bounded, and made when the first
// such policy lets a flow in. A flow is counted as long as its entry has the stamp of such a policy (limitsSources).
type sources struct {
	seeds Seeds
	parts [sourceParts]sourcePart
}

const (
	sourceParts   = 64
	sourceBuckets = 64 // of a part
	sourceWays    = 16 // of a bucket: 65,536 sources in all
)

type sourcePart struct {
	mu      sync.Mutex
	buckets [sourceBuckets][sourceWays]source
}

// source is one address. It is free where it holds no flow and its budget of new ones is whole.
type source struct {
	addr  frame.Addr
	whole int64 // when its budget of new flows is whole again, in ns
	flows int32
}

// limitsSources says by a policy's stamp whether it limits sources.
func limitsSources(stamp uint32) bool { return stamp&1 != 0 }

func (s *sources) bucket(a *frame.Addr) (*sourcePart, *[sourceWays]source) {
	high, low := a.Uint64s()
	h := fold(high^s.seeds[0], low^s.seeds[1])
	part := &s.parts[h>>58]
	return part, &part.buckets[h%sourceBuckets]
}

// find gives an address's slot, or a free one; nil where there is neither.
func find(bucket *[sourceWays]source, a *frame.Addr, now int64) (slot *source) {
	for i := range bucket {
		e := &bucket[i]
		if e.flows > 0 || e.whole > now {
			if e.addr == *a {
				return e
			}
			continue
		}
		slot = e
	}
	if slot != nil {
		*slot = source{addr: *a}
	}
	return slot
}

// begin counts one more flow of a source; false says that it may not have it, or that there are too many sources to
// know.
func (s *sources) begin(a *frame.Addr, l *SourceLimits, now int64) bool {
	part, bucket := s.bucket(a)
	part.mu.Lock()
	defer part.mu.Unlock()
	e := find(bucket, a, now)
	if e == nil || l.Flows > 0 && int(e.flows) >= l.Flows {
		return false
	}
	if l.NewPerSecond > 0 {
		each := int64(1e9) / int64(l.NewPerSecond)
		next := max(e.whole, now) + each
		if next > now+max(int64(1e8), each) {
			return false
		}
		e.whole = next
	}
	e.flows++
	return true
}

// goesOn counts a flow that a policy with limits has let live on: it is held against its source, and never refused.
func (s *sources) goesOn(a *frame.Addr, now int64) {
	part, bucket := s.bucket(a)
	part.mu.Lock()
	defer part.mu.Unlock()
	if e := find(bucket, a, now); e != nil {
		e.flows++
	}
}

// ended takes a flow off its source's account.
func (s *sources) ended(a *frame.Addr) {
	part, bucket := s.bucket(a)
	part.mu.Lock()
	defer part.mu.Unlock()
	for i := range bucket {
		if e := &bucket[i]; e.addr == *a && e.flows > 0 {
			e.flows--
			return
		}
	}
}

// restamp gives a flow another policy's stamp, and counts it for its source where that policy limits sources.
func (f *Flows) restamp(e *entry, stamp uint32, now int64) {
	if was := limitsSources(e.stamp); was != limitsSources(stamp) {
		first := e.flowID.first(e.swapped())
		if was {
			f.sources.Load().ended(&first.src)
		} else {
			f.sources.Load().goesOn(&first.src, now)
		}
	}
	e.stamp = stamp
}
