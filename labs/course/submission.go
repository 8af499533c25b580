package course

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

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
	met = &evidence{}
	l, err = labs.LoadWork(s.ref, s.work)
	if err != nil {
		return nil, report, met, err
	}
	if err := hasTask(l, s.task); err != nil {
		return l, report, met, err
	}
	answers, err := l.Answers()
	if err != nil {
		return l, report, met, err
	}
	name := fmt.Sprintf("%.20s-c%d", l.Name, os.Getpid())
	if err := s.deploy(ctx, name, met); err != nil {
		return l, report, met, err
	}
	defer func() {
		begun := time.Now()
		gone := labs.Destroy(name)
		met.did(begun, check.Output{}, gone, "sluice", "lab", "destroy", name)
		err = errors.Join(err, gone)
	}()
	c, err := control.Dial(ctx, name)
	if err != nil {
		return l, report, met, err
	}
	defer c.Close()
	met.lab = &live{Client: c, lab: l}
	o := check.Options{Only: s.task, Answers: answers, Submission: true, Attempt: met.tries, Say: func(text string) { s.note("  %s", text) }}
	report, err = judge(ctx, met, l, o)
	return l, report, met, errors.Join(err, met.end(context.WithoutCancel(ctx), c))
}

// deploy brings the submission up, and writes that into the log.
func (s submission) deploy(ctx context.Context, name string, met *evidence) error {
	begun := time.Now()
	var said strings.Builder
	_, err := labs.Deploy(ctx, s.ref, labs.Options{Guests: s.guests, Name: name, Work: s.work}, func(what string) {
		s.note("  %s", what)
		fmt.Fprintln(&said, what)
	})
	words := []string{"sluice", "lab", "deploy", s.ref, "--name", name, "--guests", s.guests, "--student", s.work.Student}
	met.did(begun, check.Output{Stderr: said.String()}, err, words...)
	return err
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
