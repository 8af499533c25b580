package enginetest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

var visiting = []firewall.Placement{firewall.Slow, firewall.Tunnel, firewall.Inspect}

// eachVisiting runs a test in a rig for each of them, side by side.
func eachVisiting(t *testing.T, bed Bed, test func(t *testing.T, r *rig, p firewall.Placement)) {
	for _, p := range visiting {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			r := bed.rig(t)
			r.policy(referencePolicy)
			test(t, r, p)
		})
	}
}

// becomes waits until the monitor says that the appliance is so, and that frames pass it by or do not.
func (r *rig) becomes(state firewall.Failure, bypassed bool) {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		st := r.sw.Status()
		if st.ApplianceState == state.String() && st.Bypassed == bypassed {
			r.sw.SetAppliance(r.fw) // which waits until the plan is in force: the switch says so a moment before
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("the appliance is %s, bypassed %v; want %s, %v", st.ApplianceState, st.Bypassed, state, bypassed)
		}
		time.Sleep(time.Millisecond) // a poll with a deadline
	}
}

// die is what a killed appliance does, and revive what one does that was booted again: it knows nothing.
func (a *fakeAppliance) die() {
	a.hung.Store(true)
	a.absent.Store(true)
}

func (a *fakeAppliance) revive() {
	a.mu.Lock()
	a.policy, a.flows, a.sessions = nil, map[fakeFlow]bool{}, map[uint8]firewall.SteerSpec{}
	a.mu.Unlock()
	a.hung.Store(false)
	a.absent.Store(false)
}

// reaches says whether a frame from client to server arrives, and that one which the policy denies does so only where
// open.
func (r *rig) reaches(number uint16, deniedToo bool) bool {
	r.t.Helper()
	r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: number, dport: deniedPort}).build())
	r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: number, dport: 5201}).build())
	r.settled()
	allowed, denied := false, false
	for {
		select {
		case f := <-r.server.got:
			var k frame.Key
			if frame.Parse(f, &k); k.SrcPort == number {
				allowed = allowed || k.DstPort == 5201
				denied = denied || k.DstPort == deniedPort
			}
			continue
		case <-time.After(20 * time.Millisecond): // too short a wait could only miss an error, not make one: the callers try again
		}
		if denied != deniedToo && (denied || allowed) {
			r.t.Errorf("a denied frame was delivered: %v; want %v", denied, deniedToo)
		}
		return allowed
	}
}

// eventually tries until a frame arrives.
func (r *rig) eventually(what string, number uint16, deniedToo bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !r.reaches(number, deniedToo); number++ {
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: nothing arrives", what)
		}
	}
}

// testFailures makes the appliance fail in each way, closed and open.
func testFailures(t *testing.T, bed Bed) {
	for _, c := range []struct {
		state firewall.Failure
		fail  func(*fakeAppliance)
		mend  func(*fakeAppliance)
		in    []firewall.Placement
		stops bool // whether nothing passes meanwhile, where it fails closed
	}{
		{firewall.Hung, func(a *fakeAppliance) { a.hung.Store(true) }, func(a *fakeAppliance) { a.hung.Store(false) }, visiting, true},
		{firewall.Absent, (*fakeAppliance).die, (*fakeAppliance).revive, visiting, true},
		{firewall.TableFull, func(a *fakeAppliance) { a.tableFull.Store(true) }, func(a *fakeAppliance) { a.tableFull.Store(false) }, visiting[:2], false},
		{firewall.Backlogged, func(a *fakeAppliance) { a.delay.Store(2e8) }, func(a *fakeAppliance) { a.delay.Store(0) }, visiting[1:], false},
	} {
		for _, in := range c.in {
			for _, open := range []bool{false, true} {
				name := in.String() + " " + c.state.String()
				how := "fail: closed\n"
				if open {
					name += " open"
					how = "fail: {" + c.state.String() + ": open}\n"
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					r := bed.rig(t)
					r.policy(how + referencePolicy)
					r.place(in)
					r.becomes(firewall.Healthy, false)
					r.eventually("healthy", 100, false)
					c.fail(r.fw)
					r.becomes(c.state, open)
					switch {
					case open:
						r.eventually("open", 200, in != firewall.Inspect)
					case c.stops && r.reaches(300, false):
						t.Error("a frame passed that nobody looked at")
					}
					if c.state == firewall.Hung {
						r.explains(open)
					}
					c.mend(r.fw)
					r.becomes(firewall.Healthy, false)
					r.eventually("mended", 400, false)
					r.settled()
				})
			}
		}
	}
}

// testToldOnce recovers an appliance while the switch is about to do so by itself.
func testToldOnce(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(referencePolicy)
	r.place(firewall.Tunnel)
	for range 5 {
		r.becomes(firewall.Healthy, false)
		events, cancel := r.sw.Events()
		r.fw.die()
		tells(t, events, []string{"absent"})
		r.fw.revive()
		time.Sleep(95 * time.Millisecond) // about when the switch does so itself; at any other moment the test passes, too
		if err := r.sw.Recover(context.Background()); err != nil {
			t.Fatal(err)
		}
		tells(t, events, []string{"ok: recovered"})
		select {
		case e := <-events:
			t.Errorf("told more: %v", e)
		case <-time.After(300 * time.Millisecond): // some ticks, in which it might be told again
		}
		cancel()
	}
}

// tells waits for events about the appliance that begin so, and no others.
func tells(t *testing.T, events <-chan vswitch.Event, want []string) int {
	t.Helper()
	for _, w := range want {
		select {
		case e := <-events:
			if e.Kind != "appliance" || !strings.HasPrefix(e.Detail, w) {
				t.Fatalf("told %s %q, want %q", e.Kind, e.Detail, w)
			}
		case <-time.After(patience):
			t.Fatalf("not told %q", w)
		}
	}
	return len(want)
}

// explains says that a trace knows of an appliance that hangs.
func (r *rig) explains(open bool) {
	r.t.Helper()
	got, err := r.sw.Trace(vswitch.TraceRequest{Proto: "udp", From: "client", To: "server", DstPort: 5201})
	if err != nil {
		r.t.Fatal(err)
	}
	verdict, what := "drop", "it is hung: what it is handed does not come back"
	if open {
		verdict, what = "pass", "it is hung and fails open: the frame passes it by"
	}
	said := slices.ContainsFunc(got.Steps, func(s vswitch.TraceStep) bool { return s.Detail == what })
	if got.Verdict != verdict || !said {
		r.t.Errorf("the trace says %s, %+v; want %s, and %q", got.Verdict, got.Steps, verdict, what)
	}
}

// testFailOption says that a change of placement can say how it fails, whatever the policy says.
func testFailOption(t *testing.T, bed Bed) {
	for _, c := range []struct {
		policy string
		fail   vswitch.Fail
		open   bool
	}{
		{"fail: open\n", vswitch.FailClosed, false},
		{"fail: closed\n", vswitch.FailOpen, true},
		{"fail: open\n", "", true},
		{"", "", false},
	} {
		r := bed.rig(t)
		r.policy(c.policy + referencePolicy)
		if _, err := r.sw.Place(context.Background(), firewall.Tunnel, vswitch.PlaceOptions{Fail: c.fail}); err != nil {
			t.Fatal(err)
		}
		r.fw.die()
		r.becomes(firewall.Absent, c.open)
	}
}

// testRestart says that a connection outlives the appliance: what it must know it is told before frames flow again.
func testRestart(t *testing.T, bed Bed) {
	for _, in := range visiting {
		r := bed.rig(t)
		r.policy(referencePolicy)
		r.place(in)
		r.becomes(firewall.Healthy, false)
		s := r.startStream()
		r.fw.die()
		r.becomes(firewall.Absent, false)
		r.policy("services: {web: {tcp: 80}, speed: {udp: 5201}}\ntcp-windows: liberal\ndefault: drop\nrules:\n" +
			"  - {name: both, from: client, to: server, service: [web, speed], action: allow}\n") // while it is away
		r.fw.revive()
		r.becomes(firewall.Healthy, false)
		for deadline := time.Now().Add(patience); !r.connectionLives(in); {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the connection is dead; %v", in, r.sw.Stats().Dropped)
			}
		}
		close(s.stop)
		s.stopped.Wait()
		h := r.sw.History()
		if last := h[len(h)-1]; last.To != in || last.Leaked != 0 || last.FlowsCarried == 0 {
			t.Errorf("%s: recovered with %+v", in, last)
		}
	}
}

// connectionLives sends one more segment of the stream's connection beside the stream, and says whether it has come
// within a moment. The stream never stands still, so there is no end of it to wait for. Nothing that is denied may
// come.
func (r *rig) connectionLives(in firewall.Placement) bool {
	const mark = 1 << 30
	more := packet{proto: frame.ProtoTCP, sport: 4000, dport: 80, flags: frame.TCPAck, seq: mark, ack: 1, payload: []byte("x")}
	r.client.send(r.client.to(r.server, false, more).build())
	for moment := time.After(50 * time.Millisecond); ; {
		select {
		case f := <-r.server.got:
			var k frame.Key
			frame.Parse(f, &k)
			switch {
			case k.Seq == mark:
				return true
			case k.DstPort == deniedPort:
				r.t.Errorf("%s: a denied frame was delivered", in)
			}
		case <-moment:
			return false
		}
	}
}

// testForgedProbes lets a guest that may send from any address answer probes in the place of a hung appliance.
func testForgedProbes(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy("default: allow\n")
	r.place(firewall.Slow)
	r.becomes(firewall.Healthy, false)
	r.fw.hung.Store(true)
	forged := packet{
		src: frame.AddrFrom(frame.TunnelProbe), dst: switchOuter.Local, smac: r.client.port.MAC, dmac: gatewayMAC,
		proto: frame.ProtoUDP, sport: 1, dport: frame.GenevePort, payload: make([]byte, 16),
	}.build()
	r.fw.steer.WriteBatch([]*frame.Frame{forged}) // even if it got this far
	r.client.send(forged)
	r.becomes(firewall.Hung, false)
	if d := r.settled().Dropped; d["not-steered"] != 1 {
		t.Errorf("dropped %v", d)
	}
}

// testPlaceProves says that what testUnprovedRefused sees refused costs the connections of the old placement nothing,
// and that the new one is taken once the appliance answers.
func testPlaceProves(t *testing.T, bed Bed) {
	eachVisiting(t, bed, func(t *testing.T, r *rig, to firewall.Placement) {
		r.place(firewall.Fast)
		r.connect(1000)
		r.unproved(to)
		r.says(1000, 2)
		r.fw.hung.Store(false)
		r.place(to)
		r.says(1000, 3)
	})
}
