package check

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/labs/probe"
	"sluice/vswitch"
)

func task(id string, kind Kind, needs ...string) Task {
	return Task{ID: id, Points: 2, Needs: needs, Checks: []Check{{Kind: kind}}}
}

func words(r Report) (out []string) {
	for _, x := range r.Results {
		word := x.ID + ":fail"
		if x.Passed {
			word = x.ID + ":pass"
		} else if x.Skipped {
			word = x.ID + ":skip"
		}
		out = append(out, word)
	}
	return out
}

// TestNeeds: a task is not tried before what it needs has passed; one that is asked for is judged with what it needs,
// and no others.
func TestNeeds(t *testing.T) {
	open, closed := &Reach{Flow: tcp(80), Expect: Open}, &Reach{Flow: tcp(23), Expect: Open}
	tasks := []Task{task("a", open), task("b", closed, "a"), task("c", open, "b"), task("d", open, "a"), task("e", open)}
	for only, want := range map[string]string{
		"": "a:pass b:fail c:skip d:pass e:pass", "d": "a:pass d:pass", "c": "a:pass b:fail c:skip", "e": "e:pass",
	} {
		r, err := Judge(t.Context(), usual(), tasks, Options{Only: only})
		if got := strings.Join(words(r), " "); err != nil || got != want {
			t.Errorf("only %q: %s, %v; want %s", only, got, err, want)
		}
	}
}

// TestWaitAndHold: a task that waits is tried again until it comes true, and one that holds fails if it does not stay
// so.
func TestWaitAndHold(t *testing.T) {
	for _, c := range []struct {
		what       string
		wait, hold time.Duration
		open       func(try int) bool
		passed     bool
		reason     string
	}{
		{"at once", 0, 0, func(int) bool { return true }, true, ""},
		{"never", 0, 0, func(int) bool { return false }, false, "is dropped, not open"},
		{"at the third try", time.Minute, 0, func(try int) bool { return try >= 3 }, true, ""},
		{"not for long", 0, time.Minute, func(try int) bool { return try < 3 }, false, "it did not stay so: "},
	} {
		l := usual()
		good := l.ports["tcp/10.0.2.1/80"]
		l.onTry = func(l *fakeLab) {
			if delete(l.ports, "tcp/10.0.2.1/80"); c.open(l.tries) {
				l.ports["tcp/10.0.2.1/80"] = good
			}
		}
		one := task("a", &Reach{Flow: tcp(80), Expect: Open})
		one.Wait, one.Hold = c.wait, c.hold
		r, err := Judge(t.Context(), l, []Task{one}, Options{})
		if err != nil || r.Passed != c.passed || !strings.Contains(r.Results[0].Reason, c.reason) {
			t.Errorf("%s: %+v, %v", c.what, r.Results, err)
		}
	}
}

// TestMissingAnswer: a task does not wait for an answer that nobody has given, but for one that may come true.
func TestMissingAnswer(t *testing.T) {
	one := task("a", &Answer{Name: "x", Value: "yes"})
	one.Wait = time.Hour
	l := usual()
	r, err := Judge(t.Context(), l, []Task{one}, Options{})
	if err != nil || r.Passed || l.tries != 2 { // the second one ends the watch
		t.Errorf("%d tries: %+v, %v", l.tries, r.Results, err)
	}
}

// TestWaitInVain: what cannot change is not waited for: an answer that the lab file holds, and one that is wrong when
// all else is as it should be. What can change is, and that is said once.
func TestWaitInVain(t *testing.T) {
	wrong := func(r *Recorded) Check {
		a := &Answer{Name: "x", Recorded: r}
		if r == nil {
			a.Value = "yes"
		}
		return Check{Kind: a}
	}
	walk := &Recorded{Walk: &Walk{Flow: tcp(80)}, What: "verdict"}
	opens := Check{Kind: &Reach{Flow: tcp(80), Expect: Open}}
	for _, c := range []struct {
		what   string
		checks []Check
		opens  int // at which try
		tries  int
		said   string
	}{
		{"an answer by itself", []Check{wrong(nil)}, 1, 1, ""},
		{"an answer, and what may come true", []Check{opens, wrong(nil)}, 3, 1, ""},
		{"a recorded answer by itself", []Check{wrong(walk)}, 1, 1, ""},
		{"a recorded answer, once the rest is true", []Check{opens, wrong(walk)}, 3, 3, "a: waiting, at most 1h0m0s: tcp from client to server port 80 (tcp/10.0.2.1/80) is dropped, not open"},
	} {
		l := usual()
		l.onTry = func(l *fakeLab) {
			l.ports["tcp/10.0.2.1/80"] = probe.Silent
			if delete(l.delivered, "tcp/10.0.2.1/80"); l.tries >= c.opens {
				l.ports["tcp/10.0.2.1/80"] = probe.Answered
			}
		}
		var said []string
		o := Options{Answers: map[string][]string{"x": {"no"}}, Say: func(s string) { said = append(said, s) }}
		r, err := Judge(t.Context(), l, []Task{{ID: "a", Checks: c.checks, Wait: time.Hour}}, o)
		if err != nil || r.Passed || l.tries != c.tries+1 { // the last one ends the watch
			t.Errorf("%s: %d tries, want %d: %+v, %v", c.what, l.tries-1, c.tries, r.Results, err)
		}
		if got := strings.Join(said, "\n"); !strings.HasPrefix(got, c.said) || (c.said == "") != (got == "") || strings.Contains(got, "\n") {
			t.Errorf("%s: said %q, want %q", c.what, got, c.said)
		}
	}
}

// TestWhere: a reason says in which placement a flow was tried, where that is not the lab's own, and that nobody
// enforces in off.
func TestWhere(t *testing.T) {
	shut, open := &Reach{Flow: tcp(80), Expect: Rejected}, &Reach{Flow: tcp(23), Expect: Open}
	for _, c := range []struct {
		now  firewall.Placement
		own  *firewall.Placement
		kind Kind
		want string
	}{
		{firewall.Off, in(firewall.Slow), shut, "in placement off nobody enforces: tcp from client to server port 80 "},
		{firewall.Off, in(firewall.Off), shut, "in placement off nobody enforces: tcp "},
		{firewall.Off, in(firewall.Slow), &Walk{Flow: tcp(80), Verdict: "reject"}, "in placement off nobody enforces: the walk"},
		{firewall.Off, in(firewall.Slow), &Seen{Flow: tcp(0), At: "client/from-guest", Max: count(0), Min: count(9)}, "in placement off nobody enforces: no frame"},
		{firewall.Off, in(firewall.Slow), open, "in placement off: tcp from client to server port 23 "},
		{firewall.Fast, in(firewall.Slow), open, "in placement fast: tcp from client to server port 23 "},
		{firewall.Slow, in(firewall.Slow), open, "tcp from client to server port 23 "},
		{firewall.Fast, nil, open, "tcp from client to server port 23 "},
		{firewall.Off, in(firewall.Slow), &Counter{Reason: "default", Is: is(t, "9")}, "frames dropped by reason default is 4; it should be 9"},
	} {
		l := usual()
		l.placement = c.now
		r, err := Judge(t.Context(), l, []Task{task("a", c.kind)}, Options{Own: c.own})
		if err != nil || r.Passed || !strings.HasPrefix(r.Results[0].Reason, c.want) {
			t.Errorf("%s in %s: %q, %v; want %q", c.kind, c.now, r.Results[0].Reason, err, c.want)
		}
	}
}

// TestPlacements: checks are made where they say, those of one placement in one attempt, and the firewall is where it
// was afterwards.
func TestPlacements(t *testing.T) {
	l := usual()
	open := func() Kind { return &Reach{Flow: tcp(80), Expect: Open} }
	one := Task{ID: "a", Checks: []Check{{Kind: open(), Placement: in(firewall.Fast)}, {Kind: open()}, {Kind: open(), Placement: in(firewall.Off)}, {Kind: open(), Placement: in(firewall.Fast)}}}
	said := ""
	r, err := Judge(t.Context(), l, []Task{one}, Options{OwnMoves: []uint64{7}, Say: func(s string) { said += s }})
	if said != "a: its checks are made in fast, off; then the firewall is put back" {
		t.Errorf("it says %q", said)
	}
	stays := usual()
	here := Task{ID: "b", Checks: []Check{{Kind: open(), Placement: in(stays.placement)}}}
	silent := Options{Say: func(s string) { t.Errorf("where nothing moves it says %q", s) }}
	if _, err := Judge(t.Context(), stays, []Task{here}, silent); err != nil {
		t.Error(err)
	}
	if err != nil || !r.Passed {
		t.Fatalf("%+v, %v", r, err)
	}
	if want := []firewall.Placement{firewall.Fast, firewall.Off, firewall.Slow}; !slices.Equal(l.moves, want) {
		t.Errorf("moved to %v, want %v", l.moves, want)
	}
	if want := []uint64{7, 21, 22, 23}; !slices.Equal(r.OwnMoves, want) {
		t.Errorf("own moves %v, want %v", r.OwnMoves, want)
	}
	if got := r.Results[0].Findings[0].Check; got != "tcp from client to server port 80 is open in fast" {
		t.Errorf("the check is called %q", got)
	}
}

// TestPlacementRefused: what the switch does not take is said as the switch says it, and the other checks are made all
// the same.
func TestPlacementRefused(t *testing.T) {
	l := usual()
	l.refuses = firewall.Tunnel
	one := Task{ID: "a", Checks: []Check{{Kind: &Reach{Flow: tcp(80), Expect: Open}}, {Kind: &Reach{Flow: tcp(80), Expect: Open}, Placement: in(firewall.Tunnel)}}}
	r, err := Judge(t.Context(), l, []Task{one}, Options{})
	f := r.Results[0].Findings
	if err != nil || !f[0].Passed || f[1].Passed || f[1].Reason != "the placement tunnel: this placement is not built yet" || l.placement != firewall.Slow {
		t.Errorf("%+v, %v", f, err)
	}
}

// TestReceiptsAreTheStudents: changes that a runner made are not theirs; in a submission the runner makes the change.
func TestReceiptsAreTheStudents(t *testing.T) {
	c := &Receipt{From: in(firewall.Slow), To: in(firewall.Fast), Changes: 1, Load: &Flow{Proto: "tcp", Port: 7777, From: client, To: server}}
	l := usual()
	r, err := Judge(t.Context(), l, []Task{task("a", c)}, Options{OwnMoves: []uint64{7, 9}})
	if err != nil || r.Passed || len(l.moves) != 0 {
		t.Errorf("of a runner: %+v, %v", r, err)
	}
	l = usual()
	l.history = nil
	l.exit = 9
	if r, err = Judge(t.Context(), l, []Task{task("a", c)}, Options{Submission: true}); err != nil || r.Passed || !strings.Contains(r.Results[0].Reason, "the load tcp from client to server port 7777 ended") {
		t.Errorf("with a load that ends: %+v, %v", r, err)
	}
	l.history, c.Load = nil, nil
	r, err = Judge(t.Context(), l, []Task{task("a", c)}, Options{Submission: true})
	if err != nil || !r.Passed || l.placement != firewall.Slow || !slices.Contains(l.moves, firewall.Fast) {
		t.Errorf("in a submission: %+v, %v, moved to %v", r, err, l.moves)
	}
}

// TestHints: which are shown depends on what was observed, on the tries, and on what was paid for.
func TestHints(t *testing.T) {
	one := task("a", &Reach{Flow: tcp(23), Expect: Open})
	one.Hints = []Hint{
		{Text: "always"}, {Text: "dropped", When: "tcp-23-dropped"}, {Text: "closed", When: "client-server-tcp-23-closed"}, {Text: "rejected", When: "tcp-23-rejected"},
		{Text: "late", After: 3}, {Text: "dear", Cost: 1},
	}
	for _, c := range []struct {
		tries  int
		bought []int
		want   string
		sale   int
	}{
		{0, nil, "always dropped closed", 1},
		{2, nil, "always dropped closed late", 1},
		{0, []int{5}, "always dropped closed dear", 0},
	} {
		r, err := Judge(t.Context(), usual(), []Task{one}, Options{Tries: map[string]int{"a": c.tries}, Bought: map[string][]int{"a": c.bought}})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(r.Results[0].Hints, " "); got != c.want || r.Results[0].ForSale != c.sale {
			t.Errorf("after %d tries: %q and %d to buy; want %q and %d", c.tries, got, r.Results[0].ForSale, c.want, c.sale)
		}
	}
	one.Checks[0].Kind = &Reach{Flow: tcp(80), Expect: Open}
	r, err := Judge(t.Context(), usual(), []Task{one}, Options{Bought: map[string][]int{"a": {5}}})
	if err != nil || r.Points != 1 || r.Results[0].Hints != nil {
		t.Errorf("passed with a hint: %+v, %v", r, err)
	}
}

// TestSickLab: a lab that cannot be asked is an error, or a fault of the check that asked; never a pass.
func TestSickLab(t *testing.T) {
	for _, kind := range []Kind{&Reach{Flow: tcp(80), Expect: Open}, &Walk{Flow: tcp(80)}, &Run{In: "client", Command: []string{"x"}, Timeout: time.Second}} {
		l := usual()
		l.sick = errSick
		r, err := Judge(t.Context(), l, []Task{task("a", kind)}, Options{})
		if r.Passed || err == nil && !strings.Contains(r.Results[0].Reason, errSick.Error()) || err != nil && !errors.Is(err, errSick) {
			t.Errorf("%s: %+v, %v", kind, r, err)
		}
	}
}

func TestLint(t *testing.T) {
	blocked := Check{Line: 7, Kind: &Reach{Flow: tcp(23), Expect: Dropped}}
	open := Check{Kind: &Reach{Flow: tcp(80), Expect: Open}}
	proof := Check{Kind: &Seen{Flow: Flow{Proto: "tcp", Port: 23}, At: "client/from-guest", Min: count(1)}}
	none := Check{Kind: &Seen{Flow: Flow{Proto: "tcp", Port: 23}, At: "client/from-guest", Max: count(1)}}
	for _, c := range []struct {
		what   string
		checks []Check
		want   []string
	}{
		{"sound", []Check{blocked, open, proof}, nil},
		{"no open flow", []Check{blocked, proof}, []string{"expects an open flow"}},
		{"no proof", []Check{blocked, open, none}, []string{"no seen check"}},
		{"in another placement", []Check{{Placement: in(firewall.Fast), Kind: blocked.Kind}, open, proof}, []string{"expects an open flow", "no seen check"}},
		{"neither", []Check{blocked}, []string{"expects an open flow", "no seen check"}},
		{"nothing blocked", []Check{open}, nil},
		{"empty", nil, []string{"checks nothing"}},
	} {
		got := Lint([]Task{{ID: "a", Checks: c.checks}})
		if len(got) != len(c.want) {
			t.Errorf("%s: %+v", c.what, got)
			continue
		}
		for i, w := range c.want {
			if !strings.Contains(got[i].Text, w) {
				t.Errorf("%s: %q, want %q", c.what, got[i].Text, w)
			}
		}
	}
}

func TestCondition(t *testing.T) {
	for _, c := range []struct {
		text  string
		value float64
		holds bool
	}{
		{"3", 3, true}, {"3", 4, false}, {"= 3", 3, true}, {"!=3", 3, false}, {"< 3", 2, true}, {"<3", 3, false}, {"<= 50ms", 50, true},
		{"<= 2s", 2001, false}, {"> 90%", 0.91, true}, {">=1", 0, false}, {"> -1", 0, true},
	} {
		if got := is(t, c.text).Holds(c.value); got != c.holds {
			t.Errorf("%g %s is %v", c.value, c.text, got)
		}
	}
	for _, s := range []string{"", ">", "x", "3 4", "=> 3", "NaN", "Inf", "3h", "0x"} {
		if c, err := ParseCondition(s); err == nil {
			t.Errorf("%q is %+v", s, c)
		}
	}
}

// TestSides: of what guests sent in the attempt, how much met the appliance. What its ports are handed beside that is
// no guest's.
func TestSides(t *testing.T) {
	sent := func(all, slow uint64) vswitch.Stats {
		return vswitch.Stats{Share: vswitch.Share{Frames: all, Slow: slow, Bytes: 100 * all, SlowBytes: 60 * slow}, Ports: []vswitch.PortStats{{Name: "fw/0", OutFrames: 9 * all}}}
	}
	s := &scene{before: sent(100, 40), after: sent(120, 45)}
	for _, c := range []struct {
		share, count string
		want         float64
	}{
		{"fast", "", 0.75},
		{"slow", "", 0.25},
		{"fast", "frames", 15},
		{"slow", "frames", 5},
		{"fast", "bytes", 1700},
		{"slow", "bytes", 300},
	} {
		if got, err := (&Counter{Share: c.share, Count: c.count, Change: true}).value(s); err != nil || got != c.want {
			t.Errorf("%s %s: %g, %v; want %g", c.share, c.count, got, err, c.want)
		}
	}
}

// TestNotRunning: where a machine that a task looks at has ended, the task fails, says so once, and gives no hint;
// others are judged.
func TestNotRunning(t *testing.T) {
	l := usual()
	l.stats.Ports = l.stats.Ports[:1] // the client's
	status := &Run{In: "fw", Command: []string{"policy", "status"}, Timeout: time.Second}
	tasks := []Task{
		{ID: "a", Checks: []Check{{Kind: &Reach{Flow: tcp(80), Expect: Open}}, {ID: "status", Kind: status}}, Hints: []Hint{{When: "status-failed", Text: "no"}}},
		{ID: "b", Checks: []Check{{Kind: &Reach{Flow: tcp(80), Expect: Open}}, {Kind: &Seen{At: "fw/to-guest", Min: count(1)}}}},
		task("c", &Reach{Flow: tcp(80), Expect: Open}),
	}
	r, err := Judge(t.Context(), l, tasks, Options{})
	if got := strings.Join(words(r), " "); err != nil || got != "a:fail b:fail c:pass" {
		t.Fatalf("%s, %v", got, err)
	}
	for _, x := range r.Results[:2] {
		if x.Reason != "fw is not running" || x.Look != "sluice appliance restart" || len(x.Hints) > 0 {
			t.Errorf("%s: %q, look %q, hints %q", x.ID, x.Reason, x.Look, x.Hints)
		}
	}
}
