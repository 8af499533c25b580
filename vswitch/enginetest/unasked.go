package enginetest

import (
	"context"
	"testing"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

// testFirstFrame: after a change to a placement that needs the appliance, each frame meets a healthy one from the first
// on, whatever has happened to it before, and whether it would fail open or closed.
func testFirstFrame(t *testing.T, bed Bed) {
	kill := func(r *rig) { r.fw.die(); r.becomes(firewall.Absent, r.open()) }
	killUnseen := func(r *rig) { r.fw.die() }
	stall := func(r *rig) { r.fw.stalled.Store(true); r.becomes(firewall.Hung, r.open()) }
	back := func(r *rig) { r.fw.stalled.Store(false); r.fw.revive() }
	full := func(r *rig) { r.fw.tableFull.Store(true); r.becomes(firewall.TableFull, r.open()) }
	drained := func(r *rig) { r.fw.tableFull.Store(false) }
	to := func(p firewall.Placement) func(*rig) { return func(r *rig) { r.place(p) } }
	for _, c := range []struct {
		name  string
		steps []func(*rig)
		to    firewall.Placement
	}{
		{"killed in slow", []func(*rig){to(firewall.Slow), kill, to(firewall.Fast), back}, firewall.Slow},
		{"killed in slow, then off", []func(*rig){to(firewall.Slow), kill, to(firewall.Off), back}, firewall.Tunnel},
		{"killed in fast", []func(*rig){to(firewall.Fast), killUnseen, back}, firewall.Slow},
		{"killed in tunnel", []func(*rig){to(firewall.Tunnel), kill, to(firewall.Fast), back}, firewall.Inspect},
		{"killed in inspect", []func(*rig){to(firewall.Inspect), kill, to(firewall.Fast), back}, firewall.Tunnel},
		{"stalled in slow", []func(*rig){to(firewall.Slow), stall, to(firewall.Fast), back}, firewall.Slow},
		{"stalled in inspect", []func(*rig){to(firewall.Inspect), stall, to(firewall.Off), back}, firewall.Inspect},
		{"full in tunnel", []func(*rig){to(firewall.Tunnel), full, to(firewall.Fast), drained}, firewall.Tunnel},
		{"killed in push", []func(*rig){to(firewall.Push), func(r *rig) { r.fw.die(); r.becomes(firewall.Absent, false) }, to(firewall.Fast), back}, firewall.Slow},
	} {
		for _, fail := range []vswitch.Fail{vswitch.FailOpen, vswitch.FailClosed} {
			t.Run(c.name+" "+string(fail), func(t *testing.T) {
				t.Parallel()
				r := bed.rig(t)
				r.policy(map[vswitch.Fail]string{vswitch.FailOpen: "fail: open\n"}[fail] + referencePolicy)
				for _, do := range c.steps {
					do(r)
				}
				events, cancel := r.sw.Events()
				defer cancel()
				rec, err := r.sw.Place(context.Background(), c.to, vswitch.PlaceOptions{Fail: fail})
				if err != nil {
					t.Fatal(err)
				}
				const frames = 50
				for i := range uint16(frames) {
					for _, port := range []uint16{deniedPort, 5201} {
						r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 2000 + i, dport: port}).build())
					}
				}
				for range frames {
					_, k := r.server.next("frame", func(k *frame.Key) bool { return k.SrcPort >= 2000 })
					if k.DstPort != 5201 {
						t.Fatal("a denied frame passed a healthy appliance by")
					}
				}
				if st := r.sw.Status(); rec.Unasked > 0 && !rec.Bypassed || st.Bypassed || st.ApplianceState != "ok" {
					t.Errorf("%+v, %+v", rec, st)
				}
				if e := <-events; e.Kind != "placed" {
					t.Errorf("told %+v, before it was placed", e)
				}
			})
		}
	}
}

// open says whether the policy in force fails open.
func (r *rig) open() bool { return r.policyInForce().FailOpen[firewall.Absent] }

// testUnasked: a receipt says what was chosen before, that it was passed by, and how many frames did so since the
// receipt before.
func testUnasked(t *testing.T, bed Bed) {
	for _, in := range visiting {
		for _, to := range []firewall.Placement{firewall.Fast, in} { // in: it recovers
			t.Run(in.String()+" to "+to.String(), func(t *testing.T) {
				t.Parallel()
				r := bed.rig(t)
				r.policy("fail: open\n" + referencePolicy)
				r.place(in)
				r.becomes(firewall.Healthy, false)
				r.fw.die()
				r.becomes(firewall.Absent, true)
				const frames = 7
				for i := range uint16(frames) {
					r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 3000 + i, dport: 5201}).build())
					r.server.next("frame", isProto(frame.ProtoUDP, 5201))
				}
				r.client.send(r.client.to(r.other, false, packet{proto: frame.ProtoICMP, icmp: 8}).build()) // inspect denies it
				r.balanced()
				want := uint64(frames)
				if in == firewall.Tunnel {
					want++ // in slow it does not meet the appliance
				}
				if got := r.sw.Stats().Share.Unasked; got != want {
					t.Errorf("%d frames unasked by the stats, want %d", got, want)
				}
				if to == in {
					r.fw.revive()
					r.becomes(firewall.Healthy, false)
				} else {
					r.place(to)
				}
				h := r.sw.History()
				if rec := h[len(h)-1]; rec.From != in || !rec.Bypassed || rec.To != to || rec.Unasked != want {
					t.Errorf("%+v; want from %s, passed by, %d unasked", rec, in, want)
				}
				if rec := r.place(firewall.Off); rec.From != to || rec.Bypassed || rec.Unasked != 0 {
					t.Errorf("%+v; want nothing unasked since", rec)
				}
			})
		}
	}
}
