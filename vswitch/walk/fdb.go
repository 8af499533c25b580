package walk

import (
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"sluice/vnic/frame"
)

const (
	// macAge is how long a silent MAC is remembered where the segment does not say (IEEE 802.1D 7.9.2, the recommended
	// value).
	macAge = 300 * time.Second
	// seenStep is how stale an entry's time may be, so that a busy MAC costs no write for each frame.
	seenStep = int64(time.Second)
	// fdbBuckets is a power of two. Ports hold few MACs each, so chains stay short.
	fdbBuckets = 1 << 12
)

// fdb remembers behind which port a MAC lives. Looking up takes no lock; learning a MAC takes one, and each port may
// make the table remember only so many. A full port never costs another port an entry.
type fdb struct {
	seed    uint64
	buckets [fdbBuckets]atomic.Pointer[fdbEntry]

	changed func(frame.PortID) // is told where a MAC is no more, and where it has moved to; port 0: anywhere

	mu    sync.Mutex
	count map[frame.PortID]int
	swept map[frame.PortID]int64 // when a full port's old entries were looked for
}

type fdbEntry struct {
	key  uint64 // segment and MAC
	port atomic.Uint32
	seen atomic.Int64 // monotonic ns
	next atomic.Pointer[fdbEntry]
}

func newFDB() *fdb {
	return &fdb{seed: rand.Uint64() | 1, count: map[frame.PortID]int{}, swept: map[frame.PortID]int64{}, changed: func(frame.PortID) {}}
}

// macAge is how long a silent MAC of the segment is remembered.
func (s *Segment) macAge() int64 {
	if s.MACAge == 0 {
		return int64(macAge)
	}
	return int64(s.MACAge)
}

func MACKey(seg frame.SegmentID, m frame.MAC) uint64 {
	return uint64(seg)<<48 | uint64(m[0])<<40 | uint64(m[1])<<32 | uint64(m[2])<<24 | uint64(m[3])<<16 |
		uint64(m[4])<<8 | uint64(m[5])
}

// macOf is the MAC in a key.
func macOf(key uint64) (m frame.MAC) {
	for i := range m {
		m[i] = byte(key >> (40 - 8*i))
	}
	return m
}

// bucket spreads keys with a seed that guests cannot know.
func (t *fdb) bucket(key uint64) *atomic.Pointer[fdbEntry] {
	hi, lo := bits.Mul64(key^t.seed, t.seed)
	return &t.buckets[(hi^lo)&(fdbBuckets-1)]
}

func (t *fdb) find(key uint64) *fdbEntry {
	e := t.bucket(key).Load()
	for e != nil && e.key != key {
		e = e.next.Load()
	}
	return e
}

// lookup finds the port of a MAC; 0 is unknown.
func (t *fdb) lookup(seg *Segment, m frame.MAC, now int64) frame.PortID {
	port, _ := t.lookupUntil(seg, m, now)
	return port
}

// lookupUntil says, too, until when that is known if the MAC stays silent.
func (t *fdb) lookupUntil(seg *Segment, m frame.MAC, now int64) (port frame.PortID, until int64) {
	e := t.find(MACKey(seg.ID, m))
	if e == nil {
		return 0, 0
	}
	until = e.seen.Load() + seg.macAge()
	if now > until {
		return 0, 0
	}
	return frame.PortID(e.port.Load()), until
}

// learn notes that a MAC lives behind a port. It says false where the port already has as many as it may.
func (t *fdb) learn(seg *Segment, m frame.MAC, port frame.PortID, limit int, now int64) bool {
	key := MACKey(seg.ID, m)
	e := t.find(key)
	if e == nil || frame.PortID(e.port.Load()) != port {
		return t.learnNew(key, port, limit, now, seg.macAge())
	}
	if now-e.seen.Load() > seenStep {
		e.seen.Store(now)
	}
	return true
}

// touch notes that a MAC was seen behind a port not so long ago.
func (t *fdb) touch(key uint64, port frame.PortID, seen int64) {
	if e := t.find(key); e != nil && frame.PortID(e.port.Load()) == port && e.seen.Load() < seen {
		e.seen.Store(seen)
	}
}

func (t *fdb) learnNew(key uint64, port frame.PortID, limit int, now, age int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count[port] >= limit && !t.makeRoom(port, limit, now, age) {
		return false
	}
	if e := t.find(key); e != nil { // the MAC has moved
		t.forget(frame.PortID(e.port.Load()))
		e.port.Store(uint32(port))
		e.seen.Store(now)
		t.changed(port)
	} else {
		e := &fdbEntry{key: key}
		e.port.Store(uint32(port))
		e.seen.Store(now)
		head := t.bucket(key)
		e.next.Store(head.Load())
		head.Store(e)
	}
	t.count[port]++
	return true
}

// makeRoom forgets a full port's aged entries. A guest that floods makes it run once a second, not once a frame.
func (t *fdb) makeRoom(port frame.PortID, limit int, now, age int64) bool {
	if last, ok := t.swept[port]; ok && now-last < seenStep {
		return false
	}
	t.swept[port] = now
	t.removeWhere(func(e *fdbEntry) bool {
		return frame.PortID(e.port.Load()) == port && now-e.seen.Load() > age
	})
	return t.count[port] < limit
}

// removePort forgets everything that was learnt from a port.
func (t *fdb) removePort(port frame.PortID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removeWhere(func(e *fdbEntry) bool { return frame.PortID(e.port.Load()) == port })
	delete(t.swept, port)
}

// clear forgets everything.
func (t *fdb) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removeWhere(func(*fdbEntry) bool { return true })
	clear(t.swept)
}

// removeWhere unlinks entries under the lock. A reader that stands on one still finds its way on from there.
func (t *fdb) removeWhere(gone func(*fdbEntry) bool) {
	for i := range t.buckets {
		at := &t.buckets[i]
		for e := at.Load(); e != nil; e = at.Load() {
			if gone(e) {
				t.forget(frame.PortID(e.port.Load()))
				at.Store(e.next.Load())
			} else {
				at = &e.next
			}
		}
	}
}

// forget counts one entry less for a port.
func (t *fdb) forget(port frame.PortID) {
	defer t.changed(port)
	if t.count[port]--; t.count[port] <= 0 {
		delete(t.count, port)
	}
}

// each calls f with what is remembered: with the segment, the MAC, the port behind which it lives, and for how long it
// has been silent.
func (t *fdb) each(segments []Segment, now int64, f func(frame.SegmentID, frame.MAC, frame.PortID, time.Duration)) {
	for i := range t.buckets {
		for e := t.buckets[i].Load(); e != nil; e = e.next.Load() {
			seg, silent := &segments[e.key>>48], now-e.seen.Load()
			if silent <= seg.macAge() {
				f(seg.ID, macOf(e.key), frame.PortID(e.port.Load()), time.Duration(silent))
			}
		}
	}
}
