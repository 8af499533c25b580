package course

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sluice/firewall/fault"
	"sluice/labs"
	"sluice/labs/check"
	"sluice/labs/commands"
	"sluice/labs/labfile"
	"sluice/labs/running"
	"sluice/vswitch/cli"
	"sluice/vswitch/control"
)

func checkCommand(judges Judges) *cobra.Command {
	s := &submission{judges: judges}
	var student, with string
	cmd := &cobra.Command{
		Use:   "check [LAB]",
		Short: "Check the tasks of a running lab, or those of a submission",
		Long: `Check the tasks of a running lab as it is now: a line for each, with PASS or FAIL, points, and the reason.

With --with FOLDER a submission is checked instead: the lab is deployed under another name with the files of that folder laid over
its own, checked, and destroyed.

Besides table, json and yaml, -o takes junit and csv. Exit codes: 0 all passed, 1 something failed, 2 nothing to check or bad
input, 3 this machine lacks something.`,
		Example:           "  sluice lab check\n  sluice lab check fast-vs-slow --task baseline\n  sluice lab check fast-vs-slow --with my-work",
		Args:              cobra.MaximumNArgs(1),
		Annotations:       map[string]string{cli.MoreFormats: "junit csv"},
		ValidArgsFunction: cli.CompleteLabs,
		RunE: func(cmd *cobra.Command, args []string) error {
			write, err := writerOf(cmd)
			if err != nil {
				return err
			}
			var report check.Report
			var name string
			if with != "" {
				s.work = labfile.Work{Student: student, Folder: with}
				name, report, err = checkWork(cmd, args, s)
			} else {
				name, report, err = checkRunning(cmd, args, judges, student, s.task)
			}
			if err != nil {
				return err
			}
			if err := write(name, report); err != nil {
				return err
			}
			if !report.Passed {
				return &cli.ExitError{Code: int(fault.Failed)}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&s.task, "task", "", "one task, with those that it needs")
	cmd.Flags().StringVar(&student, "student", "", "whose version of the lab; of a running one, whose it must be")
	cmd.Flags().StringVar(&with, "with", "", "a submission: a folder with the student's files")
	cmd.Flags().StringVar(&s.how.Guests, "guests", labfile.KindAuto, "with --with: what guests are, qemu, netns or auto")
	commands.BootFlag(cmd, &s.how, "with --with: ")
	commands.CompleteGuestsFlag(cmd)
	cli.CompleteFlags(cmd, completeTasks, "task")
	cli.CompleteFlags(cmd, cobra.NoFileCompletions, "student")
	cmd.MarkFlagDirname("with")
	return cmd
}

// checkRunning judges a lab as it is now, and remembers the try.
func checkRunning(cmd *cobra.Command, args []string, judges Judges, student, task string) (string, check.Report, error) {
	s, err := openRunning(cmd, args)
	if err != nil {
		return "", check.Report{}, err
	}
	defer s.close()
	if student != "" && student != s.lab.Work.Student {
		return "", check.Report{}, fault.Errorf(fault.BadInput, "lab %s was deployed for %s, not for %s: deploy it with --student",
			s.lab.Name, labfile.OrNobody(s.lab.Work.Student), student)
	}
	if judges[labs.BuiltinName(s.lab.Ref)] != nil {
		return "", check.Report{}, fault.Errorf(fault.BadInput, "the tasks of lab %s are about what you write, not about what runs: sluice lab check %s --with FOLDER",
			s.lab.Name, labs.BuiltinName(s.lab.Ref))
	}
	answers, err := s.answers()
	if err != nil {
		return "", check.Report{}, err
	}
	o := check.Options{Only: task, Answers: answers, Tries: s.progress.Tries, Bought: s.progress.Bought, OwnMoves: s.progress.OwnMoves}
	o.Say = func(text string) { note(cmd, "%s", text) }
	report, err := judge(cmd.Context(), &live{Client: s.client, lab: s.lab}, s.lab, o)
	s.progress.OwnMoves = report.OwnMoves
	for _, r := range report.Results {
		if !r.Skipped {
			s.progress.Facts[r.ID], s.progress.Passed[r.ID] = r.Facts, r.Passed
			s.progress.show(r.ID, r.Given)
		}
		if !r.Skipped && !r.Passed && !r.Undecided {
			s.progress.Tries[r.ID]++
		}
	}
	return s.lab.Name, report, errors.Join(err, s.progress.save())
}

// judge is check.Judge, for a lab that has tasks and knows the one that is asked for.
func judge(ctx context.Context, on check.Lab, l *labfile.Lab, o check.Options) (check.Report, error) {
	if err := hasTask(l, o.Only); err != nil {
		return check.Report{OwnMoves: o.OwnMoves}, err
	}
	o.Own, o.Strain = &l.Placement, strain
	r, err := check.Judge(ctx, on, l.Tasks, o)
	if ctx.Err() != nil {
		err = fault.Errorf(fault.Failed, "interrupted, after %d of %d tasks: what is not judged has no mark", len(r.Results), len(l.Tasks))
	}
	return r, err
}

// hasTask is an error where the lab has no tasks, or not the one that is asked for.
func hasTask(l *labfile.Lab, id string) error {
	if len(l.Tasks) == 0 {
		return fault.Errorf(fault.BadInput, "lab %s has no tasks: there is nothing to check", l.Name)
	}
	var ids []string
	for _, t := range l.Tasks {
		ids = append(ids, t.ID)
	}
	if id != "" && !slices.Contains(ids, id) {
		return fault.Errorf(fault.BadInput, "lab %s has no task %q: %s", l.Name, id, strings.Join(ids, ", "))
	}
	return nil
}

// namesOf are words of the lab that a command means: of the one that runs, or the built-in one that it names.
func namesOf(cmd *cobra.Command, args []string, words func(*labfile.Lab) []string) ([]string, cobra.ShellCompDirective) {
	l, err := labOrRunning(cmd, args, "")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return words(l), cobra.ShellCompDirectiveNoFileComp
}

// completeTasks completes the tasks of the lab that a command's argument means.
func completeTasks(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return namesOf(cmd, args, taskNames)
}

// taskNames are the tasks of a lab, each with its title.
func taskNames(l *labfile.Lab) (names []string) {
	for _, t := range l.Tasks {
		names = append(names, cobra.CompletionWithDesc(t.ID, t.Title))
	}
	return names
}

// runningLab is a lab that runs, with what is remembered of its student.
type runningLab struct {
	client   *control.Client
	lab      *labfile.Lab
	progress *progress
}

func openRunning(cmd *cobra.Command, args []string) (*runningLab, error) {
	c, err := control.Dial(cmd.Context(), commands.Argument(cmd, args))
	if err != nil {
		return nil, err
	}
	l, err := running.Deployed(c.Lab())
	if err != nil {
		c.Close()
		return nil, err
	}
	p, err := openProgress(c.Lab())
	if err != nil {
		c.Close()
		return nil, err
	}
	return &runningLab{c, l, p}, nil
}

func (s *runningLab) close() {
	s.progress.close()
	s.client.Close()
}

// answers are those in the lab's folder, and those that were given on the command line, which are newer.
func (s *runningLab) answers() (map[string][]string, error) {
	out, err := s.lab.Answers()
	if err != nil {
		return nil, err
	}
	maps.Copy(out, s.progress.Answers)
	return out, nil
}
