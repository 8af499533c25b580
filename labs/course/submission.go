package course

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"sluice/labs"
	"sluice/labs/check"
	"sluice/vswitch/control"
)

// submission is one student's work on a lab, to be judged from its start.
type submission struct {
	ref    string
	work   labs.Work
	guests string
	task   string
	note   func(format string, args ...any)
}

// judge deploys the lab with the student's files under a name of its own, judges it, and destroys it. What was met on the way is the
// evidence, also where it failed.
func (s submission) judge(ctx context.Context) (l *labs.Lab, report check.Report, met *evidence, err error) {
	l, err = labs.LoadWork(s.ref, s.work)
	if err != nil {
		return nil, report, nil, err
	}
	if err := hasTask(l, s.task); err != nil {
		return l, report, nil, err
	}
	answers, err := l.Answers()
	if err != nil {
		return l, report, nil, err
	}
	name := fmt.Sprintf("%.20s-c%d", l.Name, os.Getpid())
	_, err = labs.Deploy(ctx, s.ref, labs.Options{Guests: s.guests, Name: name, Work: s.work}, func(what string) { s.note("  %s", what) })
	if err != nil {
		return l, report, nil, err
	}
	defer func() { err = errors.Join(err, labs.Destroy(name)) }()
	c, err := control.Dial(ctx, name)
	if err != nil {
		return l, report, nil, err
	}
	defer c.Close()
	met = &evidence{lab: &live{Client: c, lab: l}}
	report, err = judge(ctx, met, l, check.Options{Only: s.task, Answers: answers, Submission: true, Say: func(text string) { s.note("  %s", text) }})
	return l, report, met, errors.Join(err, met.end(context.WithoutCancel(ctx), c))
}

// checkWork is `lab check --with`.
func checkWork(cmd *cobra.Command, args []string, work labs.Work, guests, task string) (string, check.Report, error) {
	if len(args) == 0 {
		return "", check.Report{}, control.Errorf(control.BadInput, "which lab is the work of? sluice lab check LAB --with %s", work.Folder)
	}
	s := submission{ref: args[0], work: work, guests: guests, task: task, note: func(f string, a ...any) { note(cmd, f, a...) }}
	l, report, _, err := s.judge(cmd.Context())
	if l == nil {
		return "", report, err
	}
	return l.Name, report, err
}
