package enginetest

import (
	"testing"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

const loggedPolicy = `
services: {dns: {udp: 53}}
default: drop
rules:
  - {name: dns, from: client, to: server, service: dns, action: allow}
  - {name: rest, action: drop, log: true}
`

// testLoggedRules: what a logged rule decides becomes an event of typed fields, and no other rule's does; what its rate
// does not allow is counted and told.
func testLoggedRules(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(loggedPolicy)
	r.place(firewall.Fast)
	events, cancel := r.sw.Events()
	defer cancel()
	r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, dport: 53}).build())
	const flood = 100
	for i := range flood {
		r.client.send(r.client.to(r.server, true, packet{proto: frame.ProtoUDP, sport: uint16(i + 1), dport: 99}).build())
	}
	stats := r.balanced()
	var logged []vswitch.Event
	for deadline := time.After(patience); len(logged) < 10; {
		select {
		case e := <-events:
			if e.Kind == "rule" {
				logged = append(logged, e)
			}
		case <-deadline:
			t.Fatalf("%d lines; want 10", len(logged))
		}
	}
	first := logged[0]
	const detail = "udp/99 from fd00:10:1::10 to fd00:10:2::10: drop by rule rest at client/from-guest"
	if l := first.Logged; first.Detail != detail || l == nil || l.Rule != "rest" || l.Point != "client/from-guest" || l.Dst.Port() != 99 || l.ICMPType != nil {
		t.Errorf("got %q, %+v; want %q", first.Detail, l, detail)
	}
	for _, rule := range stats.Rules {
		switch rule.Rule {
		case "rest":
			if rule.Frames != flood || rule.Unlogged == 0 || time.Since(rule.LastHit).Abs() > patience {
				t.Errorf("%+v; want %d frames, some of them not logged, and the last one just now", rule, flood)
			}
		case "default":
			if !rule.LastHit.IsZero() {
				t.Errorf("the default was never hit, but last at %s", rule.LastHit)
			}
		}
	}
}

// testGenerations: each vNIC tells the generation that is realized there, and so does the appliance.
func testGenerations(t *testing.T, bed Bed) {
	r := bed.rig(t)
	realized := func() map[string]uint64 {
		got := map[string]uint64{}
		for _, p := range r.sw.Stats().Ports {
			got[p.Name] = p.Generation
		}
		return got
	}
	if got := realized(); got["client"] != 0 {
		t.Errorf("before the first policy: %v", got)
	}
	r.policy(referencePolicy)
	r.policy(loggedPolicy)
	if got := realized(); got["client"] != 2 || got["server"] != 2 || r.sw.Stats().Generation != 2 {
		t.Errorf("after two policies: %v", got)
	}
	r.place(firewall.Slow)
	r.policy(referencePolicy)
	for name, g := range realized() {
		if name != "switch" && g != 3 {
			t.Errorf("in slow, after three policies, %s has %d", name, g)
		}
	}
}

// testTraceFrame: a captured frame meets what a real one would, where it is said to be, and changes nothing.
func testTraceFrame(t *testing.T, bed Bed) {
	for _, c := range []struct {
		to                    firewall.Placement
		at                    string
		frame                 func(r *rig) packet
		verdict, rule, reason string
	}{
		{firewall.Fast, "client", func(r *rig) packet {
			return r.client.to(r.server, false, packet{proto: 6, dport: 80, flags: frame.TCPSyn})
		}, "pass", "web", ""},
		{firewall.Fast, "client/from-guest", func(r *rig) packet {
			return r.client.to(r.server, true, packet{proto: 6, dport: 80, flags: frame.TCPAck})
		}, "drop", "", "state-mismatch"},
		{firewall.Fast, "server", func(r *rig) packet { return r.server.to(r.client, true, packet{proto: 17, dport: 9}) }, "drop", "default", "default"},
		{firewall.Fast, "server/to-guest", func(r *rig) packet {
			return r.client.to(r.server, false, packet{proto: 6, dport: 22, flags: frame.TCPSyn})
		}, "reject", "shy", "reject"},
		{firewall.Slow, "client", func(r *rig) packet {
			return r.client.to(r.server, false, packet{proto: 6, dport: 80, flags: frame.TCPSyn})
		}, "pass", "web", ""},
		{firewall.Slow, "client", func(r *rig) packet {
			return r.client.to(r.server, false, packet{proto: 6, dport: 80, flags: frame.TCPAck})
		}, "drop", "", "state-mismatch"},
		{firewall.Slow, "client", func(r *rig) packet { return r.client.to(r.server, false, packet{proto: 17, dport: 9}) }, "drop", "default", "default"},
	} {
		r := bed.rig(t)
		r.policy(referencePolicy)
		r.place(c.to)
		before := r.sw.Stats()
		res, err := r.sw.Trace(vswitch.TraceRequest{Frame: c.frame(r).build().Eth(), At: c.at})
		if err != nil {
			t.Fatal(err)
		}
		if res.Verdict != c.verdict || res.Rule != c.rule || res.Reason != c.reason {
			t.Errorf("%s, %s: verdict %q, rule %q, reason %q; want %q, %q, %q\n%v", c.to, c.at, res.Verdict, res.Rule, res.Reason, c.verdict, c.rule, c.reason, res.Steps)
		}
		if after := r.sw.Stats(); after.Ports[portClient].InFrames != before.Ports[portClient].InFrames || after.Flows != before.Flows || after.Dropped[c.reason] != before.Dropped[c.reason] {
			t.Errorf("%s, %s: a trace has changed the switch", c.to, c.at)
		}
	}
}

// testTraceReplyInSlow: of a flow that runs, a captured reply passes the appliance as well.
func testTraceReplyInSlow(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(referencePolicy)
	r.place(firewall.Slow)
	ask := r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 7, dport: 5201})
	r.client.send(ask.build())
	r.server.next("the question", func(k *frame.Key) bool { return k.DstPort == 5201 })
	reply := r.server.to(r.client, false, packet{proto: frame.ProtoUDP, sport: 5201, dport: 7})
	res, err := r.sw.Trace(vswitch.TraceRequest{Frame: reply.build().Eth(), At: "server"})
	if err != nil || res.Verdict != "pass" || res.Rule != "speed" {
		t.Errorf("%+v, %v; want pass by speed", res, err)
	}
}
