package check

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/labs/probe"
	"sluice/vswitch"
)

// usual is a lab in slow: the web answers, telnet does not, 22 resets at the server, 24 at the firewall.
func usual() *fakeLab {
	return &fakeLab{
		ports: map[string]probe.Outcome{
			"tcp/10.0.2.1/80": probe.Answered, "tcp/10.0.2.1/22": probe.Refused, "tcp/10.0.2.1/24": probe.Refused,
			"udp/10.0.2.1/9": probe.Prohibited, "tcp/10.0.2.1/25": probe.Unreachable, "tcp/10.0.2.1/26": probe.Broken,
		},
		delivered: map[string]bool{"tcp/10.0.2.1/80": true, "tcp/10.0.2.1/22": true, "udp/10.0.2.1/53": true},
		placement: firewall.Slow,
		flows:     []firewall.FlowRecord{flowRecord(80, "established"), flowRecord(80, "closing")},
		history: []vswitch.Receipt{
			{From: firewall.Slow, To: firewall.Fast, Handover: "carry", Epoch: 7, GapMS: 3, FlowsCarried: 2},
			{From: firewall.Slow, To: firewall.Fast, Handover: "carry", Epoch: 9, Lost: 1},
		},
		epoch: 20,
		walk: vswitch.TraceResult{Verdict: "drop", Rule: "none-shall", Reason: "rule", Crosses: true, Reaches: []string{"bob", "cat"}, Steps: []vswitch.TraceStep{
			{Step: firewall.Step{What: "verdict"}, Point: "client/from-guest"}, {Step: firewall.Step{What: "forward"}},
		}},
		stats: vswitch.Stats{
			Share: vswitch.Share{Frames: 40, Bytes: 4000, Slow: 30, SlowBytes: 1000}, Dropped: map[string]uint64{"default": 4},
			Ports: []vswitch.PortStats{
				{ID: 1, Name: "client", InFrames: 100, Dropped: map[string]uint64{"spoofguard": 3, "rule": 1}},
				{ID: 2, Name: "fw/0", OutFrames: 10}, {ID: 3, Name: "fw/1", OutFrames: 20},
			},
			Rules: []vswitch.RuleStats{{Rule: "web", Frames: 5, Bytes: 300}},
		},
		perTry: 2,
		stdout: "10\nmore\n",
	}
}

func number(v float64) *float64                   { return &v }
func count(v uint64) *uint64                      { return &v }
func yes(v bool) *bool                            { return &v }
func in(p firewall.Placement) *firewall.Placement { return &p }

func is(t *testing.T, s string) Condition {
	t.Helper()
	c, err := ParseCondition(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestChecks judges one check a line in the usual lab. An empty reason means that it passes.
func TestChecks(t *testing.T) {
	reach := func(port uint16, expect string) Kind { return &Reach{Flow: tcp(port), Expect: expect} }
	udp := func(port uint16, expect string) Kind {
		return &Reach{Flow: Flow{Proto: "udp", Port: port, From: client, To: server}, Expect: expect}
	}
	answer := func(a Answer) Kind { a.Name = "a"; return &a }
	frames := &Counter{Port: "fw", Count: "out-frames", Change: true}
	for _, c := range []struct {
		kind   Kind
		answer string // to a; empty is none
		reason string
	}{
		{reach(80, Open), "", ""},
		{reach(80, Dropped), "", "tcp from client to server port 80 (tcp/10.0.2.1/80) is open, not dropped"},
		{reach(23, Dropped), "", ""},
		{reach(23, Open), "", "is dropped, not open: it left client and did not come to server"},
		{reach(22, Refused), "", ""},
		{reach(24, Rejected), "", ""},
		{reach(22, Rejected), "", "is refused, not rejected"},
		{reach(24, Refused), "", "is rejected, not refused"},
		{reach(25, Open), "", "is unreachable, not open"},
		{reach(26, Dropped), "", "is broken, not dropped"},
		{udp(9, Rejected), "", ""},
		{udp(53, Open), "", ""},
		{udp(54, Dropped), "", ""},

		{&Seen{Flow: tcp(0), At: "client/from-guest", Min: count(1)}, "", "no frame of tcp from client to server reached client/from-guest; at least 1 must"},
		{&Seen{Flow: tcp(0), At: "client/from-guest", Max: count(0)}, "", ""},

		{&Walk{Flow: tcp(80), Verdict: "drop", By: "rule", Rule: "none-shall", At: "client/from-guest", Crosses: yes(true)}, "", ""},
		{&Walk{Flow: tcp(80), Verdict: "pass"}, "", "the verdict is drop, not pass"},
		{&Walk{Flow: tcp(80), By: "default"}, "", "the reason is rule, not default"},
		{&Walk{Flow: tcp(80), Rule: "web"}, "", "the rule is none-shall, not web"},
		{&Walk{Flow: tcp(80), At: "server/to-guest"}, "", "the last point is client/from-guest, not server/to-guest"},
		{&Walk{Flow: tcp(80), Crosses: yes(false)}, "", "it crosses the appliance"},
		{&Walk{Flow: tcp(80), Reaches: []string{"cat", "bob"}}, "", ""},
		{&Walk{Flow: tcp(80), Reaches: []string{"bob"}}, "", "it reaches bob, cat, not bob"},

		{&Flows{Flow: tcp(80), Is: is(t, ">= 2")}, "", ""},
		{&Flows{Flow: tcp(80), State: "closing", Is: is(t, "1")}, "", ""},
		{&Flows{Flow: tcp(80), Rule: "web", Is: is(t, "> 2")}, "", "2 flows of tcp from client to server port 80 by rule web are noted; there should be more than 2"},
		{&Flows{Flow: tcp(81), Is: is(t, ">= 1")}, "", "no flow of tcp from client to server port 81 is noted; there should be at least 1"},
		{&Flows{Flow: fromPort(40000, tcp(80)), Is: is(t, "2")}, "", ""},
		{&Flows{Flow: fromPort(40001, tcp(80)), Is: is(t, ">= 1")}, "", "tcp from client port 40001 to server port 80"},
		{&Flows{Flow: tcp(80), State: "closing", Is: is(t, "0")}, "", "1 flow of tcp from client to server port 80 in state closing is noted; there should be none"},
		{&Flows{Flow: Flow{Proto: "udp"}, Is: is(t, "0")}, "", ""},

		{&Receipt{From: in(firewall.Slow), To: in(firewall.Fast), Changes: 1, Is: []FieldCondition{{"lost", is(t, "1")}}}, "", ""},
		{&Receipt{To: in(firewall.Fast), Changes: 1, Is: []FieldCondition{{"lost", is(t, "0")}}}, "", "lost is 1; it should be 0"},
		{&Receipt{Changes: 2, Is: []FieldCondition{{"carried", is(t, ">= 1")}}}, "", "carried is 0; it should be at least 1"},
		{&Receipt{Changes: 3}, "", "2 such changes were made, and there should be 3"},
		{&Receipt{From: in(firewall.Off), Changes: 1}, "", "0 such changes were made"},
		{&Receipt{Handover: "cut", Changes: 1}, "", "0 such changes were made"},

		{&Counter{Port: "client", Count: "in-frames", Is: is(t, "100")}, "", ""},
		{&Counter{Port: "client", Count: "dropped", Is: is(t, "4")}, "", ""},
		{&Counter{Port: "client", Count: "dropped/spoofguard", Is: is(t, "> 3")}, "", "dropped/spoofguard of port client is 3; it should be more than 3"},
		{&Counter{Port: "fw", Count: "out-frames", Is: is(t, "38")}, "", ""}, // both ports, looked at twice
		{&Counter{Port: "fw", Count: "out-frames", Change: true, Is: is(t, "4")}, "", ""},
		{&Counter{Rule: "web", Count: "bytes", Is: is(t, "300")}, "", ""},
		{&Counter{Rule: "gone", Count: "frames", Is: is(t, "0")}, "", "there is no such rule or port now"},
		{&Counter{Reason: "default", Is: is(t, "4")}, "", ""},
		{&Counter{Share: "fast", Is: is(t, "25%")}, "", ""},
		{&Counter{Share: "slow", Is: is(t, "75%")}, "", ""},
		{&Counter{Share: "slow", Count: "frames", Is: is(t, "30")}, "", ""},
		{&Counter{Share: "fast", Count: "bytes", Is: is(t, "1000")}, "", "3000 bytes that guests sent since the placement was changed never met the appliance (the fast side); there should be 1000"},
		{&Counter{Share: "slow", Count: "frames", Is: is(t, "0")}, "", "30 frames that guests sent since the placement was changed met the appliance (the slow side); there should be none"},
		{&Counter{Share: "slow", Is: is(t, "<= 50%")}, "", "75 % of the frames that guests sent since the placement was changed met the appliance (the slow side); it should be at most 50%"},
		{&Counter{Share: "fast", Change: true, Is: is(t, "100%")}, "", ""}, // no guest has sent anything
		{&Counter{Share: "slow", Change: true, Is: is(t, "0%")}, "", ""},

		{answer(Answer{Value: "yes"}), "", "there is no answer a yet"},
		{answer(Answer{Value: "yes"}), " Yes ", ""},
		{answer(Answer{Value: "yes"}), "no", `the answer a is "no", which is not right`},
		{answer(Answer{OneOf: []string{"fw", "appliance"}}), "FW", ""},
		{answer(Answer{Value: "state-mismatch"}), "State mismatch", ""},
		{answer(Answer{OneOf: []string{"switch"}}), "the switch", ""},
		{answer(Answer{OneOf: []string{"the switch"}}), "a  switch", ""},
		{answer(Answer{Value: "b"}), "a b", "not right"}, // both halves of a choice
		{answer(Answer{Value: "the"}), "the", ""},
		{answer(Answer{OneOf: []string{"fw"}}), "switch", "not right"},
		{answer(Answer{Set: []string{"x", "y"}}), "y, X", ""},
		{answer(Answer{Set: []string{"x", "y"}}), "x", "not right"},
		{answer(Answer{Set: []string{"x", "y"}}), "y  X", ""},
		{answer(Answer{Set: []string{"x", "y"}}), "y X z", "not right"},
		{answer(Answer{Set: []string{"web one", "y"}}), "y, Web-One", ""},
		{answer(Answer{Set: []string{"x", "y", "z"}}), "z, Y and x", ""},
		{answer(Answer{Set: []string{"x", "y", "z"}}), "zxy", ""},
		{answer(Answer{Set: []string{"x", "y", "z"}}), "xy", "not right"},
		{answer(Answer{Set: []string{"xx", "y"}}), "yxx", "not right"},
		{answer(Answer{Matches: regexp.MustCompile("^x+$")}), "xxx", ""},
		{answer(Answer{Matches: regexp.MustCompile("^x+$")}), "xy", "not right"},
		{answer(Answer{Number: number(100), Tolerance: Tolerance{By: 0.05, Share: true}}), "104", ""},
		{answer(Answer{Number: number(100), Tolerance: Tolerance{By: 0.05, Share: true}}), "106", "not right"},
		{answer(Answer{Number: number(100), Tolerance: Tolerance{By: 1}}), "99", ""},
		{answer(Answer{Number: number(100)}), "a hundred", "which is no number"},
		{answer(Answer{Number: number(14)}), "14s", `the answer a is "14s", which is no plain number: give it without words and without a unit, such as 14`},
		{answer(Answer{Number: number(14)}), "about 15.5 s", "such as 15.5"},
		{answer(Answer{Number: number(14000), InUnits: true}), "15s", "not right"},
		{answer(Answer{Number: number(14000), InUnits: true}), "14s", ""},
		{answer(Answer{Number: number(0.9)}), "80%", "not right"},
		{answer(Answer{Recorded: &Recorded{Counter: frames}}), "4", ""},
		{answer(Answer{Recorded: &Recorded{Counter: &Counter{Share: "fast"}}}), "25", ""},
		{answer(Answer{Recorded: &Recorded{Counter: &Counter{Share: "fast"}}}), "25 %", ""},
		{answer(Answer{Recorded: &Recorded{Counter: &Counter{Share: "fast"}}}), "0.25", ""},
		{answer(Answer{Recorded: &Recorded{Counter: &Counter{Share: "fast"}}}), "75", "not right"},
		{answer(Answer{Recorded: &Recorded{Counter: frames}, Tolerance: Tolerance{By: 0.2, Share: true}}), "6", "not right"},
		{answer(Answer{Recorded: &Recorded{Walk: &Walk{Flow: tcp(80)}, What: "rule"}}), "none-shall", ""},
		{answer(Answer{Recorded: &Recorded{Walk: &Walk{Flow: tcp(80)}, What: "verdict"}}), "pass", "not right"},
		{answer(Answer{Recorded: &Recorded{Walk: &Walk{Flow: tcp(80)}, What: "crosses"}}), "yes", ""},
		{answer(Answer{Recorded: &Recorded{Walk: &Walk{Flow: tcp(80)}, What: "points"}}), "1", ""},
		{answer(Answer{Recorded: &Recorded{Walk: &Walk{Flow: tcp(80)}, What: "reaches"}}), "cat, bob", ""},
		{answer(Answer{Recorded: &Recorded{Walk: &Walk{Flow: tcp(80)}, What: "reaches"}}), "bob", "not right"},
		{answer(Answer{Recorded: &Recorded{Receipt: &Receipt{Changes: 1}, What: "lost"}}), "1", ""},
		{answer(Answer{Recorded: &Recorded{Receipt: &Receipt{From: in(firewall.Off)}, What: "lost"}}), "1", "no such change was made yet"},
		{answer(Answer{Recorded: &Recorded{Run: &Run{In: "client", Command: []string{"x"}, Timeout: time.Second}}}), "10", ""},

		{&Run{In: "client", Command: []string{"true"}, Timeout: time.Second}, "", ""},
		{&Run{In: "client", Command: []string{"sh", "-c", "true\nfalse"}, Exit: 1, Timeout: time.Second}, "", "sh ... in client ended with 0, not 1: said on stderr"},
		{&Run{In: "client", Command: []string{"true"}, Exit: 1, Timeout: time.Second}, "", "true in client ended with 0, not 1: said on stderr"},
		{&Run{Script: "check.sh", Stdout: regexp.MustCompile("^10$"), Timeout: time.Second}, "", "check.sh did not write what it should"},
		{&Run{In: "client", Command: []string{"sleep"}, Timeout: time.Millisecond}, "", "it took longer than 1ms"},
	} {
		o := Options{Answers: map[string][]string{}}
		if c.answer != "" {
			o.Answers["a"] = []string{c.answer}
		}
		r, err := Judge(t.Context(), usual(), []Task{{ID: "t", Points: 3, Checks: []Check{{Kind: c.kind}}}}, o)
		if err != nil {
			t.Errorf("%s: %v", c.kind, err)
			continue
		}
		got := r.Results[0]
		if got.Passed != (c.reason == "") || !strings.Contains(got.Reason, c.reason) || r.Passed != got.Passed || (r.Points == 3) != got.Passed {
			t.Errorf("%s: passed %v, %d points, because %q; want %q", c.kind, got.Passed, r.Points, got.Reason, c.reason)
		}
	}
}

// TestSilenceProvesNothing: a guest that sends nothing is no proof that a flow is blocked.
func TestSilenceProvesNothing(t *testing.T) {
	l := usual()
	l.mute = true
	r, err := Judge(t.Context(), l, []Task{{ID: "t", Checks: []Check{{Kind: &Reach{Flow: tcp(23), Expect: Dropped}}}}}, Options{})
	if err != nil || r.Passed || !strings.Contains(r.Results[0].Reason, "that proves nothing") {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestWhyNamesTheRule: where the switch saw the frame end, the reason says where and by which rule.
func TestWhyNamesTheRule(t *testing.T) {
	s := &scene{
		tried: map[*Reach]tried{}, sights: map[Kind]int{},
		watched: vswitch.Watched{Seen: make([]vswitch.Seen, 2), Frames: []vswitch.SeenFrame{{
			Proto: 6, Point: "server/to-guest", Verdict: "drop", Reason: "rule", Rule: "no-telnet",
			Src: flowRecord(23, "").Src, Dst: flowRecord(23, "").Dst,
		}}},
	}
	c := &Reach{Flow: tcp(23), Expect: Open}
	s.tried[c] = tried{results: []probe.Result{{Target: "tcp/10.0.2.1/23", Outcome: probe.Silent}}}
	if f := c.judge(s); f.Passed || !strings.HasSuffix(f.Reason, "is dropped, not open: drop at server/to-guest, rule no-telnet") {
		t.Errorf("%+v", f)
	}
}

// TestWalkFromPort: a walk is asked for with the ports of both ends.
func TestWalkFromPort(t *testing.T) {
	l := usual()
	if _, err := Judge(t.Context(), l, []Task{task("a", &Walk{Flow: fromPort(80, tcp(40000))})}, Options{}); err != nil || len(l.traced) != 1 || l.traced[0].SrcPort != 80 || l.traced[0].DstPort != 40000 {
		t.Errorf("%+v, %v", l.traced, err)
	}
}

// TestLookAtWhatFailed: the command that a reason names shows the very case: over IPv6 where that failed, and the
// answer's way, to the port that asked, where the question came through.
func TestLookAtWhatFailed(t *testing.T) {
	v4, v6 := server.Addrs[0], server.Addrs[1]
	both := End{"client", true, append(slices.Clone(client.Addrs), netip.MustParseAddr("fd00::1"))}
	for _, c := range []struct {
		what   string
		dst    netip.Addr
		got    probe.Outcome
		arrive uint64
		want   string
	}{
		{"open over IPv4", v4, probe.Answered, 1, "sluice trace 'tcp from client to server port 23'"},
		{"open over IPv6", v6, probe.Answered, 1, "sluice trace 'tcp from client to fd00::2 port 23'"},
		{"dropped on the way", v6, probe.Silent, 0, "sluice trace 'tcp from client to fd00::2 port 23'"},
		{"no answer over IPv4", v4, probe.Silent, 1, "sluice trace 'tcp from server port 23 to client port 40000'"},
		{"no answer over IPv6", v6, probe.Silent, 1, "sluice trace 'tcp from server port 23 to fd00::1 port 40000'"},
	} {
		r := &Reach{Flow: Flow{Proto: "tcp", Port: 23, From: both, To: End{"server", true, []netip.Addr{c.dst}}}, Expect: Rejected}
		src := both.Addrs[0]
		if c.dst.Is6() {
			src = both.Addrs[1]
		}
		came := map[*Reach]tried{r: {results: []probe.Result{{Outcome: c.got}}}}
		s := &scene{ctx: t.Context(), lab: &fakeLab{}, options: &Options{}, sights: map[Kind]int{}, tried: came, watched: vswitch.Watched{
			Seen:   []vswitch.Seen{{Frames: 1, Passed: 1}, {Frames: c.arrive, Passed: c.arrive}},
			Frames: []vswitch.SeenFrame{{Proto: 6, Point: "client/from-guest", Verdict: "pass", Src: netip.AddrPortFrom(src, 40000), Dst: netip.AddrPortFrom(c.dst, 23)}},
		}}
		if f := r.judge(s); f.Passed || f.Look != c.want {
			t.Errorf("%s: look %q, want %q", c.what, f.Look, c.want)
		}
	}
}

// TestLookAtWhatCame: where frames came that may not, the command shows the way of one of them.
func TestLookAtWhatCame(t *testing.T) {
	v6 := netip.MustParseAddr("fd00::1")
	for _, c := range []struct {
		point string
		proto uint8
		want  string
	}{
		{"server/to-guest", 6, "sluice trace 'tcp from fd00::1 to fd00::2 port 23'"},
		{"server/to-guest", 17, "sluice stats"},
		{"client/from-guest", 6, "sluice stats"},
	} {
		k := &Seen{Flow: Flow{Proto: "tcp", Port: 23}, At: "server/to-guest", Max: count(0)}
		s := &scene{sights: map[Kind]int{}, watched: vswitch.Watched{Seen: []vswitch.Seen{{Frames: 1}}, Frames: []vswitch.SeenFrame{
			{Point: c.point, Proto: c.proto, Src: netip.AddrPortFrom(v6, 40000), Dst: netip.AddrPortFrom(server.Addrs[1], 23)},
		}}}
		if f := k.judge(s); f.Passed || f.Look != c.want {
			t.Errorf("%+v: %+v", c, f)
		}
	}
}

// TestFlowInWords: a port is the port of the end before it, as a trace reads it.
func TestFlowInWords(t *testing.T) {
	for _, c := range []struct {
		flow Flow
		want string
	}{
		{tcp(80), "tcp from client to server port 80"},
		{fromPort(80, tcp(40000)), "tcp from client port 80 to server port 40000"},
		{Flow{Proto: "tcp", Port: 23}, "tcp port 23"},
		{Flow{Proto: "tcp", Port: 80, From: server}, "tcp from server to port 80"},
		{Flow{Proto: "icmp", From: server}, "icmp from server"},
	} {
		if got := c.flow.String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
		if r, err := vswitch.ParseFlows(c.flow.String()); err != nil || r.DstPort != c.flow.Port || r.SrcPort != c.flow.SrcPort || r.From != c.flow.From.Name || r.To != c.flow.To.Name {
			t.Errorf("%q is read as %+v, %v", c.flow, r, err)
		}
	}
}

// TestRecordedWords: several words that were recorded may be answered in any order.
func TestRecordedWords(t *testing.T) {
	for got, want := range map[string]bool{"b, c": true, "C,b": true, "b": false, "b, c, d": false, "": false} {
		if is := (&Answer{}).meets(got, "b, c"); is != want {
			t.Errorf("%q meets b, c: %v, want %v", got, is, want)
		}
	}
}

// TestSpeed: the medians are compared, one download here and one there, and the firewall is where it was afterwards.
func TestSpeed(t *testing.T) {
	for _, c := range []struct {
		what     string
		fast, in []int64
		is       string
		reason   string
	}{
		{"as asked", []int64{100, 100, 100}, []int64{10, 10, 10}, ">= 10%", ""},
		{"one is slow", []int64{100, 100, 100}, []int64{10, 1, 10}, ">= 10%", ""},
		{"one is fast", []int64{100, 100, 100}, []int64{1, 1000, 1}, ">= 10%", "has 1 % of the speed that it has in fast, not >= 10%"},
		{"too slow", []int64{100, 100, 100}, []int64{9, 9, 9}, ">= 10%", "has 9 % of the speed"},
		{"nothing in inspect", []int64{100, 100, 100}, nil, "> 1%", "has 0 % of the speed"},
		{"nothing in fast", nil, []int64{9, 9, 9}, ">= 10%", "nothing came in fast"},
	} {
		l := usual()
		l.speeds = map[firewall.Placement][]int64{firewall.Fast: c.fast, firewall.Inspect: c.in}
		r, err := Judge(t.Context(), l, []Task{task("a", &Speed{Flow: tcp(80), In: firewall.Inspect, Of: firewall.Fast, Is: is(t, c.is), Rounds: 3})}, Options{})
		if err != nil || r.Passed != (c.reason == "") || !strings.Contains(r.Results[0].Reason, c.reason) {
			t.Errorf("%s: %+v, %v", c.what, r.Results, err)
		}
		want := []firewall.Placement{firewall.Fast, firewall.Inspect, firewall.Fast, firewall.Inspect, firewall.Fast, firewall.Inspect, firewall.Slow}
		if !slices.Equal(l.moves, want) || len(r.OwnMoves) != len(want) {
			t.Errorf("%s: moved to %v, want %v; own %v", c.what, l.moves, want, r.OwnMoves)
		}
	}
	l := usual()
	l.sick = errSick
	if r, err := Judge(t.Context(), l, []Task{task("a", &Speed{Flow: tcp(80), In: firewall.Inspect, Is: is(t, "> 1%"), Rounds: 3})}, Options{}); err != nil || r.Passed || !strings.Contains(r.Results[0].Reason, "could not be measured") {
		t.Errorf("in a sick lab: %+v, %v", r, err)
	}
}
