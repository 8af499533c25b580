package enginetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

// testChangesUnderLoad changes the placement at random while frames flow. Nothing that the policy denies is delivered,
// nothing else is lost, the established connection lives on, and the receipts say the same.
func testChangesUnderLoad(t *testing.T, bed Bed) {
	const changes = 30
	r := bed.rig(t)
	r.policy(referencePolicy)
	r.place(firewall.Fast)
	s := r.startStream()
	var lost, leaked, observed int
	random := rand.New(rand.NewPCG(1, 2))
	for range changes {
		rec := r.place([]firewall.Placement{firewall.Fast, firewall.Slow}[random.IntN(2)])
		lost, leaked, observed = lost+rec.Lost, leaked+rec.Leaked, observed+rec.Observed
		if rec.Overflow || rec.Duplicated > 0 || rec.Lost > 0 || rec.Leaked > 0 {
			t.Errorf("%+v", rec)
		}
	}
	if o := s.end(); o != (outcome{}) {
		t.Errorf("%+v; the receipts say lost %d, leaked %d", o, lost, leaked)
	}
	if observed == 0 {
		t.Error("the receipts have seen no frame")
	}
	r.balanced()
}

// testPlaceCancelled cancels changes at every moment: each either has happened or has not.
func testPlaceCancelled(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(referencePolicy)
	s := r.startStream()
	for i := range 20 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*3*time.Millisecond)
		before := r.sw.Status().Placement
		to := []firewall.Placement{firewall.Off, firewall.Fast, firewall.Slow}[i%3]
		rec, err := r.sw.Place(ctx, to, vswitch.PlaceOptions{})
		cancel()
		want := to
		if err != nil {
			want = before
		}
		if got := r.sw.Status().Placement; got != want || err == nil && rec.To != to {
			t.Errorf("%s to %s, error %v: now %s", before, to, err, got)
		}
	}
	s.end()
	r.balanced()
}

// testHandover says what becomes of an established connection.
func testHandover(t *testing.T, bed Bed) {
	for _, c := range []struct {
		from, to firewall.Placement
		how      vswitch.Handover
		lives    bool
	}{
		{firewall.Off, firewall.Fast, vswitch.Carry, true},
		{firewall.Off, firewall.Slow, vswitch.Carry, true},
		{firewall.Fast, firewall.Slow, vswitch.Carry, true},
		{firewall.Slow, firewall.Fast, vswitch.Carry, true},
		{firewall.Fast, firewall.Off, vswitch.Carry, true},
		{firewall.Slow, firewall.Off, vswitch.Carry, true},
		{firewall.Push, firewall.Slow, vswitch.Carry, true},
		{firewall.Slow, firewall.Push, vswitch.Carry, true},
		{firewall.Off, firewall.Push, vswitch.Carry, true},
		{firewall.Push, firewall.Fast, vswitch.Carry, true},
		{firewall.Fast, firewall.Slow, vswitch.Cut, false},
		{firewall.Slow, firewall.Fast, vswitch.Cut, false},
	} {
		r := bed.rig(t)
		r.policy(referencePolicy)
		r.place(c.from)
		s := r.startStream()
		close(s.stop)
		s.stopped.Wait()
		rec, err := r.sw.Place(context.Background(), c.to, vswitch.PlaceOptions{Handover: c.how})
		if err != nil {
			t.Fatal(err)
		}
		if carried := rec.FlowsCarried > 0; carried != c.lives {
			t.Errorf("%s to %s, %s: %d flows carried", c.from, c.to, c.how, rec.FlowsCarried)
		}
		const mark = 77777
		r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoTCP, sport: 4000, dport: 80, flags: frame.TCPAck, seq: mark, payload: []byte("x")}).build())
		r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 8, dport: 5201, payload: []byte("end")}).build())
		alive := false
		r.server.next("end", func(k *frame.Key) bool {
			alive = alive || k.Seq == mark
			return k.SrcPort == 8
		})
		if alive != c.lives {
			t.Errorf("%s to %s, %s: the connection lives: %v", c.from, c.to, c.how, alive)
		}
	}
}

// testCarryWhileConnectionsBegin opens one connection while the flows are copied, which the second copy must carry, and
// one during that, which must be held until the appliance sees its SYN.
func testCarryWhileConnectionsBegin(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(referencePolicy)
	r.place(firewall.Fast)
	open := func(port uint16) {
		r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoTCP, sport: port, dport: 80, flags: frame.TCPSyn}).build())
	}
	arrived := func(port uint16) func(*frame.Key) bool {
		return func(k *frame.Key) bool { return k.SrcPort == port }
	}
	open(1000)
	r.server.next("first SYN", arrived(1000))
	copies := 0
	r.fw.onPut = func() {
		switch copies++; copies {
		case 1:
			open(2000)
			r.server.next("second SYN", arrived(2000))
		case 2:
			open(3000)
			select { // too short a wait could only miss an error, not make one
			case <-r.server.got:
				t.Error("a frame was not held")
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	r.place(firewall.Slow)
	if copies != 2 {
		t.Fatalf("flows were copied %d times", copies)
	}
	r.server.next("held SYN", arrived(3000))
	for _, port := range []uint16{1000, 2000, 3000} {
		r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoTCP, sport: port, dport: 80, flags: frame.TCPAck, seq: 1, payload: []byte("x")}).build())
		r.server.next("data", arrived(port))
	}
	r.balanced()
}

// testDetachWhileHeld takes a port away whose frames are being held: nobody has to wait for the change.
func testDetachWhileHeld(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(referencePolicy)
	r.place(firewall.Fast)
	open := func(port uint16) {
		r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoTCP, sport: port, dport: 80, flags: frame.TCPSyn}).build())
		r.server.next("SYN", func(k *frame.Key) bool { return k.SrcPort == port })
	}
	open(1000)
	copies := 0
	r.fw.onPut = func() {
		if copies++; copies == 1 {
			open(2000) // so that there is a second copy, with the frames held
			return
		}
		r.other.send(plain(broadcast, r.other.port.MAC, 0))
		time.Sleep(5 * time.Millisecond) // the port's goroutine most likely holds the frame by now; either way must work
		if err := r.engine.Detach(portOther); err != nil {
			t.Error(err)
		}
	}
	r.place(firewall.Slow)
	if copies != 2 {
		t.Errorf("flows were copied %d times", copies)
	}
}

// testCarryFails says that an appliance that falls ill while flows are carried leaves everything as it was.
func testCarryFails(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(referencePolicy)
	r.place(firewall.Fast)
	s := r.startStream()
	r.fw.failPut.Store(true)
	if _, err := r.sw.Place(context.Background(), firewall.Slow, vswitch.PlaceOptions{}); !errors.Is(err, errFull) {
		t.Errorf("placed slow with error %v", err)
	}
	if st := r.sw.Status(); st.Placement != firewall.Fast {
		t.Errorf("now %s", st.Placement)
	}
	if o := s.end(); o != (outcome{}) {
		t.Errorf("%+v", o)
	}
}

// testPolicyCuts says that a policy which denies a flow ends it, in both enforcing placements.
func testPolicyCuts(t *testing.T, bed Bed) {
	for _, in := range []firewall.Placement{firewall.Fast, firewall.Slow} {
		r := bed.rig(t)
		r.policy(referencePolicy)
		r.place(in)
		s := r.startStream()
		close(s.stop)
		s.stopped.Wait()
		r.policy("services: {speed: {udp: 5201}}\ndefault: drop\nrules:\n  - {name: speed, from: client, to: server, service: speed, action: allow}\n")
		r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoTCP, sport: 4000, dport: 80, flags: frame.TCPAck, seq: 9999, payload: []byte("x")}).build())
		r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 8, dport: 5201, payload: []byte("end")}).build())
		r.server.next("end", func(k *frame.Key) bool {
			if k.Seq == 9999 {
				t.Errorf("%s: a flow that the new policy denies lives on", in)
			}
			return k.SrcPort == 8
		})
		r.balanced()
	}
}

var errFull = errors.New("the table is full")
