package course

import (
	"strings"
	"testing"

	"sluice/labs/check"
	"sluice/labs/labfile"
)

// TestNextHint: a free hint comes before one that costs, whatever their order; one that waits is neither given nor
// sold; and nobody pays for a task that has passed.
func TestNextHint(t *testing.T) {
	dear, free := check.Hint{Text: "dear", Cost: 2}, check.Hint{Text: "free"}
	shown := check.Hint{Text: "shown"}
	after, when := check.Hint{Text: "after", After: 2}, check.Hint{Text: "when", When: "tcp-80-closed"}
	for _, c := range []struct {
		what   string
		hints  []check.Hint
		tries  int
		facts  []string
		passed bool
		want   string // in order, as they are asked for
		then   string
	}{
		{"the free one first", []check.Hint{dear, free}, 0, nil, false, "free:0 dear:2", "no more"},
		{"free by tries", []check.Hint{dear, after}, 2, nil, false, "after:0 dear:2", "no more"},
		{"not yet free by tries", []check.Hint{dear, after}, 1, nil, false, "dear:2", "try first"},
		{"free by a fact", []check.Hint{dear, when}, 1, []string{"tcp-80-closed"}, false, "when:0 dear:2", "no more"},
		{"not free by a fact", []check.Hint{dear, when}, 1, nil, false, "dear:2", "try first"},
		{"passed", []check.Hint{dear, free}, 1, nil, true, "", "has passed"},
		{"none", nil, 0, nil, false, "", "no more"},
		{"the cheaper one first", []check.Hint{dear, {Text: "cheap", Cost: 1}}, 0, nil, false, "cheap:1 dear:2", "no more"},
		{"what a check has shown", []check.Hint{shown, dear}, 0, nil, false, "dear:2", "no more"},
	} {
		p := &progress{Shown: map[string][]int{}, Tries: map[string]int{"a": c.tries}, Facts: map[string][]string{"a": c.facts}, Passed: map[string]bool{"a": c.passed}, Bought: map[string][]int{}}
		var got []string
		for {
			if len(c.hints) > 0 && c.hints[0] == shown {
				p.show("a", []int{0})
			}
			h, err := p.nextHint(check.Task{ID: "a", Hints: c.hints})
			if err != nil {
				if !strings.Contains(err.Error(), c.then) {
					t.Errorf("%s: %v, want %q", c.what, err, c.then)
				}
				break
			}
			got = append(got, h.Text+":"+string(rune('0'+h.Cost)))
		}
		if words := strings.Join(got, " "); words != c.want {
			t.Errorf("%s: %s, want %s", c.what, words, c.want)
		}
	}
}

// TestNamesNothing: the word both is no answer, but where a lab file has it as the right one.
func TestNamesNothing(t *testing.T) {
	answer := func(a check.Answer) check.Check { return check.Check{Kind: &a} }
	l := &labfile.Lab{Tasks: []check.Task{{ID: "a", Checks: []check.Check{
		answer(check.Answer{Name: "who", Set: []string{"old", "new"}}),
		answer(check.Answer{Name: "sides", OneOf: []string{"both"}}),
		answer(check.Answer{Name: "measured", Recorded: &check.Recorded{Run: &check.Run{}}}),
	}}}}
	for _, c := range []struct {
		name  string
		words []string
		want  bool
	}{
		{"who", []string{"both"}, true}, {"who", []string{"Both words"}, true}, {"measured", []string{"both"}, true},
		{"who", []string{"both", "words"}, false}, {"who", []string{"bothy"}, false}, {"who", []string{"old", "new"}, false},
		{"sides", []string{"both"}, false}, {"sides", []string{"both of them"}, true}, {"sides", []string{"neither"}, false},
	} {
		if got := namesNothing(l, c.name, c.words); got != c.want {
			t.Errorf("%s %q: %v", c.name, c.words, got)
		}
	}
}

// TestPlaced: who hands in work is told of the placement where it counts.
func TestPlaced(t *testing.T) {
	for lab, want := range map[string]bool{"packet-bill": false, "blind-spot": true, "when-it-breaks": true} {
		l, err := labfile.Load(lab)
		if err != nil {
			t.Fatal(err)
		}
		if u := (&submitting{lab: l}); u.placed() != want {
			t.Errorf("%s: %v", lab, !want)
		}
	}
}
