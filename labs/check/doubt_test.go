package check

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/labs/probe"
	"sluice/vswitch"
)

// TestDoubt: what a busy machine may have spoilt is tried again, and undecided where that does not help; what a
// verdict, a policy or a fixed answer says is decided at once; and where the machine was not short of anything, nothing
// is tried twice.
func TestDoubt(t *testing.T) {
	web := &Reach{Flow: tcp(80), Family: "ipv4", Expect: Open, Within: time.Second}
	fixed := &Answer{Name: "hops", Value: "1"}
	measured := &Answer{Name: "hops", Recorded: &Recorded{Run: &Run{In: "client", Command: []string{"x"}, Timeout: time.Second}}}
	dropped, failed := vswitch.TraceResult{Verdict: "drop", Rule: "default"}, vswitch.TraceResult{Verdict: "drop", Reason: "failed"}
	none, passes := vswitch.TraceResult{}, vswitch.TraceResult{Verdict: "pass", Rule: "web"}
	const target = "tcp/10.0.2.1/80"
	for _, c := range []struct {
		what      string
		checks    []Check
		short     string
		walk      vswitch.TraceResult
		opensAt   int // the try from which the web is open; 0 is never
		refuses   bool
		tries     int
		passed    bool
		undecided bool
	}{
		{"silence on a good machine", []Check{{Kind: web}}, "", none, 0, false, 1, false, false},
		{"silence on a busy one", []Check{{Kind: web}}, "late", none, 0, false, maxTries, false, true},
		{"silence once", []Check{{Kind: web}}, "late", none, 2, false, 2, true, false},
		{"refused", []Check{{Kind: web}}, "late", none, 0, true, 1, false, false},
		{"silence, and a wrong answer", []Check{{Kind: web}, {Kind: fixed}}, "late", none, 0, false, 1, false, false},
		{"another answer than was measured", []Check{{Kind: measured}}, "late", none, 0, false, maxTries, false, false},
		{"silence that a rule explains", []Check{{Kind: web}}, "late", dropped, 0, false, 1, false, false},
		{"silence that no rule explains", []Check{{Kind: web}}, "late", failed, 0, false, maxTries, false, true},
		{"silence, and the walk passes", []Check{{Kind: web}}, "late", passes, 0, false, maxTries, false, true},
		{"good at once", []Check{{Kind: web}}, "late", none, 1, false, 1, true, false},
	} {
		tries, attempts := 0, 0
		lab := &fakeLab{walk: c.walk, ports: map[string]probe.Outcome{}, stdout: "2\n", placement: firewall.Fast}
		lab.onTry = func(l *fakeLab) {
			if tries++; c.opensAt > 0 && tries >= c.opensAt {
				l.ports[target] = probe.Answered
			}
			if c.refuses {
				l.ports[target] = probe.Refused
			}
		}
		o := Options{Answers: map[string][]string{"hops": {"3"}}, Strain: func() func() string { return func() string { return c.short } }}
		o.Attempt = func(task string) {
			if task == "a" {
				attempts++
			}
		}
		r, err := Judge(t.Context(), lab, []Task{{ID: "a", Points: 2, Checks: c.checks}, {ID: "b", Points: 1, Needs: []string{"a"}, Checks: []Check{{Kind: web}}}}, o)
		if err != nil {
			t.Fatal(err)
		}
		first, second := r.Results[0], r.Results[1]
		if first.Passed != c.passed || first.Undecided != c.undecided || r.Undecided != c.undecided || second.Undecided != c.undecided {
			t.Errorf("%s: %+v, then %+v", c.what, first, second)
		}
		if c.undecided && !strings.HasPrefix(first.Reason, "undecided, as the machine was short of processor (late): ") {
			t.Errorf("%s: %s", c.what, first.Reason)
		}
		if n := attempts; n != c.tries {
			t.Errorf("%s: %d tries, want %d", c.what, n, c.tries)
		}
		if c.passed && first.Points != 2 {
			t.Errorf("%s: %d points", c.what, first.Points)
		}
	}
}

// TestAnswerIsWalked: where a question arrived and nothing came back, the walk of its answer decides.
func TestAnswerIsWalked(t *testing.T) {
	const target = "tcp/10.0.2.1/80"
	lab := usual()
	lab.ports, lab.delivered = map[string]probe.Outcome{}, map[string]bool{target: true}
	lab.walk = vswitch.TraceResult{Verdict: "pass", Rule: "web"}
	s := &scene{ctx: t.Context(), lab: lab}
	web := &Reach{Flow: tcp(80), Family: "ipv4", Expect: Open}
	to := probe.Target{Proto: "tcp", Addr: web.To.Addrs[0], Port: 80}
	question := netip.AddrPortFrom(web.From.Addrs[0], 40000)
	s.watched.Frames = []vswitch.SeenFrame{
		{Point: "client/from-guest", Proto: 6, Src: question, Dst: netip.AddrPortFrom(to.Addr, 80), Verdict: "pass"},
	}
	if web.denied(s, to, vswitch.Seen{Frames: 1, Passed: 1}) {
		t.Error("what passes is taken for denied")
	}
	want := vswitch.TraceRequest{Proto: "tcp", From: web.To.Name, To: web.From.Name, SrcPort: 80, DstPort: 40000, Flags: "syn,ack"}
	if n := len(lab.traced); n != 2 || !reflect.DeepEqual(lab.traced[1], want) {
		t.Errorf("traced %+v, want %+v at last", lab.traced, want)
	}
	if lab.traced = nil; web.denied(s, to, vswitch.Seen{}) || len(lab.traced) != 1 {
		t.Errorf("a question that did not arrive has an answer: %+v", lab.traced)
	}
}

// TestInterrupted: what is found while Ctrl-C takes effect is no result.
func TestInterrupted(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	lab := usual()
	tries := 0
	lab.onTry = func(l *fakeLab) {
		if tries++; tries == 2 {
			l.ports = nil // a connection that was broken off looks like silence
			interrupt()
		}
	}
	open := func() Kind { return &Reach{Flow: tcp(80), Expect: Open} }
	r, err := Judge(ctx, lab, []Task{task("a", open()), task("b", open()), task("c", open())}, Options{})
	if !errors.Is(err, context.Canceled) || len(r.Results) != 1 || !r.Results[0].Passed {
		t.Errorf("%+v, %v", r.Results, err)
	}
}
