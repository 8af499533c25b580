package walk

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/vnic/frame"
)

const (
	// neighbourFresh is how long an answer is believed without asking again: Linux's base_reachable_time. neighbourAge
	// is for how long one that nobody uses is remembered at all.
	neighbourFresh = int64(30 * time.Second)
	neighbourAge   = int64(120 * time.Second)
	// neighboursPerPort bounds what one guest can make the gateway remember.
	neighboursPerPort = 16
	// askEvery and askTimes are Linux's retrans_time and mcast_solicit (Documentation/networking/ip-sysctl.rst).
	askEvery = int64(time.Second)
	askTimes = 3
	// maxAsked bounds the addresses that are being asked for at once, and askedPerPort those for one guest's packets: a
	// guest that scans has to wait, and nobody else.
	maxAsked     = 4096
	askedPerPort = 64
	// keptPerAddress is how many packets wait for an address, the newest (RFC 1122 2.3.2.2 asks for one); keptPerPort
	// and keptInAll are how many bytes of them.
	keptPerAddress = 3
	keptPerPort    = 256 << 10
	keptInAll      = 8 << 20
)

// neighbours is what the gateway has learnt from ARP and ND. What the plan says of guests is not in it, but where
// another vNIC has claimed such an address: then what is here holds.
type neighbours struct {
	known   atomic.Pointer[map[neighbourKey]*neighbour] // copied where a key comes or goes, which is seldom and bounded
	claimed atomic.Bool                                 // an address of the plan's was among them at some time
	asking  atomic.Bool                                 // asked is not empty
	changed func()                                      // is told when an address of the plan's has been claimed

	mu    sync.Mutex
	asked map[neighbourKey]*question
	share map[frame.PortID]*askShare // of asked, by whose packets they are for
	bytes int                        // of packets that wait
}

type neighbourKey struct {
	segment frame.SegmentID
	addr    frame.Addr
}

// neighbour is who has an address. The MAC and the port from which it was named change together.
type neighbour struct {
	at   atomic.Uint64 // the MAC, and below it the port
	seen atomic.Int64
}

func (e *neighbour) mac() frame.MAC     { return macOf(e.at.Load() >> 16) }
func (e *neighbour) port() frame.PortID { return frame.PortID(e.at.Load()) }

func atOf(mac frame.MAC, port frame.PortID) uint64 { return MACKey(0, mac)<<16 | uint64(port) }

// question is an address that is being asked for.
type question struct {
	times int
	last  int64
	port  frame.PortID // of whose share it is
	kept  []waiting
}

type askShare struct{ questions, bytes int }

// waiting is a packet that waits for its neighbour. The books do not know it before it goes on, or is given up.
type waiting struct {
	frame *frame.Frame // as it was let in, in memory of its own
	bytes uint64       // as it came
	came  frame.PortID // by which NIC
	from  frame.PortID // which guest has sent it
	epoch uint64       // of the plan that let it in
}

func newNeighbours() *neighbours {
	n := &neighbours{asked: map[neighbourKey]*question{}, share: map[frame.PortID]*askShare{}, changed: func() {}}
	n.known.Store(&map[neighbourKey]*neighbour{})
	return n
}

// lookup finds who has an address; nil is unknown. stale says that it should be asked again.
func (n *neighbours) lookup(k neighbourKey, now int64) (found *neighbour, stale bool) {
	e := (*n.known.Load())[k]
	if e == nil {
		return nil, true
	}
	return e, now-e.seen.Load() > neighbourFresh
}

// claim is what ARP or ND says of who has an address.
type claim struct {
	key      neighbourKey
	mac      frame.MAC
	port     frame.PortID // from which it came
	override bool         // it holds against what was known before (RFC 826; RFC 4861 7.2.5)
	planned  bool         // the address is in the plan
}

// learn believes a claim: the latest holds. changed says that the address is elsewhere now; freed are packets that have
// waited for it.
func (n *neighbours) learn(c claim, now int64) (changed bool, freed []waiting) {
	e, at := (*n.known.Load())[c.key], atOf(c.mac, c.port)
	if e != nil && e.at.Load() == at && !n.asking.Load() {
		if now-e.seen.Load() > seenStep {
			e.seen.Store(now)
		}
		return false, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	e = (*n.known.Load())[c.key]
	switch {
	case e != nil && e.at.Load() == at:
		e.seen.Store(now)
	case e != nil && !c.override && now-e.seen.Load() <= neighbourAge:
		e.seen.Store(now - neighbourFresh - 1) // believed, but asked again
		return false, nil
	case e == nil && c.planned && !c.override:
		return false, nil
	default:
		if changed = n.put(c, e, now); !changed {
			return false, nil
		}
	}
	return changed, n.answered(c.key)
}

// put makes an address be at a claim's MAC and port. A port that has its share loses the address, which is then asked
// for. The caller has the mutex.
func (n *neighbours) put(c claim, old *neighbour, now int64) bool {
	mine, known := 0, *n.known.Load()
	for k, e := range known {
		if k != c.key && e.port() == c.port && now-e.seen.Load() <= neighbourAge {
			mine++
		}
	}
	if mine >= neighboursPerPort {
		if old != nil {
			n.drop(func(k neighbourKey, _ *neighbour) bool { return k == c.key })
		}
		return false
	}
	if c.planned && !n.claimed.Swap(true) {
		n.changed()
	}
	if old != nil {
		old.seen.Store(now)
		old.at.Store(atOf(c.mac, c.port))
		return true
	}
	n.drop(func(_ neighbourKey, e *neighbour) bool { return now-e.seen.Load() > neighbourAge })
	fresh := &neighbour{}
	fresh.at.Store(atOf(c.mac, c.port))
	fresh.seen.Store(now)
	next := maps.Clone(*n.known.Load())
	next[c.key] = fresh
	n.known.Store(&next)
	return true
}

// drop forgets who has some addresses. The caller has the mutex.
func (n *neighbours) drop(gone func(neighbourKey, *neighbour) bool) {
	next := maps.Clone(*n.known.Load())
	maps.DeleteFunc(next, gone)
	n.known.Store(&next)
}

// giveBack notes that an address is again where the plan says. It says whether it was elsewhere.
func (n *neighbours) giveBack(k neighbourKey) (changed bool, freed []waiting) {
	if !n.claimed.Load() || (*n.known.Load())[k] == nil {
		return false, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drop(func(other neighbourKey, _ *neighbour) bool { return other == k })
	return true, n.answered(k)
}

// answered ends a question, and gives what has waited. The caller has the mutex.
func (n *neighbours) answered(k neighbourKey) []waiting {
	q := n.asked[k]
	if q == nil {
		return nil
	}
	delete(n.asked, k)
	n.asking.Store(len(n.asked) > 0)
	kept := q.kept
	for _, w := range kept {
		n.weigh(w, -1)
	}
	q.kept = nil
	if s := n.share[q.port]; s != nil {
		if s.questions--; s.questions == 0 && s.bytes == 0 {
			delete(n.share, q.port)
		}
	}
	return kept
}

// weigh counts a packet that waits, or does so no more. The caller has the mutex.
func (n *neighbours) weigh(w waiting, by int) {
	n.bytes += by * w.frame.Len
	s := n.share[w.from]
	if s == nil {
		s = &askShare{}
		n.share[w.from] = s
	}
	if s.bytes += by * w.frame.Len; s.questions == 0 && s.bytes == 0 {
		delete(n.share, w.from)
	}
}

// ask begins to ask for an address, for a packet of a port; keep, where not nil, is a copy of that packet. send says
// that the question is to be sent now; kept that the packet waits, and given up are those that made room for it.
func (n *neighbours) ask(k neighbourKey, port frame.PortID, now int64, keep *waiting) (send, kept bool, givenUp []waiting) {
	n.mu.Lock()
	defer n.mu.Unlock()
	q := n.asked[k]
	if q == nil {
		s := n.share[port]
		if len(n.asked) >= maxAsked || s != nil && s.questions >= askedPerPort {
			return false, false, nil
		}
		if s == nil {
			s = &askShare{}
			n.share[port] = s
		}
		s.questions++
		q = &question{times: 1, last: now, port: port}
		n.asked[k], send = q, true
		n.asking.Store(true)
	}
	if keep == nil {
		return send, false, nil
	}
	if len(q.kept) == keptPerAddress {
		n.weigh(q.kept[0], -1)
		givenUp = append(givenUp, q.kept[0])
		q.kept = q.kept[1:]
	}
	mine := n.share[keep.from]
	if n.bytes+keep.frame.Len > keptInAll || mine != nil && mine.bytes+keep.frame.Len > keptPerPort {
		return send, false, givenUp
	}
	n.weigh(*keep, 1)
	q.kept = append(q.kept, *keep)
	return send, true, givenUp
}

// due gives the addresses that are to be asked for again, at most so many, and those for which nobody has answered,
// with what has waited.
func (n *neighbours) due(now int64, atMost int) (again []neighbourKey, failed map[neighbourKey][]waiting) {
	if !n.asking.Load() {
		return nil, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for k, q := range n.asked {
		switch {
		case now-q.last < askEvery:
		case len(again)+len(failed) == atMost:
			return again, failed
		case q.times < askTimes:
			q.times, q.last = q.times+1, now
			again = append(again, k)
		default:
			if failed == nil {
				failed = map[neighbourKey][]waiting{}
			}
			failed[k] = n.answered(k)
			if e := (*n.known.Load())[k]; e != nil { // it has gone, or the plan's owner has it
				n.drop(func(other neighbourKey, _ *neighbour) bool { return other == k })
			}
		}
	}
	return again, failed
}

// removePort forgets what was learnt from a port, and what waits of it.
func (n *neighbours) removePort(port frame.PortID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drop(func(_ neighbourKey, e *neighbour) bool { return e.port() == port })
	for _, q := range n.asked {
		q.kept = slices.DeleteFunc(q.kept, func(w waiting) bool {
			if w.from == port {
				n.weigh(w, -1)
			}
			return w.from == port
		})
	}
}

// clear forgets everything.
func (n *neighbours) clear() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known.Store(&map[neighbourKey]*neighbour{})
	n.claimed.Store(false)
	n.asking.Store(false)
	clear(n.asked)
	clear(n.share)
	n.bytes = 0
}
