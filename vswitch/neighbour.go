package vswitch

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"sluice/vnic/frame"
)

const (
	// neighbourFresh is how long an answer is believed without asking again, and neighbourAge how long at all.
	neighbourFresh = int64(60 * time.Second)
	neighbourAge   = int64(120 * time.Second)
	// neighboursPerPort bounds what one guest can make the gateway remember.
	neighboursPerPort = 16
	// askEvery and askTimes are Linux's retrans_time and mcast_solicit (Documentation/networking/ip-sysctl.rst).
	askEvery = int64(time.Second)
	askTimes = 3
	// maxAsked bounds the addresses that are being asked for at once: a guest that scans fills it, and then has to wait.
	maxAsked = 1024
)

// neighbours is what the gateway has learnt from ARP and ND. The guests of the plan are not in it: the plan knows them.
type neighbours struct {
	known atomic.Pointer[map[neighbourKey]*neighbour] // copied on each change, which are few and bounded

	mu    sync.Mutex
	asked map[neighbourKey]*question
}

type neighbourKey struct {
	segment frame.SegmentID
	addr    frame.Addr
}

type neighbour struct {
	mac  frame.MAC
	port frame.PortID
	seen atomic.Int64
}

type question struct {
	times int
	last  int64
}

func newNeighbours() *neighbours {
	n := &neighbours{asked: map[neighbourKey]*question{}}
	n.known.Store(&map[neighbourKey]*neighbour{})
	return n
}

// lookup finds who has an address; nil is unknown. stale says that it should be asked again.
func (n *neighbours) lookup(k neighbourKey, now int64) (found *neighbour, stale bool) {
	e := (*n.known.Load())[k]
	if e == nil {
		return nil, true
	}
	age := now - e.seen.Load()
	if age > neighbourAge {
		return nil, true
	}
	return e, age > neighbourFresh
}

// learn notes who has an address. As long as somebody else has it and is heard of, nobody can take it over.
func (n *neighbours) learn(k neighbourKey, mac frame.MAC, port frame.PortID, now int64) {
	e := (*n.known.Load())[k]
	if e != nil && e.mac == mac && e.port == port {
		if now-e.seen.Load() > seenStep {
			e.seen.Store(now)
		}
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	m := *n.known.Load()
	if e := m[k]; e != nil && e.port != port && now-e.seen.Load() <= neighbourAge {
		return
	}
	next := make(map[neighbourKey]*neighbour, len(m)+1)
	mine := 0
	for key, e := range m {
		if now-e.seen.Load() > neighbourAge || key == k {
			continue
		}
		if e.port == port {
			mine++
		}
		next[key] = e
	}
	if mine >= neighboursPerPort {
		return
	}
	fresh := &neighbour{mac: mac, port: port}
	fresh.seen.Store(now)
	next[k] = fresh
	n.known.Store(&next)
	delete(n.asked, k)
}

// ask says whether to send a question for an address now, and whether so many went unanswered that it counts as
// unreachable.
func (n *neighbours) ask(k neighbourKey, now int64) (send, unreachable bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	q := n.asked[k]
	if q != nil && now-q.last > 2*askTimes*askEvery {
		*q = question{times: 1, last: now} // that was another conversation
		return true, false
	}
	if q == nil {
		if len(n.asked) >= maxAsked {
			maps.DeleteFunc(n.asked, func(_ neighbourKey, q *question) bool { return now-q.last > askTimes*askEvery })
		}
		if len(n.asked) >= maxAsked {
			return false, false
		}
		n.asked[k] = &question{times: 1, last: now}
		return true, false
	}
	unreachable = q.times >= askTimes
	if now-q.last < askEvery {
		return false, unreachable
	}
	q.times, q.last = q.times+1, now
	return true, unreachable
}

// removePort forgets what was learnt from a port.
func (n *neighbours) removePort(port frame.PortID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	next := maps.Clone(*n.known.Load())
	maps.DeleteFunc(next, func(_ neighbourKey, e *neighbour) bool { return e.port == port })
	n.known.Store(&next)
}

// clear forgets everything.
func (n *neighbours) clear() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known.Store(&map[neighbourKey]*neighbour{})
	clear(n.asked)
}
