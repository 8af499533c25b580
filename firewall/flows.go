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
	perPort int32
	epoch   atomic.Uint32 // counts the marks
	ports   []atomic.Int32
	sweep   atomic.Uint32 // where Expire goes on
	// program is the one that last let in a flow, or let one live on.
	program atomic.Pointer[Program]
	rates   []atomic.Int64 // by port: when its budget of new flows is whole again, in ns
	shards  [shardCount]shard
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
	pages   []page
	buckets uint32 // how many are in use; they grow with the flows, one at a time (linear hashing), so that few flows are found in few lines of cache
	mask    uint32 // the greatest power of two that is not more, less one
	free    uint32 // list of entries that were used before: 1 + index
	used    uint32 // entries from here on were never used
	hand    uint32 // where the search for a victim goes on
	n       int    // and 64 bytes are full: shards' locks do not share a line of the cache
}

// FlowsConfig bounds a flow table. The zero value takes the defaults.
type FlowsConfig struct {
	Max     int // flows, rounded up to a power of two, at least 4096; default 1,048,576
	PerPort int // flows begun by one port; default a quarter of Max
}

// Mark is a moment in the table's history, for Export. 0 is before everything.
type Mark uint32

// maxPorts is how many ports a PortID can tell apart.
const maxPorts = 1 << 16

// minShard keeps shards large enough for the search of a victim to have a choice.
const minShard = 64

// NewFlows makes an empty table. Its memory, 128 bytes a flow, is reserved at once, but used only as flows come. An
// error says that the machine does not even have the addresses for it.
func NewFlows(c FlowsConfig) (*Flows, error) {
	each := minShard
	for each*shardCount < c.Max || c.Max == 0 && each*shardCount < 1<<20 {
		each *= 2
	}
	total := each * shardCount
	f := &Flows{perPort: int32(c.PerPort), ports: make([]atomic.Int32, maxPorts), rates: make([]atomic.Int64, maxPorts)}
	f.program.Store(noProgram)
	if c.PerPort == 0 {
		f.perPort = int32(total / 4)
	}
	mem, err := unix.Mmap(-1, 0, total/pageFlows*pageBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("reserve memory for %d flows: %w", total, err)
	}
	// Not from Go's heap: a page costs nothing before its first flow, and the collector does not let garbage grow in
	// proportion.
	pages := unsafe.Slice((*page)(unsafe.Pointer(&mem[0])), total/pageFlows)
	for i := range f.shards {
		s := &f.shards[i]
		s.pages = pages[i*each/pageFlows : (i+1)*each/pageFlows]
		s.buckets, s.mask = firstBuckets, firstBuckets-1
	}
	runtime.AddCleanup(f, func(m []byte) { _ = unix.Munmap(m) }, mem)
	return f, nil
}

// firstBuckets is how many buckets an empty shard has; a power of two, at most minShard.
const firstBuckets = 16

// page is a page of memory: so many flows, and as many buckets. What belongs together lies together, so that few flows
// are in few pages.
type page struct {
	flows    [pageFlows]flow
	progress [pageFlows]progress
	heads    [pageFlows]uint32 // 1 + index of a bucket's first flow
}

const (
	pageFlows = 32
	pageBytes = int(unsafe.Sizeof(page{}))
)

// noProgram is asked before any other.
var noProgram = &Program{policy: &Policy{}, timeouts: &defaultTimeouts}

// use says that a program lets flows in.
func (f *Flows) use(p *Program) {
	if f.program.Load() != p {
		if limitsSources(p.stamp) && f.sources.Load() == nil {
			f.sources.CompareAndSwap(nil, &sources{})
		}
		f.program.Store(p)
	}
}

// timeouts are those of the program that was used last.
func (f *Flows) timeouts() *[states]uint32 { return f.program.Load().timeouts }

// now is the present epoch.
func (f *Flows) now() uint8 { return uint8(f.epoch.Load()) }

func (f *Flows) shard(hash uint64) *shard { return &f.shards[hash>>58] }

// bucket is where the flows with a hash begin.
func (s *shard) bucket(hash uint64) *uint32 {
	i := uint32(hash) & (2*s.mask + 1)
	if i >= s.buckets {
		i &= s.mask
	}
	return s.head(i)
}

// split adds a bucket, and moves to it what belongs there.
func (s *shard) split() {
	old := s.head(s.buckets - s.mask - 1)
	s.buckets++
	added := s.head(s.buckets - 1)
	for at := old; *at != 0; {
		e := s.flow(*at - 1)
		if s.bucket(e.hash()) == old {
			at = &e.next
			continue
		}
		i := *at
		*at = e.next
		e.next, *added = *added, i
	}
	if s.buckets == 2*(s.mask+1) {
		s.mask = s.buckets - 1
	}
}

// at is the entry with an index.
func (s *shard) at(i uint32) tracked {
	p := &s.pages[i/pageFlows]
	return tracked{&p.flows[i%pageFlows], &p.progress[i%pageFlows]}
}

func (s *shard) flow(i uint32) *flow   { return &s.pages[i/pageFlows].flows[i%pageFlows] }
func (s *shard) head(i uint32) *uint32 { return &s.pages[i/pageFlows].heads[i%pageFlows] }

// room is how many flows, and buckets, the shard can have.
func (s *shard) room() uint32 { return uint32(len(s.pages)) * pageFlows }

// find gives the flow's entry; the zero value says none.
func (s *shard) find(id *flowID, hash uint64) tracked {
	for i := *s.bucket(hash); i != 0; {
		e := s.flow(i - 1)
		if e.is(id) {
			return s.at(i - 1)
		}
		i = e.next
	}
	return tracked{}
}

// insert makes an entry for a flow that the table lacks; the zero value says that there is no room for its owner.
func (f *Flows) insert(s *shard, id *flowID, hash uint64, owner frame.PortID, ms uint32) tracked {
	full := owner != 0 && f.ports[owner].Load() >= f.perPort
	if full && !f.evict(s, ms, owner) {
		return tracked{}
	}
	if s.free == 0 && s.used == s.room() && !f.evict(s, ms, 0) && !f.evictFrom(s, ms, owner) {
		return tracked{}
	}
	i := s.free
	if i != 0 {
		s.free = s.flow(i - 1).next
	} else {
		s.used++
		i = s.used
	}
	if s.n >= int(s.buckets) && s.buckets < s.room() {
		s.split()
	}
	head := s.bucket(hash)
	e := s.at(i - 1)
	*e.flow = flow{flowID: *id, seen: ms, next: *head, owner: owner}
	*e.progress = progress{changed: f.now()}
	*head = i
	s.n++
	f.ports[owner].Add(1)
	return e
}

// remove takes a flow out of the table.
func (f *Flows) remove(s *shard, e tracked) {
	f.program.Load().policy.ended(e)
	if limitsSources(e.stamp) {
		first := e.flowID.first(e.swapped())
		f.sources.Load().ended(&first.src)
	}
	hash := e.hash()
	delete(f.judged[hash>>58], e.flowID)
	delete(f.kept[hash>>58], e.flowID)
	at := s.bucket(hash)
	for s.flow(*at-1) != e.flow {
		at = &s.flow(*at - 1).next
	}
	i := *at
	*at = e.next
	f.ports[e.owner].Add(-1)
	*e.flow = flow{next: s.free}
	s.free = i
	s.n--
}

// sample is how many entries are looked at for a victim: enough to find a weak one where there are many, and few enough
// not to be felt.
const sample = 16

// evict frees one entry whose time is over, or whose flow has ended or was never answered: the one silent for longest
// of a few. owner restricts it to one port's flows; 0 means all, and then a port pays before those that hold fewer
// flows.
func (f *Flows) evict(s *shard, ms uint32, owner frame.PortID) bool {
	var victim tracked
	for range sample {
		e := s.step()
		switch {
		case e.flow == nil || owner != 0 && e.owner != owner:
		case e.expired(ms, f.timeouts()):
			f.remove(s, e)
			return true
		case !e.state.embryonic() && !e.state.over():
		case victim.flow == nil || f.weaker(e, victim, ms):
			victim = e
		}
	}
	if victim.flow == nil {
		return false
	}
	f.remove(s, victim)
	return true
}

// weaker says whether a should go before b: its owner holds more flows, or the same and it was silent for longer.
func (f *Flows) weaker(a, b tracked, ms uint32) bool {
	if x, y := f.ports[a.owner].Load(), f.ports[b.owner].Load(); x != y {
		return x > y
	}
	return ms-a.seen > ms-b.seen
}

// evictFrom frees an entry of whoever holds more flows than owner does, answered or not: so a full table of one port's
// does not keep others out.
func (f *Flows) evictFrom(s *shard, ms uint32, owner frame.PortID) bool {
	var victim tracked
	for range sample {
		if e := s.step(); e.flow != nil && (victim.flow == nil || f.weaker(e, victim, ms)) {
			victim = e
		}
	}
	if victim.flow == nil || f.ports[victim.owner].Load() <= f.ports[owner].Load() {
		return false
	}
	f.remove(s, victim)
	return true
}

// step moves the hand to the next entry; the zero value says that it is free.
func (s *shard) step() tracked {
	if s.used == 0 {
		return tracked{}
	}
	s.hand = (s.hand + 1) % s.used
	if e := s.at(s.hand); e.state != stateFree {
		return e
	}
	return tracked{}
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
