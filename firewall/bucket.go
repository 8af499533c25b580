package firewall

import (
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// bucket is where the flows of some hashes are found: one line of the cache. What does not fit into its slots, few of a
// full table's flows, is in a chain.
type bucket struct {
	lock  atomic.Uint32       // lockFree, lockGo, or what the kernel writes; only in a table that it shares
	more  uint32              // the first entry of the chain, which goes on by flow.next: 1 + index
	tags  [bucketSlots]uint16 // by slot: tagOf its flow's hash; 0 where the slot is free
	index [bucketSlots]uint32 // by slot: its entry: 1 + index
	_     [2]uint32
}

const bucketSlots = 8

// bucket is where a shard's flows with a hash are. In a table that the kernel shares, all buckets are in use from the
// beginning, so that where a flow is never changes. In others they come into use one at a time, as flows come (linear
// hashing): so few flows are found in few lines of the cache.
func (f *Flows) bucket(s *shard, hash uint64) *bucket {
	i := uint32(hash) & (2*s.mask + 1)
	if i >= s.buckets {
		i &= s.mask
	}
	return f.nth(i, hash)
}

// nth is one of the buckets of a hash's shard.
func (f *Flows) nth(i uint32, hash uint64) *bucket {
	return &f.buckets[uint64(i)*shardCount+shardOf(hash)]
}

// crowd is how many flows for each bucket bring another one into use.
const crowd = 6

// split brings one more bucket of a hash's shard into use, and moves to it what now belongs there.
func (f *Flows) split(s *shard, hash uint64) {
	old := f.nth(s.buckets-s.mask-1, hash)
	if s.buckets++; s.buckets == 2*(s.mask+1) {
		s.mask = s.buckets - 1
	}
	index, more := old.index, old.more
	old.tags, old.index, old.more = [bucketSlots]uint16{}, [bucketSlots]uint32{}, 0
	for _, i := range index {
		if i != 0 {
			f.relink(s, i)
		}
	}
	for more != 0 {
		i := more
		more = f.entry(i).next
		f.relink(s, i)
	}
}

// relink puts an entry, by 1 + index, into the bucket where it belongs now.
func (f *Flows) relink(s *shard, i uint32) {
	hash := f.seeds.hash(&f.entry(i).flowID)
	f.link(f.bucket(s, hash), i, hash)
}

// tagOf is what a bucket knows of a flow's hash: bits that have not chosen the bucket, and never 0.
func tagOf(hash uint64) uint16 { return uint16(hash>>32) | 1 }

// home is the slot where a flow with a tag goes first, and is looked for first: of few flows the processor guesses that
// it is there, and waits for no comparison.
func home(tag uint16) uint { return uint(tag >> 13) }

// with gives the slots that have a tag, as a set of bits: slotOf reads its lowest one. It looks at all slots at once:
// the processor would guess wrong where a loop ends.
func (b *bucket) with(tag uint16) (slots uint64) {
	words := (*[2]uint64)(unsafe.Pointer(&b.tags))
	pattern := uint64(tag) * 0x0001_0001_0001_0001
	return zeroes(words[0]^pattern)>>1 | zeroes(words[1]^pattern)
}

// zeroes sets the highest bit of each 16 bits that are 0, and no other.
func zeroes(x uint64) uint64 {
	const low = 0x7fff_7fff_7fff_7fff
	return ^(x&low + low | x | low)
}

// slotOf is the slot of the lowest bit of what with gives. Bits 14, 30, 46 and 62 are slots 0 to 3, the ones above them
// slots 4 to 7.
func slotOf(slots uint64) uint {
	i := uint(bits.TrailingZeros64(slots))
	return (i>>4 + i&1*4) % bucketSlots
}

// link puts an entry, by 1 + index, into a bucket.
func (f *Flows) link(b *bucket, i uint32, hash uint64) {
	tag := tagOf(hash)
	slot := home(tag)
	if b.tags[slot] != 0 {
		free := b.with(0)
		if free == 0 {
			f.entry(i).next, b.more = b.more, i
			return
		}
		slot = slotOf(free)
	}
	b.tags[slot], b.index[slot] = tag, i
}

// unlink takes an entry out of a bucket, and gives it as 1 + index. A slot that it leaves is filled from the chain.
func (f *Flows) unlink(b *bucket, e *entry, hash uint64) (i uint32) {
	for slots := b.with(tagOf(hash)); slots != 0; slots &= slots - 1 {
		slot := slotOf(slots)
		if i = b.index[slot]; f.entry(i) != e {
			continue
		}
		b.tags[slot], b.index[slot] = 0, 0
		if first := b.more; first != 0 {
			moved := f.entry(first)
			b.more = moved.next
			f.link(b, first, f.seeds.hash(&moved.flowID))
		}
		return i
	}
	at := &b.more
	for f.entry(*at) != e {
		at = &f.entry(*at).next
	}
	i = *at
	*at = e.next
	return i
}

// find gives the flow's entry, or nil.
func (f *Flows) find(b *bucket, id *flowID, hash uint64) *entry {
	for slots := b.with(tagOf(hash)); slots != 0; slots &= slots - 1 {
		if e := f.entry(b.index[slotOf(slots)]); e.is(id) {
			return e
		}
	}
	for i := b.more; i != 0; {
		e := f.entry(i)
		if e.is(id) {
			return e
		}
		i = e.next
	}
	return nil
}

// spot is where a flow is, or would be.
type spot struct {
	shard  *shard
	bucket *bucket
	hash   uint64
}

// The table has two kinds of locks. A shard's mutex keeps goroutines apart. Where a program of the kernel shares the
// table, whoever reads or changes an entry has its bucket's lock, too. The kernel never waits for it: it tries a few
// times, and then leaves the frame to Go. So a goroutine that is preempted while it has the lock does no harm. Go
// waits, as the kernel has it for less than a microsecond. A goroutine may have the locks of several buckets, as where
// a new flow pushes out another bucket's. All of them are of one shard, whose mutex it has: no other goroutine waits
// for them.
const (
	lockFree = iota
	lockGo   // who has the shard's mutex has it
)

// hold takes the locks of a flow's spot, and gives the flow's entry, or nil.
func (f *Flows) hold(id *flowID) (at spot, e *entry) {
	hash := f.seeds.hash(id)
	s := f.shard(hash)
	s.mu.Lock()
	b := f.bucket(s, hash)
	f.take(b)
	at = spot{s, b, hash}
	tag := tagOf(hash)
	if slot := home(tag); b.tags[slot] == tag {
		if e = f.entry(b.index[slot]); e.is(id) {
			return at, e
		}
	}
	return at, f.find(b, id, hash)
}

// release gives back what hold took.
func (f *Flows) release(at spot) {
	if f.shared {
		at.bucket.lock.Store(lockFree)
	}
	at.shard.mu.Unlock()
}

// take takes a bucket's lock; had says that the caller has it already. The caller has the shard's mutex.
func (f *Flows) take(b *bucket) (had bool) { return f.shared && b.take() }

// give gives a bucket's lock back, but for one that the caller had before.
func (f *Flows) give(b *bucket, had bool) {
	if f.shared && !had {
		b.lock.Store(lockFree)
	}
}

func (b *bucket) take() (had bool) {
	for !b.lock.CompareAndSwap(lockFree, lockGo) {
		if b.lock.Load() == lockGo {
			return true
		}
	}
	return false
}

// visit calls fn for an entry, unless it is free, under its bucket's lock. The caller has the shard's mutex. fn may
// remove the flow.
func (f *Flows) visit(e *entry, fn func(*entry)) {
	if e.state == stateFree {
		return
	}
	if !f.shared {
		fn(e)
		return
	}
	// Which lock it is, only the entry says. What it says without that lock is true where it still says so with it.
	id := e.flowID
	hash := f.seeds.hash(&id)
	b := f.bucket(f.shard(hash), hash)
	had := b.take()
	if e.state != stateFree && e.is(&id) {
		fn(e)
	}
	f.give(b, had)
}
