package vswitch

import (
	"testing"
	"time"

	"sluice/vnic/frame"
)

const second = int64(time.Second)

func mac(b byte) frame.MAC { return frame.MAC{2, 5: b} }

// known is how many MACs of a segment are remembered of a port.
func known(f *fdb, seg *Segment, port frame.PortID, now int64) (n int) {
	f.each([]Segment{1: *seg}, now, func(_ *Segment, _ frame.MAC, p frame.PortID, _ time.Duration) {
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
	f.each([]Segment{1: *lan}, 203*second, func(seg *Segment, m frame.MAC, port frame.PortID, silent time.Duration) {
		if seg.ID != 1 || m != mac(1) || port != 8 || silent != 2*time.Second {
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

// TestNeighbourTable says whom the gateway believes.
func TestNeighbourTable(t *testing.T) {
	key := neighbourKey{1, frame.Addr{15: 9}}
	n := newNeighbours()
	n.learn(key, mac(1), 7, 0)
	n.learn(key, mac(2), 8, neighbourAge)
	if e, _ := n.lookup(key, 0); e == nil || e.mac != mac(1) {
		t.Error("an address in use was taken over")
	}
	if e, stale := n.lookup(key, neighbourFresh+1); e == nil || !stale {
		t.Error("an old answer is not asked again")
	}
	n.learn(key, mac(2), 8, neighbourAge+1)
	if e, _ := n.lookup(key, neighbourAge+1); e == nil || e.mac != mac(2) {
		t.Error("a forgotten address cannot be taken")
	}
	n.removePort(8)
	if e, _ := n.lookup(key, neighbourAge+1); e != nil {
		t.Error("a removed port is remembered")
	}
	for i := range byte(100) {
		n.learn(neighbourKey{1, frame.Addr{15: i}}, mac(3), 9, 0)
	}
	if got := len(*n.known.Load()); got != neighboursPerPort {
		t.Errorf("one port made the gateway remember %d addresses", got)
	}
}

// TestAsking says when the gateway asks, and when it gives up.
func TestAsking(t *testing.T) {
	n := newNeighbours()
	key := neighbourKey{1, frame.Addr{15: 9}}
	for _, c := range []struct {
		at                int64
		send, unreachable bool
	}{
		{0, true, false},
		{second / 2, false, false},
		{second, true, false},
		{2 * second, true, false},
		{2*second + 1, false, true},
		{3 * second, true, true},
		{100 * second, true, false},
	} {
		if send, unreachable := n.ask(key, c.at); send != c.send || unreachable != c.unreachable {
			t.Errorf("at %v: asks %v, unreachable %v", time.Duration(c.at), send, unreachable)
		}
	}
	for i := range 3 * maxAsked {
		n.ask(neighbourKey{1, frame.Addr{14: byte(i >> 8), 15: byte(i)}}, 100*second)
	}
	if len(n.asked) > maxAsked {
		t.Errorf("%d questions are remembered", len(n.asked))
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

// TestEventsLost says that a slow reader loses events and is told, and that nobody waits for it.
func TestEventsLost(t *testing.T) {
	e := newEvents()
	ch, stop := e.subscribe()
	for range eventRoom + 10 {
		e.tell("placed", "")
	}
	for range eventRoom {
		<-ch
	}
	e.tell("placed", "after")
	if ev := <-ch; ev.Kind != "lost" || ev.Detail != "10 events, read too slowly" {
		t.Errorf("told %+v", ev)
	}
	if ev := <-ch; ev.Detail != "after" {
		t.Errorf("told %+v", ev)
	}
	stop()
	if _, open := <-ch; open {
		t.Error("the channel is open after the end")
	}
}
