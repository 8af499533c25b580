package enginetest

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch"
	"sluice/vswitch/walk"
)

// testSwitchRefused says which switches are not made.
func testSwitchRefused(t *testing.T, bed Bed) {
	segment := func(s vswitch.Segment) vswitch.Config {
		return vswitch.Config{Engine: bed.Engine, Segments: []vswitch.Segment{s}}
	}
	failing := errors.New("no memory")
	gateway := []netip.Addr{lan4}
	for want, c := range map[string]vswitch.Config{
		"it has no engine":                     {},
		"number 1 in the list, but says 2":     segment(vswitch.Segment{Name: "lan", ID: 2}),
		"gateway without a MAC":                segment(vswitch.Segment{Name: "lan", Gateways: gateway}),
		"has a gateway without a MAC of its o": segment(vswitch.Segment{Name: "lan", Gateways: gateway, GatewayMAC: broadcast}),
		failing.Error():                        {Engine: func(walk.Config) (vswitch.Engine, error) { return nil, failing }},
	} {
		if sw, err := vswitch.New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("made %v, %v; want %q", sw, err, want)
		}
	}
}

// testPortRefused says which ports are not added and not removed, and that nothing has changed then.
func testPortRefused(t *testing.T, bed Bed) {
	r := bed.rig(t)
	before := len(r.sw.Stats().Ports)
	for want, p := range map[string]vswitch.Port{
		"numbered from 1":                  {Segment: 1},
		"is taken by client":               {ID: portClient, Segment: 1},
		"there is no segment 9":            {ID: 30, Segment: 9},
		"there is no segment 0":            {ID: 30},
		"steer port is a service port":     {ID: 30, Segment: 1, Service: true, Steer: true},
		"go to fw/steer already":           {ID: 30, Service: true, Steer: true},
		"segment lan is served by fw alre": {ID: 30, Segment: 1, Service: true},
	} {
		if err := r.sw.AddPort(t.Context(), p, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", p, err, want)
		}
	}
	for _, id := range []frame.PortID{0, 30, 9999} {
		if err := r.sw.RemovePort(t.Context(), id); err == nil {
			t.Errorf("port %d was removed", id)
		}
	}
	if after := len(r.sw.Stats().Ports); after != before {
		t.Errorf("%d ports became %d", before, after)
	}
}

// testPolicyRefused says which policies are not put in force, and that the one before stays.
func testPolicyRefused(t *testing.T, bed Bed) {
	r := bed.rig(t)
	p := r.policy(referencePolicy)
	events, cancel := r.sw.Events()
	defer cancel()
	if _, err := r.sw.SetPolicy(t.Context(), nil); err == nil {
		t.Error("none was put in force")
	}
	if e := <-events; e.Kind != "policy-failed" {
		t.Errorf("told %+v", e)
	}
	ctx, end := context.WithCancel(t.Context())
	end()
	r.sw.SetPolicy(ctx, p) // whether it comes to that or not, a policy is in force
	if now, generation := r.sw.Policy(); now != p || generation == 0 {
		t.Errorf("generation %d of %p is in force, not %p", generation, now, p)
	}
}

// testPlaceRefused says what Place refuses, and that nothing has changed then.
func testPlaceRefused(t *testing.T, bed Bed) {
	sick := errors.New("the appliance is asleep")
	remove := func(id frame.PortID) func(*rig) {
		return func(r *rig) { r.sw.RemovePort(context.Background(), id) }
	}
	for _, c := range []struct {
		name   string
		to     firewall.Placement
		o      vswitch.PlaceOptions
		before func(*rig)
	}{
		{"not steered", firewall.Tunnel, vswitch.PlaceOptions{}, remove(portSteer)},
		{"unknown handover", firewall.Fast, vswitch.PlaceOptions{Handover: "pray"}, func(*rig) {}},
		{"failing ajar", firewall.Off, vswitch.PlaceOptions{Fail: "ajar"}, func(*rig) {}},
		{"push without appliance", firewall.Push, vswitch.PlaceOptions{}, func(r *rig) { r.sw.SetAppliance(nil) }},
		{"push, not ready", firewall.Push, vswitch.PlaceOptions{}, func(r *rig) { r.fw.fail(sick) }},
		{"no appliance", firewall.Slow, vswitch.PlaceOptions{}, func(r *rig) { r.sw.SetAppliance(nil) }},
		{"gone", firewall.Slow, vswitch.PlaceOptions{}, func(r *rig) { r.fw.die() }},
		{"not ready", firewall.Slow, vswitch.PlaceOptions{}, func(r *rig) { r.fw.fail(sick) }},
		{"not served", firewall.Slow, vswitch.PlaceOptions{}, remove(portDMZ)},
	} {
		r := bed.rig(t)
		r.policy(referencePolicy)
		c.before(r)
		before := r.sw.Status()
		if _, err := r.sw.Place(context.Background(), c.to, c.o); err == nil {
			t.Errorf("%s: placed", c.name)
		}
		if after := r.sw.Status(); after != before {
			t.Errorf("%s: %+v became %+v", c.name, before, after)
		}
	}
	if _, err := bed.rig(t).sw.Place(context.Background(), firewall.Fast, vswitch.PlaceOptions{}); err == nil {
		t.Error("placed fast, without a policy")
	}
}

// testUnprovedRefused says that no placement is taken whose way does not lead through the appliance and back, and that
// the old one stays. No frame of an engine that drops all gets there; nor does one whose appliance hangs.
func testUnprovedRefused(t *testing.T, bed Bed) {
	eachVisiting(t, bed, func(t *testing.T, r *rig, to firewall.Placement) {
		r.place(firewall.Fast)
		r.unproved(to)
	})
}

// unproved has the appliance hang, and expects that a placement whose way leads through it is refused from fast.
func (r *rig) unproved(to firewall.Placement) {
	r.t.Helper()
	r.fw.hung.Store(true)
	_, err := r.sw.Place(context.Background(), to, vswitch.PlaceOptions{})
	if err == nil || !strings.Contains(err.Error(), "gives back no probe") {
		r.t.Errorf("placed: %v", err)
	}
	if st := r.sw.Status(); st.Placement != firewall.Fast || st.Changing {
		r.t.Errorf("%+v", st)
	}
}

// testClosedRefuses says that a switch which is closed changes no more, and that one which changes lets others wait for
// as long as they like.
func testClosedRefuses(t *testing.T, bed Bed) {
	r := bed.rig(t)
	p := r.policy(referencePolicy)
	ctx, end := context.WithCancel(t.Context())
	end()
	waits := false
	r.fw.onPolicy = func() {
		_, err := r.sw.Place(ctx, firewall.Off, vswitch.PlaceOptions{})
		waits = errors.Is(err, context.Canceled)
	}
	_, _ = r.sw.Place(t.Context(), firewall.Slow, vswitch.PlaceOptions{})
	if !waits {
		t.Error("a change did not end with its context while another ran")
	}
	if err := r.sw.Close(); err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"AddPort":      func() error { return r.sw.AddPort(t.Context(), vswitch.Port{ID: 30, Segment: 1}, nil) },
		"RemovePort":   func() error { return r.sw.RemovePort(t.Context(), portClient) },
		"SetPolicy":    func() error { _, err := r.sw.SetPolicy(t.Context(), p); return err },
		"Place":        func() error { _, err := r.sw.Place(t.Context(), firewall.Off, vswitch.PlaceOptions{}); return err },
		"Push":         func() error { _, err := r.pushText(referencePolicy, 0); return err },
		"Recover":      func() error { return r.sw.Recover(t.Context()) },
		"Readminister": func() error { return r.sw.Readminister(t.Context()) },
		"Forget":       func() error { return r.sw.Forget(t.Context(), true) },
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.sw.SetAppliance(nil) // must not wait for ever
}

// testPushRefused says what is refused, and that nothing has changed then.
func testPushRefused(t *testing.T, bed Bed) {
	for _, c := range []struct {
		name string
		at   firewall.Placement
		do   func(*rig) error
		want string
	}{
		{"from outside", firewall.Push, func(r *rig) error {
			p, _ := r.sw.Policy()
			_, err := r.sw.SetPolicy(context.Background(), p)
			return err
		}, "administered inside the appliance"},
		{"another placement", firewall.Fast,
			func(r *rig) error { _, err := r.pushText(noWebPolicy, 1); return err }, "the placement is not push"},
		{"forced in another placement", firewall.Off,
			func(r *rig) error { _, err := r.pushText(noWebPolicy, 0); return err }, "the placement is not push"},
		{"does not compile", firewall.Push,
			func(r *rig) error { _, err := r.pushText("default: allow\nrules: [{nam: x}]\n", 1); return err }, "fw:policy.yaml:2:10: "},
		{"from an older generation", firewall.Push, func(r *rig) error { _, err := r.pushText(noWebPolicy, 7); return err },
			"conflict: generation 1 was pushed meanwhile, yours began from 7; look at `policy diff`, then push again"},
	} {
		r := bed.rig(t)
		events, cancel := r.sw.Events()
		r.policy(referencePolicy)
		r.place(c.at)
		before, _ := r.sw.Policy()
		status := r.sw.Status()
		if err := c.do(r); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", c.name, err, c.want)
		}
		if after, _ := r.sw.Policy(); after != before || r.sw.Status() != status {
			t.Errorf("%s: %+v became %+v", c.name, status, r.sw.Status())
		}
		cancel()
		told := 0
		for e := range events {
			if e.Kind == "push-failed" && strings.HasPrefix(e.Detail, "fw: ") && !strings.Contains(e.Detail, "\n") {
				told++
			}
		}
		if want := map[bool]int{true: 0, false: 1}[c.name == "from outside"]; told != want {
			t.Errorf("%s: told %d times, want %d", c.name, told, want)
		}
	}
}

// testWatchRefuses says which sights are none, and that a watch that is refused leaves the one before.
func testWatchRefuses(t *testing.T, bed Bed) {
	r := bed.rig(t)
	if err := r.sw.Watch([]vswitch.Sight{{At: "client/from-guest"}}); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]string{
		"": "an insertion point is", "client": "an insertion point is", "client/from-guest/x": "an insertion point is",
		"nobody/to-guest": `no port "nobody"`,
	} {
		if err := r.sw.Watch([]vswitch.Sight{{At: at}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", at, err, want)
		}
	}
	if err := r.sw.Watch(make([]vswitch.Sight, 1000)); err == nil {
		t.Error("a thousand sights are taken")
	}
	if n := len(r.sw.Watched().Seen); n != 1 {
		t.Errorf("the earlier watch has %d sights", n)
	}
}
