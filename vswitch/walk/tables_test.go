package walk

import (
	"testing"
	"time"

	"sluice/vnic/frame"
)

const second = int64(time.Second)

func mac(b byte) frame.MAC { return frame.MAC{2, 5: b} }

// known is how many MACs of a segment are remembered of a port.
func known(f *fdb, seg *Segment, port frame.PortID, now int64) (n int) {
	f.each([]Segment{1: *seg}, now, func(_ frame.SegmentID, _ frame.MAC, p frame.PortID, _ time.Duration) {
		if p == port {
			n++
		}
	})
	return n
}

// TestFDB walks through the life of an entry.
func TestFDB(t *testing.T) {
	f, lan := newFDB(), &Segment{ID: 1}
	age := lan.macAge()
	if f.lookup(lan, mac(1), 0) != 0 {
		t.Error("an empty table knows a MAC")
	}
	f.learn(lan, mac(1), 7, 2, 0)
	if f.lookup(lan, mac(1), age) != 7 || f.lookup(&Segment{ID: 2}, mac(1), 0) != 0 {
		t.Error("not learnt, or learnt for another segment")
	}
	if f.lookup(lan, mac(1), age+1) != 0 || known(f, lan, 7, age) != 1 || known(f, lan, 7, age+1) != 0 {
		t.Error("not aged")
	}
	if short := (&Segment{ID: 1, MACAge: 10 * time.Second}); f.lookup(short, mac(1), 10*second) != 7 || f.lookup(short, mac(1), 10*second+1) != 0 {
		t.Error("a segment's own age is not that")
	}
	f.learn(lan, mac(1), 7, 2, 200*second)
	if f.lookup(lan, mac(1), age+1) != 7 {
		t.Error("a busy MAC has aged")
	}
	f.learn(lan, mac(1), 8, 2, 201*second)
	if f.lookup(lan, mac(1), 201*second) != 8 || f.count[7] != 0 || known(f, lan, 8, 201*second) != 1 {
		t.Error("a MAC that moved is not counted where it is now")
	}
	f.each([]Segment{1: *lan}, 203*second, func(seg frame.SegmentID, m frame.MAC, port frame.PortID, silent time.Duration) {
		if seg != 1 || m != mac(1) || port != 8 || silent != 2*time.Second {
			t.Errorf("listed as %v behind %d, silent for %v", m, port, silent)
		}
	})
	f.removePort(8)
	if f.lookup(lan, mac(1), 201*second) != 0 || known(f, lan, 8, 201*second) != 0 || f.count[8] != 0 {
		t.Error("a removed port is remembered")
	}
}

// TestFDBLimit says that a full port gets no more, takes nothing from others, and is given room again by age.
func TestFDBLimit(t *testing.T) {
	f, lan := newFDB(), &Segment{ID: 1}
	age := lan.macAge()
	f.learn(lan, mac(100), 8, 1, 0)
	for i := range byte(50) {
		if got, want := f.learn(lan, mac(i), 7, 3, 0), i < 3; got != want {
			t.Errorf("MAC %d of a port with room for 3: %v", i, got)
		}
	}
	if f.learn(lan, mac(100), 7, 3, 0) || f.lookup(lan, mac(100), 0) != 8 {
		t.Error("a full port took over another's MAC")
	}
	if !f.learn(lan, mac(60), 7, 3, age+2*second) || f.count[7] != 1 {
		t.Errorf("no room after everything aged: %d entries", f.count[7])
	}
}

// TestNeighbourTable says whom the gateway believes: the latest, but for what does not hold against what is known.
func TestNeighbourTable(t *testing.T) {
	key := neighbourKey{1, frame.Addr{15: 9}}
	n := newNeighbours()
	is := func(want frame.MAC, port frame.PortID, now int64, wantStale bool) {
		t.Helper()
		if e, stale := n.lookup(key, now); e == nil || e.mac() != want || e.port() != port || stale != wantStale {
			t.Errorf("at %v: %+v, stale %v", time.Duration(now), e, stale)
		}
	}
	for _, c := range []struct {
		mac      byte
		port     frame.PortID
		override bool
		changed  bool
	}{{1, 7, false, true}, {1, 7, true, false}, {2, 8, true, true}, {3, 9, false, false}, {1, 8, true, true}} {
		changed, _ := n.learn(claim{key: key, mac: mac(c.mac), port: c.port, override: c.override}, 0)
		if changed != c.changed {
			t.Errorf("%+v: changed %v", c, changed)
		}
	}
	is(mac(1), 8, 0, false)
	is(mac(1), 8, neighbourFresh+1, true)
	n.learn(claim{key: key, mac: mac(3), port: 9}, neighbourFresh)
	is(mac(1), 8, neighbourFresh, true) // what did not hold makes one ask
	n.learn(claim{key: key, mac: mac(3), port: 9}, 2*neighbourAge+neighbourFresh)
	is(mac(3), 9, 2*neighbourAge+neighbourFresh, false) // nobody has used the old one for long
	n.removePort(9)
	if e, _ := n.lookup(key, 0); e != nil {
		t.Error("a removed port is remembered")
	}
	for i := range byte(100) {
		n.learn(claim{key: neighbourKey{1, frame.Addr{15: i}}, mac: mac(3), port: 9, override: true}, 0)
	}
	if got := len(*n.known.Load()); got != neighboursPerPort {
		t.Errorf("one port made the gateway remember %d addresses", got)
	}
	n.learn(claim{key: key, mac: mac(4), port: 10, override: true, planned: true}, 0)
	if changed, _ := n.giveBack(key); !changed || n.known.Load() == nil || (*n.known.Load())[key] != nil {
		t.Error("not given back to whom the plan names")
	}
}

// packetOf is one of so many bytes that waits.
func packetOf(bytes int, from frame.PortID) *waiting {
	return &waiting{frame: frame.New(bytes), from: from, came: from}
}

// TestAsking says when the gateway asks, what waits meanwhile, and when it gives up.
func TestAsking(t *testing.T) {
	n := newNeighbours()
	key := neighbourKey{1, frame.Addr{15: 9}}
	for i := range 5 {
		send, kept, givenUp := n.ask(key, 1, 0, packetOf(100+i, 1))
		if send != (i == 0) || !kept || len(givenUp) != max(0, min(1, i-keptPerAddress+1)) {
			t.Errorf("packet %d: asks %v, kept %v, given up %d", i, send, kept, len(givenUp))
		}
	}
	for _, c := range []struct {
		at            int64
		again, failed int
	}{{second / 2, 0, 0}, {second, 1, 0}, {second + 1, 0, 0}, {2 * second, 1, 0}, {3 * second, 0, keptPerAddress}, {4 * second, 0, 0}} {
		again, failed := n.due(c.at, 10)
		if len(again) != c.again || len(failed[key]) != c.failed {
			t.Errorf("at %v: asks %d, gives up %d", time.Duration(c.at), len(again), len(failed[key]))
		}
	}
	if n.bytes != 0 || len(n.share) != 0 || n.asking.Load() {
		t.Errorf("left %d bytes, %d shares", n.bytes, len(n.share))
	}
	n.ask(key, 1, 5*second, packetOf(7, 1))
	if _, freed := n.learn(claim{key: key, mac: mac(1), port: 2, override: true}, 5*second); len(freed) != 1 || freed[0].frame.Len != 7 {
		t.Errorf("freed %v", freed)
	}
}

// TestAskingIsBounded says that one guest that scans neither fills memory nor takes another's place.
func TestAskingIsBounded(t *testing.T) {
	n := newNeighbours()
	for port := frame.PortID(1); port <= 100; port++ {
		for i := range 4 * askedPerPort {
			n.ask(neighbourKey{1, frame.Addr{13: byte(port), 14: byte(i >> 8), 15: byte(i)}}, port, 0, packetOf(60_000, port))
		}
	}
	if len(n.asked) > maxAsked || n.bytes > keptInAll {
		t.Errorf("%d questions and %d bytes are remembered", len(n.asked), n.bytes)
	}
	n = newNeighbours()
	for i := range 4 * askedPerPort {
		n.ask(neighbourKey{1, frame.Addr{14: byte(i >> 8), 15: byte(i)}}, 1, 0, packetOf(60_000, 1))
	}
	if s := n.share[1]; s.questions != askedPerPort || s.bytes > keptPerPort {
		t.Errorf("one port has %+v", *s)
	}
	if send, kept, _ := n.ask(neighbourKey{2, frame.Addr{}}, 2, 0, packetOf(1000, 2)); !send || !kept {
		t.Error("another guest has no room")
	}
	for now := second; n.asking.Load(); now += second {
		n.due(now, 1000)
	}
	if n.bytes != 0 || len(n.share) != 0 {
		t.Errorf("left %d bytes, %d shares", n.bytes, len(n.share))
	}
}

// TestBucket says how many errors a second there are at most.
func TestBucket(t *testing.T) {
	var b bucket
	n := 0
	for at := int64(1); at <= second; at += second / 5000 {
		if b.take(at) {
			n++
		}
	}
	if n < icmpPerSecond || n > icmpPerSecond+icmpBurst {
		t.Errorf("%d in a second", n)
	}
}
