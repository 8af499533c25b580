package check

import (
	"fmt"
	"slices"
)

// Report is what was found of all tasks.
type Report struct {
	Passed bool `json:"passed"`
	Points int  `json:"points"`
	Of     int  `json:"of"`
	Hints  int  `json:"hint_points,omitempty"` // what the hints cost that were asked for
	// Undecided: the machine was too busy to say of some task whether it has passed.
	Undecided bool     `json:"undecided,omitempty"`
	Results   []Result `json:"tasks"`
	// OwnMoves are epochs of the changes of placement that runners have made, this one included.
	OwnMoves []uint64 `json:"-"`
}

// Result is what was found of one task.
type Result struct {
	ID      string `json:"id"`
	Title   string `json:"title"`
	Passed  bool   `json:"passed"`
	Skipped bool   `json:"skipped,omitempty"` // not tried: a task that it needs has not passed
	// Undecided: the machine was too busy to say whether it has passed.
	Undecided bool      `json:"undecided,omitempty"`
	Points    int       `json:"points"`
	Of        int       `json:"of"`
	Spent     int       `json:"hint_points,omitempty"` // what the hints cost that were asked for
	Reason    string    `json:"reason,omitempty"`
	Look      string    `json:"look,omitempty"`
	Hints     []string  `json:"hints,omitempty"`
	ForSale   int       `json:"hints_for_points,omitempty"` // hints that may be asked for, and cost points
	Given     []int     `json:"-"`                          // the hints above, by their places in Task.Hints
	Findings  []Finding `json:"checks,omitempty"`
	Facts     []string  `json:"facts,omitempty"`
}

// resultOf sums up what the checks of a task have found.
func resultOf(findings []Finding) Result {
	r := Result{Passed: true, Findings: findings}
	more := 0
	for _, f := range findings {
		for _, fact := range f.Facts {
			if !slices.Contains(r.Facts, fact) {
				r.Facts = append(r.Facts, fact)
			}
		}
		switch {
		case f.Passed:
		case r.Passed:
			r.Passed, r.Reason, r.Look = false, f.Reason, f.Look
		case f.Reason != r.Reason:
			more++
		}
	}
	if more > 0 {
		r.Reason += fmt.Sprintf(" (and %d more: -o json has all)", more)
	}
	return r
}

// add completes a result by its task, and adds it.
func (r *Report) add(t Task, res Result, o Options) {
	res.ID, res.Title, res.Of = t.ID, t.Title, t.Points
	res.Spent = t.spent(o.Bought[t.ID])
	if res.Passed {
		res.Points = max(0, t.Points-res.Spent)
	} else if !res.Skipped {
		tries := o.Tries[t.ID] + 1
		for i, h := range t.Hints {
			if !t.Open(i, res.Facts, tries) {
				continue
			}
			if h.Cost == 0 || slices.Contains(o.Bought[t.ID], i) {
				res.Hints, res.Given = append(res.Hints, h.Text), append(res.Given, i)
			} else {
				res.ForSale++
			}
		}
	}
	r.Results = append(r.Results, res)
	r.Points += res.Points
	r.Of += res.Of
	r.Hints += res.Spent
	r.Undecided = r.Undecided || res.Undecided
	r.Passed = !slices.ContainsFunc(r.Results, func(x Result) bool { return !x.Passed })
}

// Open says whether a hint may be given, after so many failed tries and with what the last one observed.
func (t Task) Open(hint int, facts []string, tries int) bool {
	h := t.Hints[hint]
	return tries >= h.After && (h.When == "" || slices.Contains(facts, h.When))
}

// spent is what the hints that were asked for cost.
func (t Task) spent(bought []int) (n int) {
	for _, i := range bought {
		if i >= 0 && i < len(t.Hints) {
			n += t.Hints[i].Cost
		}
	}
	return n
}

// Facts are those that a task's checks may observe: what hints can depend on.
func (t Task) Facts() []string {
	var out []string
	for _, c := range t.Checks {
		switch k := c.Kind.(type) {
		case *Reach:
			for _, o := range Outcomes {
				out = append(out, k.facts(o)...)
			}
		case *Answer:
			out = append(out, k.Name+"-missing", k.Name+"-wrong")
		case *Policy:
			out = append(out, tooWide, tooNarrow, otherNo, forgets, endsLate)
		}
		if c.ID != "" {
			out = append(out, c.ID+"-passed", c.ID+"-failed")
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
