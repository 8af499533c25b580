package firewall

import (
	"reflect"
	"unsafe"
)

// What an engine needs that takes frames of known flows into account by itself, on the table's own bytes, as settled
// does.

// Place is where a flow is in its table. The zero Place is none.
type Place struct {
	entry *entry
	hash  uint64
}

// At gives the index of a place's entry, and of its flow's hash the lower half, by which a later flow in the same entry
// is told from it.
func (f *Flows) At(p Place) (index, hash uint32) {
	at := uintptr(unsafe.Pointer(p.entry)) - uintptr(unsafe.Pointer(unsafe.SliceData(f.entries)))
	return uint32(at / unsafe.Sizeof(entry{})), uint32(p.hash)
}

// With calls fn with the lock that a program of the kernel takes before it looks at a place's entry.
func (f *Flows) With(p Place, fn func()) {
	s := f.shard(p.hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := f.bucket(s, p.hash)
	had := f.take(b)
	fn()
	f.give(b, had)
}

// ShardBuckets is how many buckets each of a table's shards has.
func (f *Flows) ShardBuckets() int { return len(f.buckets) / shardCount }

// States is how many states a flow can be in.
const States = int(states)

// Settling is what a program asks of a known flow.
type Settling struct {
	Stamp    uint32 // of the flow's entry, where the program enforces its policy
	Enforces bool
	Timeouts [States]uint32 // ms of silence, by state
}

// Settling gives what the program asks.
func (p *Program) Settling() Settling {
	return Settling{Stamp: p.stamp, Enforces: p.enforce, Timeouts: *p.timeouts}
}

// FlowLayout gives the types of what lies in a table's memory: an entry, and a bucket.
func FlowLayout() (e, b reflect.Type) { return reflect.TypeFor[entry](), reflect.TypeFor[bucket]() }
