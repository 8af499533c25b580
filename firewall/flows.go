package firewall

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"sluice/vnic/frame"
)

// Flows is the flow table: bounded, shared by every port of a switch, and outliving programs and plans. All methods may
// be called at any time from any goroutine. Times are monotonic nanoseconds, given by the caller.
type Flows struct {
	shards  [shardCount]shard
	entries []entry
	buckets []bucket // shards take turns, so that the first ones of all lie together
	shared  bool     // with a program of the kernel
	seeds   Seeds

	perPort int32
	epoch   atomic.Uint32 // counts the marks
	ports   []atomic.Int32
	sweep   atomic.Uint32 // where Expire goes on
	// program is the one that last let in a flow, or let one live on.
	program atomic.Pointer[Program]
	rates   []atomic.Int64          // by port: when its budget of new flows is whole again, in ns
	sources atomic.Pointer[sources] // nil until a policy limits them
	judged  judged
	kept    kept

	fragments  fragments
	linkLocals linkLocals
}

const shardCount = 64

// shard is a part of the table with a lock of its own. Flows are spread over shards by their hash.
type shard struct {
	mu      sync.Mutex
	entries []entry
	before  uint32 // entries of the shards before
	free    uint32 // list of entries that were used before: 1 + index in the table
	used    uint32 // entries from here on were never used
	hand    uint32 // where the search for a victim goes on
	n       uint32
	buckets uint32 // how many are in use
	mask    uint32 // the greatest power of two that is not more, less one
} // of 64 bytes: shards' locks do not share a line of the cache

// FlowsConfig bounds a flow table, and says where it lies. The zero value takes the defaults.
type FlowsConfig struct {
	Max     int   // flows, rounded up to a power of two, at least 4096 and at most 2^31; default 1,048,576
	PerPort int   // flows begun by one port; default a quarter of Max
	Seeds   Seeds // of the hash; default drawn
	// Memory gives so many bytes for entries and for buckets: zeroed, at multiples of 64, for as long as the table is
	// in use. Default anonymous memory, of which only what flows need is used.
	Memory func(entries, buckets int) (e, b []byte, err error)
	// Shared says that a program of the kernel walks the table, too, and takes buckets' locks.
	Shared bool
}

// Mark is a moment in the table's history, for Export. 0 is before everything.
type Mark uint32

// maxPorts is how many ports a PortID can tell apart.
const maxPorts = 1 << 16

const (
	// minShard keeps shards large enough for the search of a victim to have a choice.
	minShard = 64
	// maxFlows is how many have an index of 32 bits.
	maxFlows = 1 << 31
	// bucketFlows is how many flows of a full table there are for each bucket: half of its slots.
	bucketFlows = 4
)

// NewFlows makes an empty table. Its memory, 144 bytes a flow, is reserved at once, but used only as flows come. An
// error says that it cannot be had: the machine has no addresses for it, or Memory refuses, or gives what does not fit.
func NewFlows(c FlowsConfig) (*Flows, error) {
	each := minShard
	for each*shardCount < c.Max || c.Max == 0 && each*shardCount < 1<<20 {
		each *= 2
	}
	total := each * shardCount
	if total > maxFlows {
		return nil, fmt.Errorf("a table of %d flows: at most %d", c.Max, maxFlows)
	}
	f := &Flows{
		perPort: int32(c.PerPort), ports: make([]atomic.Int32, maxPorts), rates: make([]atomic.Int64, maxPorts),
		shared: c.Shared, seeds: c.Seeds,
	}
	f.program.Store(noProgram)
	if c.PerPort == 0 {
		f.perPort = int32(total / 4)
	}
	if f.seeds == (Seeds{}) {
		f.seeds = drawSeeds()
	}
	if err := f.lie(c.Memory, total); err != nil {
		return nil, fmt.Errorf("memory for %d flows: %w", total, err)
	}
	for i := range f.shards {
		s := &f.shards[i]
		s.entries, s.before = f.entries[i*each:(i+1)*each], uint32(i*each)
		if s.buckets = 1; f.shared {
			s.buckets = uint32(each / bucketFlows)
		}
		s.mask = s.buckets - 1
	}
	return f, nil
}

// lie gets the memory of so many flows.
func (f *Flows) lie(memory func(entries, buckets int) (e, b []byte, err error), flows int) (err error) {
	if memory == nil {
		memory = f.anonymous
	}
	e, b, err := memory(flows*int(unsafe.Sizeof(entry{})), flows/bucketFlows*int(unsafe.Sizeof(bucket{})))
	if err != nil {
		return err
	}
	if f.entries, err = over[entry](e, flows); err == nil {
		f.buckets, err = over[bucket](b, flows/bucketFlows)
	}
	return err
}

// over sees n values in memory.
func over[T any](mem []byte, n int) ([]T, error) {
	const line = 64
	at := unsafe.Pointer(unsafe.SliceData(mem))
	if size := n * int(unsafe.Sizeof(*new(T))); len(mem) < size || uintptr(at)%line != 0 {
		return nil, fmt.Errorf("%d bytes at %p: wanted %d at a multiple of %d", len(mem), at, size, line)
	}
	return unsafe.Slice((*T)(at), n), nil
}

// anonymous memory is not from Go's heap: a page costs nothing before its first flow, and the collector does not let
// garbage grow in proportion. It goes with the table.
func (f *Flows) anonymous(entries, buckets int) (e, b []byte, err error) {
	mem, err := unix.Mmap(-1, 0, entries+buckets, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, nil, err
	}
	runtime.AddCleanup(f, func(m []byte) { _ = unix.Munmap(m) }, mem)
	return mem[:entries], mem[entries:], nil
}

// noProgram is asked before any other.
var noProgram = &Program{policy: &Policy{}, timeouts: &defaultTimeouts}

// use says that a program lets flows in.
func (f *Flows) use(p *Program) {
	if f.program.Load() != p {
		if limitsSources(p.stamp) && f.sources.Load() == nil {
			f.sources.CompareAndSwap(nil, &sources{seeds: f.seeds})
		}
		f.program.Store(p)
	}
}

// timeouts are those of the program that was used last.
func (f *Flows) timeouts() *[states]uint32 { return f.program.Load().timeouts }

// now is the present epoch.
func (f *Flows) now() uint8 { return uint8(f.epoch.Load()) }

// shardOf is the number of the shard of the flows with a hash.
func shardOf(hash uint64) uint64 { return hash >> 58 }

func (f *Flows) shard(hash uint64) *shard { return &f.shards[shardOf(hash)] }

// entry is the one with an index, given as 1 + index.
func (f *Flows) entry(i uint32) *entry { return &f.entries[i-1] }

// insert makes an entry for a flow that the table lacks; nil says that there is no room for its owner.
func (f *Flows) insert(at spot, id *flowID, owner frame.PortID, ms uint32) *entry {
	s := at.shard
	full := owner != 0 && f.ports[owner].Load() >= f.perPort
	if full && !f.evict(s, ms, owner) {
		return nil
	}
	if s.free == 0 && int(s.used) == len(s.entries) && !f.evict(s, ms, 0) && !f.evictFrom(s, ms, owner) {
		return nil
	}
	i := s.free
	if i != 0 {
		s.free = f.entry(i).next
	} else {
		s.used++
		i = s.before + s.used
	}
	if s.n >= crowd*s.buckets && int(s.buckets)*bucketFlows < len(s.entries) {
		f.split(s, at.hash)
		at.bucket = f.bucket(s, at.hash)
	}
	e := f.entry(i)
	*e = entry{flow: flow{flowID: *id, seen: ms, owner: owner}, progress: progress{changed: f.now()}}
	f.link(at.bucket, i, at.hash)
	s.n++
	f.ports[owner].Add(1)
	return e
}

// remove takes a flow out of the table. The caller has its bucket's lock.
func (f *Flows) remove(s *shard, e *entry) {
	f.program.Load().policy.ended(e)
	if limitsSources(e.stamp) {
		first := e.flowID.first(e.swapped())
		f.sources.Load().ended(&first.src)
	}
	hash := f.seeds.hash(&e.flowID)
	delete(f.judged[shardOf(hash)], e.flowID)
	delete(f.kept[shardOf(hash)], e.flowID)
	i := f.unlink(f.bucket(s, hash), e, hash)
	f.ports[e.owner].Add(-1)
	e.flow = flow{next: s.free}
	s.free = i
	s.n--
}

// sample is how many entries are looked at for a victim: enough to find a weak one where there are many, and few enough
// not to be felt.
const sample = 16

// victim is a flow that may go: a copy, as its entry stands still only under its bucket's lock.
type victim struct {
	entry *entry
	flow
}

// evict frees one entry whose time is over, or whose flow has ended or was never answered: the one silent for longest
// of a few. owner restricts it to one port's flows; 0 means all, and then a port pays before those that hold fewer
// flows.
func (f *Flows) evict(s *shard, ms uint32, owner frame.PortID) (done bool) {
	var v victim
	for range min(sample, s.used) {
		f.visit(s.step(), func(e *entry) {
			switch {
			case owner != 0 && e.owner != owner:
			case e.expired(ms, f.timeouts()):
				f.remove(s, e)
				done = true
			case !e.state.embryonic() && !e.state.over():
			case v.entry == nil || f.weaker(&e.flow, &v.flow, ms):
				v = victim{e, e.flow}
			}
		})
		if done {
			return true
		}
	}
	return f.drop(s, &v)
}

// weaker says whether a should go before b: its owner holds more flows, or the same and it was silent for longer.
func (f *Flows) weaker(a, b *flow, ms uint32) bool {
	if x, y := f.ports[a.owner].Load(), f.ports[b.owner].Load(); x != y {
		return x > y
	}
	return ms-a.seen > ms-b.seen
}

// evictFrom frees an entry of whoever holds more flows than owner does, answered or not: so a full table of one port's
// does not keep others out.
func (f *Flows) evictFrom(s *shard, ms uint32, owner frame.PortID) bool {
	var v victim
	for range min(sample, s.used) {
		f.visit(s.step(), func(e *entry) {
			if v.entry == nil || f.weaker(&e.flow, &v.flow, ms) {
				v = victim{e, e.flow}
			}
		})
	}
	return f.ports[v.owner].Load() > f.ports[owner].Load() && f.drop(s, &v)
}

// drop removes a victim, if there is one, and says whether it was still there.
func (f *Flows) drop(s *shard, v *victim) (done bool) {
	if v.entry != nil {
		f.visit(v.entry, func(e *entry) {
			if done = e.is(&v.flowID); done {
				f.remove(s, e)
			}
		})
	}
	return done
}

// step moves the hand to the next entry that was used.
func (s *shard) step() *entry {
	s.hand = (s.hand + 1) % s.used
	return &s.entries[s.hand]
}

// within says whether a port may begin one more flow, and counts it. A tenth of a second's flows may come at once.
func (f *Flows) within(l Limits, port frame.PortID, now int64) bool {
	if port == 0 {
		return true
	}
	if l.Flows > 0 && int(f.ports[port].Load()) >= l.Flows {
		return false
	}
	if l.NewPerSecond == 0 {
		return true
	}
	each := int64(1e9) / int64(l.NewPerSecond)
	burst := max(int64(1e8), each)
	for {
		whole := f.rates[port].Load()
		next := max(whole, now) + each
		if next > now+burst {
			return false
		}
		if f.rates[port].CompareAndSwap(whole, next) {
			return true
		}
	}
}
