package enginetest

import (
	"context"
	"strings"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

const protoGRE, protoIGMP = 47, 2

// otherPolicy allows what referencePolicy does, and tunnels.
var otherPolicy = strings.Replace(referencePolicy, "default: drop", "  gre: {protocol: gre}\ndefault: drop", 1) +
	"  - {name: gre, from: client, to: server, service: gre, action: allow}\n"

func isGRE(k *frame.Key) bool { return k.Proto == protoGRE }

// others makes flows of which an appliance may not be able to be told: a tunnel to the server, and a report to a group.
func (r *rig) others() {
	r.t.Helper()
	r.client.send(r.client.to(r.server, false, packet{proto: protoGRE}).build())
	r.server.next("GRE", isGRE)
	report := r.client.to(r.server, false, packet{proto: protoIGMP, ttl: 1})
	report.dst, report.dmac = addr("239.7.7.7"), frame.MAC{1, 0, 0x5e, 7, 7, 7}
	r.client.send(report.build())
	r.settled()
}

// onlyPorts takes flows with ports.
func onlyPorts(f firewall.FlowRecord) bool { return firewall.HasPorts(f.Proto) }

// testBegunAnew: flows of which the appliance cannot be told keep nothing from being carried, and go on all the same;
// the receipt says how many.
func testBegunAnew(t *testing.T, bed Bed) {
	for _, to := range []firewall.Placement{firewall.Slow, firewall.Tunnel} {
		for _, from := range []firewall.Placement{firewall.Off, firewall.Fast, firewall.Push, firewall.Inspect} {
			t.Run(from.String()+" to "+to.String(), func(t *testing.T) {
				t.Parallel()
				r := bed.rig(t)
				r.fw.takes = onlyPorts
				r.policy(otherPolicy)
				r.place(from)
				r.connect(1000)
				r.others()
				// IGMP is not allowed; and if it were, in slow it would not meet the appliance.
				if rec := r.place(to); rec.FlowsCarried != 1 || rec.FlowsAnew != 1 || rec.Lost > 0 {
					t.Errorf("%+v; want 1 flow carried, 1 begun anew, none lost", rec)
				}
				r.says(1000, 2)
				r.client.send(r.client.to(r.server, false, packet{proto: protoGRE}).build())
				r.server.next("GRE", isGRE)
				if rec := r.place(from); rec.FlowsAnew != 0 {
					t.Errorf("on the way back %d flows begin anew; the engine knows them", rec.FlowsAnew)
				}
				r.says(1000, 3)
				r.settled()
			})
		}
	}
}

// testGroupsAreNotCarried: in slow nothing to a group meets the appliance, so its conntrack is not told of it.
func testGroupsAreNotCarried(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.fw.takes = onlyPorts
	r.policy("default: allow\n")
	r.place(firewall.Fast)
	r.others()
	if rec := r.place(firewall.Slow); rec.FlowsAnew != 1 { // GRE
		t.Errorf("slow: %d flows begin anew, want 1", rec.FlowsAnew)
	}
	if rec := r.place(firewall.Tunnel); rec.FlowsAnew > 2 { // and IGMP, if it is a flow
		t.Errorf("tunnel: %d flows begin anew, want at most 2", rec.FlowsAnew)
	}
}

// testFullTableAtCarry: somebody's change is refused where connections would be lost for want of room; a recovery takes
// what there is.
func testFullTableAtCarry(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(otherPolicy)
	r.place(firewall.Fast)
	r.connect(1000)
	r.connect(1001)
	r.fw.mu.Lock()
	r.fw.takes, r.fw.full = func(f firewall.FlowRecord) bool { return f.Src.Port() == 1000 }, true
	r.fw.mu.Unlock()
	_, err := r.sw.Place(context.Background(), firewall.Slow, vswitch.PlaceOptions{})
	if err == nil || !strings.Contains(err.Error(), "full") || !strings.Contains(err.Error(), "cut") {
		t.Errorf("placed: %v; want that the table is full, and what does without", err)
	}
	r.says(1001, 2)
	r.fw.mu.Lock()
	r.fw.full = false
	r.fw.mu.Unlock()
	r.place(firewall.Slow)
	events, cancel := r.sw.Events()
	defer cancel()
	r.fw.die()
	tells(t, events, []string{"absent"})
	r.fw.mu.Lock()
	r.fw.full = true
	r.fw.mu.Unlock()
	r.fw.revive()
	tells(t, events, []string{"ok: recovered, 1 flows are known to it, 1 begin anew"})
	r.says(1000, 2)
}

// testRecoveryFails: why it does is told once; it is tried again, and works once the reason is gone.
func testRecoveryFails(t *testing.T, bed Bed) {
	for _, in := range visiting {
		t.Run(in.String(), func(t *testing.T) {
			t.Parallel()
			r := bed.rig(t)
			r.policy(referencePolicy)
			r.place(in)
			r.connect(1000)
			events, cancel := r.sw.Events()
			defer cancel()
			r.fw.die()
			tells(t, events, []string{"absent"})
			r.fw.fail(errFull)
			r.fw.revive()
			tells(t, events, []string{"not recovered: the appliance is not ready"})
			tries := func() int {
				r.fw.mu.Lock()
				defer r.fw.mu.Unlock()
				return r.fw.calls
			}
			for was, deadline := tries(), time.Now().Add(patience); tries() < was+2; time.Sleep(time.Millisecond) { // a poll with a deadline
				if time.Now().After(deadline) {
					t.Fatal("recovery is not tried again")
				}
			}
			if st := r.sw.Status(); !strings.Contains(st.Unrecovered, errFull.Error()) {
				t.Errorf("the status does not say why: %+v", st)
			}
			r.fw.fail(nil)
			tells(t, events, []string{"ok: recovered"}) // and nothing in between
			r.becomes(firewall.Healthy, false)
			if st := r.sw.Status(); st.Unrecovered != "" {
				t.Errorf("recovered, and still: %+v", st)
			}
			r.says(1000, 2)
		})
	}
}

// ailments are the states of an appliance that testLeave leaves, and how it comes to be in them.
var ailments = []struct {
	name    string
	befalls func(r *rig, in firewall.Placement)
}{
	{"healthy", func(*rig, firewall.Placement) {}},
	{"dead", func(r *rig, _ firewall.Placement) {
		r.fw.die()
		r.fw.mute.Store(true)
		r.becomes(firewall.Absent, false)
	}},
	{"stalled", func(r *rig, in firewall.Placement) {
		r.fw.stalled.Store(true)
		r.fw.mute.Store(true)
		if in.Visits() {
			r.becomes(firewall.Hung, false)
		}
	}},
	{"just stalled", func(r *rig, _ firewall.Placement) { r.fw.stalled.Store(true); r.fw.mute.Store(true) }},
	{"mute", func(r *rig, _ firewall.Placement) { r.fw.mute.Store(true) }},
}

// testLeave leaves an appliance in every state that it can be in, by each handover that does without it. Nothing is
// asked of one that does not answer, and what the switch knows goes on.
func testLeave(t *testing.T, bed Bed) {
	for _, from := range append(visiting, firewall.Push) {
		for _, c := range ailments {
			for _, how := range []vswitch.Handover{vswitch.Carry, vswitch.Cut} {
				if from == firewall.Push && c.name != "dead" || how == vswitch.Carry && c.name == "healthy" { // others do that
					continue
				}
				t.Run(from.String()+" "+c.name+" "+string(how), func(t *testing.T) {
					t.Parallel()
					r := bed.rig(t)
					r.policy(referencePolicy)
					r.place(from)
					r.becomes(firewall.Healthy, false)
					r.connect(1000)
					c.befalls(r, from)
					r.fw.mu.Lock()
					before := r.fw.calls
					r.fw.mu.Unlock()
					rec, err := r.sw.Place(context.Background(), firewall.Fast, vswitch.PlaceOptions{Handover: how})
					if err != nil {
						t.Fatal(err)
					}
					if lives := rec.FlowsCarried > 0; lives != (how == vswitch.Carry) || rec.Leaked > 0 {
						t.Errorf("%+v", rec)
					}
					if how == vswitch.Carry {
						r.says(1000, 2)
					}
					r.connect(1001)
					r.fw.stalled.Store(false)
					r.fw.mu.Lock()
					defer r.fw.mu.Unlock()
					if how == vswitch.Cut && c.name == "healthy" && from.Tracks() && len(r.fw.flows) > 0 {
						t.Errorf("the appliance that was left still knows %v", r.fw.flows)
					}
					if asked := r.fw.calls - before; asked > 1 || asked > 0 && c.name != "healthy" {
						t.Errorf("it was asked %d times", asked)
					}
				})
			}
		}
	}
}
