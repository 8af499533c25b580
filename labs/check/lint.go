package check

import (
	"fmt"
	"slices"
)

// LintFinding is something in a lab's tasks that is allowed, but teaches or proves nothing.
type LintFinding struct {
	Task string `json:"task"`
	File string `json:"file,omitempty"` // in the lab's folder; empty is the lab file
	Line int    `json:"line"`           // in the file; 0 is none
	Text string `json:"text"`
}

// Lint looks for checks that prove nothing. One that expects a flow to be blocked needs two others beside it: that a
// flow is allowed, for else a guest that is switched off would pass; and that its frames came to the insertion point.
func Lint(tasks []Task) []LintFinding {
	out := []LintFinding{}
	for _, t := range tasks {
		for _, c := range t.Checks {
			r, ok := c.Kind.(*Reach)
			if !ok || r.Expect != Dropped && r.Expect != Rejected {
				continue
			}
			if !t.allows(c, r) {
				const alone = "%s: no check of the task expects an open flow from or to one of them, in the same placement"
				out = append(out, LintFinding{Task: t.ID, Line: c.Line, Text: fmt.Sprintf(alone, r)})
			}
			if !t.proves(c, r) {
				const unseen = "%s: no seen check of the task proves that it came to %s/from-guest, in the same placement"
				out = append(out, LintFinding{Task: t.ID, Line: c.Line, Text: fmt.Sprintf(unseen, r, r.From.Name)})
			}
		}
		if len(t.Checks) == 0 {
			out = append(out, LintFinding{Task: t.ID, Text: "the task checks nothing"})
		}
	}
	return out
}

// allows looks in the placement of the check: each is an attempt of its own.
func (t Task) allows(of Check, blocked *Reach) bool {
	for _, c := range t.Checks {
		r, ok := c.Kind.(*Reach)
		if !ok || r.Expect != Open || !samePlacement(c.Placement, of.Placement) {
			continue
		}
		if ends := []string{r.From.Name, r.To.Name}; slices.Contains(ends, blocked.From.Name) || slices.Contains(ends, blocked.To.Name) {
			return true
		}
	}
	return false
}

func (t Task) proves(of Check, blocked *Reach) bool {
	for _, c := range t.Checks {
		s, ok := c.Kind.(*Seen)
		if ok && samePlacement(c.Placement, of.Placement) && s.At == blocked.From.Name+"/from-guest" && s.Min != nil && *s.Min > 0 && s.Proto == blocked.Proto && (s.Port == 0 || s.Port == blocked.Port) {
			return true
		}
	}
	return false
}
