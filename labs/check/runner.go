package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/firewall"
)

// Options say what is known of the student beside the lab.
type Options struct {
	Only       string              // a task: it and what it needs are judged; empty is all
	Answers    map[string][]string // by name; most have one word
	Tries      map[string]int      // failed tries of each task so far
	Bought     map[string][]int    // hints that were asked for, by task: their places in Task.Hints
	OwnMoves   []uint64            // epochs of changes of placement that a runner has made, not the student
	Own        *firewall.Placement // the lab's own; nil is not known
	Say        func(text string)   // is told what takes time; may be nil
	Submission bool                // the lab was deployed to judge a submission: nobody has worked in it
	Attempt    func(task string)   // is told before each attempt at a task; may be nil
	// Strain begins to measure how short of processor the machine is; end says how short it was, or nothing where it
	// was not. nil: nobody measures.
	Strain func() (end func() string)
}

// retryEvery is how often the checks of a task are looked at again while it waits or holds.
const retryEvery = 250 * time.Millisecond

// Judge judges tasks in their order. An error means that the lab could not be asked; what a student did wrong is in the
// report.
func Judge(ctx context.Context, lab Lab, tasks []Task, o Options) (Report, error) {
	wanted := wanted(tasks, o.Only)
	r := Report{Results: []Result{}, OwnMoves: slices.Clone(o.OwnMoves)}
	done, undecided := map[string]bool{}, map[string]bool{}
	for _, t := range tasks {
		if !wanted[t.ID] {
			continue
		}
		if i := slices.IndexFunc(t.Needs, func(id string) bool { return !done[id] }); i >= 0 {
			undecided[t.ID] = undecided[t.Needs[i]]
			why := map[bool]string{true: "is undecided", false: "has not passed"}[undecided[t.ID]]
			r.add(t, Result{Reason: fmt.Sprintf("it needs %s, which %s", t.Needs[i], why), Skipped: true, Undecided: undecided[t.ID]}, o)
			continue
		}
		o.OwnMoves = r.OwnMoves
		findings, moves, short, err := try(ctx, lab, t, &o)
		r.OwnMoves = append(r.OwnMoves, moves...)
		if err != nil {
			return r, errors.Join(fmt.Errorf("task %s: %w", t.ID, err), lab.Watch(context.WithoutCancel(ctx), nil))
		}
		res := resultOf(findings)
		if short != "" {
			res.Passed, res.Undecided = false, true
			res.Reason = fmt.Sprintf("undecided, as the machine was short of processor (%s): %s", short, res.Reason)
		}
		done[t.ID], undecided[t.ID] = res.Passed, res.Undecided
		r.add(t, res, o)
	}
	return r, lab.Watch(ctx, nil)
}

// wanted are the tasks that are judged: all, or one with those that it needs.
func wanted(tasks []Task, only string) map[string]bool {
	out := map[string]bool{}
	for _, t := range tasks {
		out[t.ID] = only == ""
	}
	var want func(id string)
	want = func(id string) {
		for _, t := range tasks {
			if t.ID == id && !out[id] {
				out[id] = true
				for _, n := range t.Needs {
					want(n)
				}
			}
		}
	}
	want(only)
	return out
}

// attempt looks at a task until it has come true and stayed so, or its time is over.
func attempt(ctx context.Context, lab Lab, t Task, o *Options) (findings []Finding, moves []uint64, err error) {
	holdUntil, said := time.Time{}, false
	now, _, err := lab.Placement(ctx)
	if err != nil {
		return nil, nil, err
	}
	if text := moving(t, now); text != "" {
		o.say(text)
	}
	for late := time.Now().Add(t.Wait); ; {
		var made []uint64
		if o.Attempt != nil {
			o.Attempt(t.ID)
		}
		findings, made, err = look(ctx, lab, t, o)
		moves = append(moves, made...)
		if err != nil {
			return nil, moves, err
		}
		good := !slices.ContainsFunc(findings, func(f Finding) bool { return !f.Passed })
		if !good && hopeless(findings) {
			return findings, moves, nil
		}
		now := time.Now()
		switch {
		case good && holdUntil.IsZero():
			holdUntil = now.Add(t.Hold)
		case !good && !holdUntil.IsZero():
			for i := range findings {
				if !findings[i].Passed {
					findings[i].Reason = "it did not stay so: " + findings[i].Reason
				}
			}
			return findings, moves, nil
		}
		if good && !now.Before(holdUntil) || !good && !now.Before(late) {
			return findings, moves, nil
		}
		if !said {
			said = true
			o.say(waiting(t, findings))
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
			return nil, moves, ctx.Err()
		}
	}
}

// moving says where the checks of a task move the firewall, which is in now; empty where they leave it there.
func moving(t Task, now firewall.Placement) string {
	var to []string
	moves := false
	for _, p := range placements(t.Checks) {
		if p != nil {
			to, moves = append(to, p.String()), moves || *p != now
		}
	}
	for _, c := range t.Checks {
		if s, ok := c.Kind.(*Speed); ok {
			to, moves = append(to, s.Of.String()+" and "+s.In.String()+" in turn"), true
		}
	}
	if !moves {
		return ""
	}
	return fmt.Sprintf("%s: its checks are made in %s; then the firewall is put back", t.ID, strings.Join(to, ", "))
}

// hopeless says whether waiting is in vain: something cannot change, or nothing but answers is wrong, and they do not.
func hopeless(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.final }) ||
		!slices.ContainsFunc(findings, func(f Finding) bool { return !f.Passed && !f.answer })
}

// waiting says for what a task is looked at again, and at most how long.
func waiting(t Task, findings []Finding) string {
	i := slices.IndexFunc(findings, func(f Finding) bool { return !f.Passed && !f.answer })
	if i < 0 {
		return fmt.Sprintf("%s: it holds; looking for %s whether it stays so", t.ID, t.Hold)
	}
	return fmt.Sprintf("%s: waiting, at most %s: %s", t.ID, t.Wait, findings[i].Reason)
}

func (o *Options) say(text string) {
	if o.Say != nil {
		o.Say(text)
	}
}

// look judges a task's checks once: those of the present placement first, then those of each other one, which is undone
// again.
func look(ctx context.Context, lab Lab, t Task, o *Options) (out []Finding, moves []uint64, err error) {
	start, _, err := lab.Placement(ctx)
	if err != nil {
		return nil, nil, err
	}
	mover := &scene{ctx: context.WithoutCancel(ctx), lab: lab, options: o}
	defer func() { err = errors.Join(err, mover.move(start)); moves = append(moves, mover.ownMoves...) }()
	out = make([]Finding, len(t.Checks))
	for _, where := range placements(t.Checks) {
		s := &scene{ctx: ctx, lab: lab, options: o, answers: o.Answers, placement: start}
		var places []int
		for i, c := range t.Checks {
			if samePlacement(c.Placement, where) {
				s.checks, places = append(s.checks, c), append(places, i)
			}
		}
		to := start
		if where != nil {
			to, s.placement = *where, *where
		}
		if err := mover.move(to); err != nil {
			for _, i := range places {
				out[i] = Finding{Check: t.Checks[i].Kind.String(), Line: t.Checks[i].Line, Reason: fmt.Sprintf("the placement %s: %v", to, err), Look: "sluice place " + to.String(), doubt: true}
			}
			continue
		}
		findings, err := s.look()
		moves = append(moves, s.ownMoves...)
		if err != nil {
			return nil, moves, err
		}
		for i, f := range findings {
			out[places[i]] = f
		}
	}
	return out, moves, nil
}

// placements are those that the checks want, the present one first.
func placements(checks []Check) []*firewall.Placement {
	var out []*firewall.Placement
	for _, c := range checks {
		if !slices.ContainsFunc(out, func(p *firewall.Placement) bool { return samePlacement(p, c.Placement) }) {
			out = append(out, c.Placement)
		}
	}
	slices.SortStableFunc(out, func(a, b *firewall.Placement) int {
		switch {
		case (a == nil) == (b == nil):
			return 0
		case a == nil:
			return -1
		}
		return 1
	})
	return out
}

func samePlacement(a, b *firewall.Placement) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}
