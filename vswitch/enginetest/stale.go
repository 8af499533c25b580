package enginetest

import (
	"testing"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

// testStale says what becomes of frames that were handed to an appliance while it stood still: for a short while they
// are only late, then they are too old. What is sent once it is back arrives in any case.
func testStale(t *testing.T, bed Bed) {
	for _, in := range visiting {
		for _, c := range []struct {
			name       string
			open, long bool
			told       []string
		}{
			{"shortly", false, false, []string{"hung, fails closed", "ok"}},
			{"for long", false, true, []string{"hung, fails closed", "hung: it is handed nothing", "ok: recovered"}},
			{"for long, open", true, true, []string{"hung, fails open", "hung: it is handed nothing", "ok: recovered"}},
		} {
			t.Run(in.String()+" "+c.name, func(t *testing.T) {
				t.Parallel()
				r := bed.rig(t)
				r.policy(map[bool]string{true: "fail: open\n"}[c.open] + referencePolicy)
				r.place(in)
				r.becomes(firewall.Healthy, false)
				r.eventually("healthy", 100, false)
				events, cancel := r.sw.Events()
				defer cancel()
				r.fw.stalled.Store(true)
				const old, frames = 1000, 20
				for i := range uint16(frames) {
					r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: old + i, dport: 5201}).build())
				}
				r.balanced() // handed over, before it is known to hang
				r.becomes(firewall.Hung, c.open)
				told := tells(t, events, c.told[:len(c.told)-1])
				r.fw.stalled.Store(false)
				r.becomes(firewall.Healthy, false)
				got := 0
				fresh := func(k *frame.Key) bool {
					if k.SrcPort >= old && k.SrcPort < old+frames {
						got++
					}
					return k.SrcPort == old+frames
				}
				r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: old + frames, dport: 5201}).build())
				r.server.next("what is sent once it is back", fresh)
				tells(t, events, c.told[told:])
				if want := map[bool]int{false: frames}[c.long]; got != want {
					t.Errorf("%d frames from before arrive, want %d", got, want)
				}
				s := r.settled()
				// Probes that are as old are refused, too.
				if refused := s.Dropped["not-steered"] + s.Dropped["not-service"]; c.long && refused < frames {
					t.Errorf("%d frames refused, want %d", refused, frames)
				}
				select {
				case e := <-events:
					t.Errorf("told more: %v", e)
				case <-time.After(200 * time.Millisecond): // some ticks, in which it might be told again
				}
			})
		}
	}
}

// testStaleMoves changes the placement while the appliance stands still, and wakes it while its old way drains.
func testStaleMoves(t *testing.T, bed Bed) {
	eachVisiting(t, bed, func(t *testing.T, r *rig, in firewall.Placement) {
		r.place(in)
		events, cancel := r.sw.Events()
		defer cancel()
		r.fw.stalled.Store(true)
		r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 1000, dport: 5201}).build())
		tells(t, events, []string{"hung, fails closed", "hung: it is handed nothing"})
		moved := make(chan struct{})
		go func() {
			defer close(moved)
			r.place(firewall.Fast)
		}()
		r.waits("fast is in force", func(st vswitch.Status) bool { return st.Placement == firewall.Fast })
		r.fw.stalled.Store(false)
		<-moved
		r.settled()
		r.server.none("a frame from before", isProto(frame.ProtoUDP, 5201))
	})
}

// testDrained leaves a placement while the appliance does nothing for longer than it is usually silent: what it was
// handed still arrives.
func testDrained(t *testing.T, bed Bed) {
	eachVisiting(t, bed, func(t *testing.T, r *rig, in firewall.Placement) {
		r.place(in)
		r.becomes(firewall.Healthy, false)
		const frames = 20
		run := r.clock.hold() // else the appliance counts as hung where all this takes long
		r.fw.stalled.Store(true)
		for i := range uint16(frames) {
			r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 1000 + i, dport: 5201}).build())
		}
		r.balanced()
		moved := make(chan struct{})
		go func() {
			defer close(moved)
			r.place(firewall.Fast)
		}()
		r.waits("the change has begun", func(st vswitch.Status) bool { return st.Changing })
		run()
		awake := time.AfterFunc(700*time.Millisecond, func() { r.fw.stalled.Store(false) }) // less than what a change waits for
		defer awake.Stop()
		<-moved
		for range frames {
			r.server.next("frame from before", isProto(frame.ProtoUDP, 5201))
		}
	})
}

// waits waits until the switch is so.
func (r *rig) waits(what string, so func(vswitch.Status) bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !so(r.sw.Status()); time.Sleep(time.Millisecond) { // a poll with a deadline
		if time.Now().After(deadline) {
			r.t.Fatalf("never: %s; %+v", what, r.sw.Status())
		}
	}
}
