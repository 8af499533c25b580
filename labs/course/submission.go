package course

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"sluice/firewall/fault"
	"sluice/labs"
	"sluice/labs/check"
	"sluice/labs/labfile"
	"sluice/labs/running"
	"sluice/vswitch/control"
)

// Judge judges the answers to a lab whose tasks are not in its lab file: text is the student's answers.yaml, which
// messages call shown.
type Judge func(lab fs.FS, shown string, text []byte) (check.Report, error)

// Judges are those of labs that have one, by the lab's name.
type Judges map[string]Judge

// submission is one student's work on a lab, to be judged from its start.
type submission struct {
	ref     string
	work    labfile.Work
	how     running.Options // what guests are, and how they come up
	task    string
	graded  string // as whose it was handed in; empty where a student tries their own
	drawnBy string // whose parameters count where it does not say: drawnByFolder, drawnByNobody; empty refuses it
	judges  Judges
	note    func(format string, args ...any)
	cover   *labfile.Cover // once settled; nil is none
}

// runs numbers what this process deploys: several may be judged side by side.
var runs atomic.Int64

// judge deploys the lab with the student's files under a name of its own, judges it, and destroys it. What was met on
// the way is the evidence, also where it failed.
func (s *submission) judge(ctx context.Context) (l *labfile.Lab, report check.Report, met *evidence, err error) {
	met = &evidence{}
	if err := s.settle(); err != nil {
		return nil, report, met, err
	}
	if j := s.judges[labs.BuiltinName(s.ref)]; j != nil {
		return s.judgeAnswers(j, met)
	}
	l, err = labfile.LoadWork(s.ref, s.work)
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
	name := fmt.Sprintf("%.16s-c%d-%d", l.Name, os.Getpid(), runs.Add(1))
	if err := s.deploy(ctx, name, met); err != nil {
		return l, report, met, err
	}
	defer func() {
		begun := time.Now()
		gone := running.Destroy(name)
		met.did(begun, check.Output{}, gone, "sluice", "lab", "destroy", name)
		err = errors.Join(err, gone)
	}()
	c, err := control.Dial(ctx, name)
	if err != nil {
		return l, report, met, err
	}
	defer c.Close()
	met.lab = &live{Client: c, lab: l}
	o := check.Options{Only: s.task, Answers: answers, Bought: s.cover.Bought(), Submission: true, Attempt: met.tries, Say: func(text string) { s.note("  %s", text) }}
	report, err = judge(ctx, met, l, o)
	return l, report, met, errors.Join(err, met.end(context.WithoutCancel(ctx), c))
}

// judgeAnswers judges what needs no lab to run.
func (s *submission) judgeAnswers(j Judge, met *evidence) (l *labfile.Lab, report check.Report, _ *evidence, err error) {
	const file = "answers.yaml"
	if l, err = labfile.Load(s.ref); err != nil {
		return nil, report, met, err
	}
	var text []byte
	if l.Holds(s.work.Folder) {
		text, err = labfile.ReadBounded(l.Files, path.Join(s.work.Folder, file))
	} else {
		text, err = labfile.ReadHandedIn(s.work.Folder, file)
	}
	if err != nil {
		return l, report, met, err
	}
	if s.task != "" {
		return l, report, met, fault.Errorf(fault.BadInput, "the tasks of lab %s are judged together: leave out --task", l.Name)
	}
	report, err = j(l.Files, path.Join(s.work.Folder, file), text)
	return l, report, met, err
}

// deploy brings the submission up, and writes that into the log.
func (s *submission) deploy(ctx context.Context, name string, met *evidence) error {
	begun := time.Now()
	var said strings.Builder
	o := s.how
	o.Name, o.Work = name, s.work
	_, err := running.Deploy(ctx, s.ref, o, func(what string) {
		s.note("  %s", what)
		fmt.Fprintln(&said, what)
	})
	words := []string{"sluice", "lab", "deploy", s.ref, "--name", name, "--guests", o.Guests, "--student", s.work.Student}
	met.did(begun, check.Output{Stderr: said.String()}, err, words...)
	return err
}

// checkWork is `lab check --with`.
func checkWork(cmd *cobra.Command, args []string, s *submission) (string, check.Report, error) {
	if len(args) == 0 {
		return "", check.Report{}, fault.Errorf(fault.BadInput, "which lab is the work of? sluice lab check LAB --with %s", s.work.Folder)
	}
	s.ref, s.note = args[0], func(f string, a ...any) { note(cmd, f, a...) }
	l, report, _, err := s.judge(cmd.Context())
	if l == nil {
		return "", report, err
	}
	return l.Name, report, err
}
