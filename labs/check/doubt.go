package check

import (
	"context"
	"fmt"
	"slices"
)

// maxTries is how often a task is tried that a busy machine may have spoilt.
const maxTries = 3

// try looks at a task, and looks again where a machine that is short of processor may explain what was found. If it is
// short each time the task is undecided: short then says how the machine was, else it is empty.
func try(ctx context.Context, lab Lab, t Task, o *Options) (findings []Finding, moves []uint64, short string, err error) {
	same, before := true, ""
	for n := 1; ; n++ {
		end := func() string { return "" }
		if o.Strain != nil {
			end = o.Strain()
		}
		var made []uint64
		findings, made, err = attempt(ctx, lab, t, o)
		moves = append(moves, made...)
		short = end()
		if err != nil || short == "" || !doubtful(findings) {
			return findings, moves, "", err
		}
		found := resultOf(findings).Reason
		same, before = same && (n == 1 || found == before), found
		if n == maxTries {
			if same && onlyAnswers(findings) {
				short = "" // what was measured is the same each time: it is the answer that is wrong
			}
			return findings, moves, short, nil
		}
		o.say(fmt.Sprintf("%s: the machine is short of processor (%s); trying again", t.ID, short))
		o.OwnMoves = append(slices.Clone(o.OwnMoves), made...)
	}
}

// doubtful says whether a busy machine may be why a task has failed: all that speaks against it may be.
func doubtful(findings []Finding) bool {
	failed := slices.ContainsFunc(findings, func(f Finding) bool { return !f.Passed })
	return failed && !slices.ContainsFunc(findings, func(f Finding) bool { return !f.Passed && !f.doubt })
}

func onlyAnswers(findings []Finding) bool {
	return !slices.ContainsFunc(findings, func(f Finding) bool { return !f.Passed && !f.answer })
}
