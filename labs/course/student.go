package course

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"sluice/firewall/fault"
	"sluice/labs/check"
	"sluice/labs/commands"
	"sluice/labs/labfile"
	"sluice/labs/running"
	"sluice/vswitch/cli"
	"sluice/vswitch/control"
)

// maxWords is how many words an answer on the command line may have.
const maxWords = 64

func answerCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "answer NAME VALUE...",
		Short:   "Give an answer that a task of the running lab asks for",
		Example: "  sluice lab answer hops 1",
		Args:    cobra.RangeArgs(2, 1+maxWords),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return namesOf(cmd, nil, (*labfile.Lab).AnswerNames)
		},
		RunE: withRunning(func(out *cli.Output, s *runningLab, args []string) error {
			name, words := args[0], args[1:]
			if known := s.lab.AnswerNames(); !slices.Contains(known, name) {
				return fault.Errorf(fault.BadInput, "no task of lab %s asks for an answer %q: %v", s.lab.Name, name, known)
			}
			if namesNothing(s.lab, name, words) {
				const nothing = "%q names nothing: give the two words themselves, as sluice lab answer %s ONE OTHER"
				return fault.Errorf(fault.BadInput, nothing, words[0], name)
			}
			for _, w := range words {
				if len(w) > labfile.MaxAnswer {
					return fault.Errorf(fault.BadInput, "an answer of %d bytes; at most %d are taken", len(w), labfile.MaxAnswer)
				}
			}
			s.progress.Answers[name] = words
			if len(s.progress.Answers) > labfile.MaxAnswers {
				return fault.Errorf(fault.BadInput, "more than %d answers", labfile.MaxAnswers)
			}
			if err := s.progress.save(); err != nil {
				return err
			}
			return out.Done(answered{s.lab.Name, name, words}, "noted; sluice lab check says whether it is right")
		}),
	}
}

// namesNothing says whether an answer is a word that gives no name, for each check that asks for it.
func namesNothing(l *labfile.Lab, name string, words []string) bool {
	return !slices.ContainsFunc(l.Tasks, func(t check.Task) bool {
		return slices.ContainsFunc(t.Checks, func(c check.Check) bool {
			a, ok := c.Kind.(*check.Answer)
			return ok && a.Name == name && !a.NamesNothing(words)
		})
	})
}

// answered is the answer of `lab answer`.
type answered struct {
	Lab    string   `json:"lab"`
	Name   string   `json:"name"`
	Values []string `json:"values"`
}

func hintCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "hint TASK",
		Short: "Ask for the next hint of a task; it may cost points",
		Args:  cobra.ExactArgs(1),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return namesOf(cmd, nil, taskNames)
		},
		RunE: withRunning(func(out *cli.Output, s *runningLab, args []string) error {
			if err := hasTask(s.lab, args[0]); err != nil {
				return err
			}
			h, err := s.progress.nextHint(taskOf(s.lab, args[0]))
			if err != nil {
				return err
			}
			if err := s.progress.save(); err != nil {
				return err
			}
			return out.Print(h, func(w io.Writer) { fmt.Fprintf(w, "%s (%s)\n", h.Text, pointsOf(h.Cost)) })
		}),
	}
}

// withRunning is a command about the lab that runs, and its student.
func withRunning(do func(out *cli.Output, s *runningLab, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		out, err := cli.OutputOf(cmd)
		if err != nil {
			return err
		}
		s, err := openRunning(cmd, nil)
		if err != nil {
			return err
		}
		defer s.close()
		return do(out, s, args)
	}
}

// taskOf is a task that the lab has.
func taskOf(l *labfile.Lab, id string) check.Task {
	return l.Tasks[slices.IndexFunc(l.Tasks, func(t check.Task) bool { return t.ID == id })]
}

// pointsOf is a price in words.
func pointsOf(n int) string {
	if n == 1 {
		return "1 point"
	}
	return fmt.Sprintf("%d points", n)
}

// givenHint is a hint that was asked for.
type givenHint struct {
	Text string `json:"text"`
	Cost int    `json:"cost"`
}

// nextHint gives the next hint that is open and that the student has not seen, and remembers that it was given. None is
// sold as long as one is free, the cheaper ones come first, and none is sold for a task that has passed.
func (p *progress) nextHint(t check.Task) (h givenHint, err error) {
	if p.Passed[t.ID] {
		return h, fault.Errorf(fault.Failed, "task %s has passed: it needs no hint", t.ID)
	}
	order := make([]int, len(t.Hints))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return t.Hints[a].Cost - t.Hints[b].Cost })
	waiting := false
	for _, i := range order {
		switch {
		case slices.Contains(p.Bought[t.ID], i) || slices.Contains(p.Shown[t.ID], i):
		case t.Open(i, p.Facts[t.ID], p.Tries[t.ID]):
			p.buy(t.ID, i)
			return givenHint{t.Hints[i].Text, t.Hints[i].Cost}, nil
		default:
			waiting = true
		}
	}
	if waiting {
		return h, fault.Errorf(fault.Failed, "there is no hint yet: try first, and check it with sluice lab check --task %s", t.ID)
	}
	return h, fault.Errorf(fault.Failed, "there are no more hints for %s: sluice lab check repeats what was given", t.ID)
}

// readme is the answer of `lab readme`.
type readme struct {
	Lab  string `json:"lab"`
	Text string `json:"text"` // Markdown
}

func readmeCommand() *cobra.Command {
	var student string
	var hints bool
	cmd := &cobra.Command{
		Use:               "readme [LAB]",
		Short:             "Show a lab's text, with the student's own parameters",
		Example:           "  sluice lab readme 01\n  sluice lab readme meet-the-switch",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: commands.CompleteBuiltins,
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := cli.OutputOf(cmd)
			if err != nil {
				return err
			}
			l, err := labOrRunning(cmd, args, student)
			if err != nil {
				return err
			}
			text, err := labfile.ReadBounded(l.Files, "README.md")
			if err != nil {
				return fault.Errorf(fault.BadInput, "lab %s has no README.md: %w", l.Name, err)
			}
			if text, err = l.Fill("README.md", text); err != nil {
				return err
			}
			return out.Markdown(readme{l.Name, string(text)}, string(text), "--hints shows it", hints)
		},
	}
	cmd.Flags().StringVar(&student, "student", "", "whose version of the lab")
	cmd.Flags().BoolVar(&hints, "hints", false, "on a terminal, also show what the text folds away")
	cli.CompleteFlags(cmd, cobra.NoFileCompletions, "student")
	return cmd
}

// labOrRunning is the lab that is named, deployed or not; without a name the one that runs.
func labOrRunning(cmd *cobra.Command, args []string, student string) (*labfile.Lab, error) {
	name := commands.Argument(cmd, args)
	if len(args) == 1 && !control.Running(name) {
		return labfile.LoadWork(args[0], labfile.Work{Student: student})
	}
	c, err := control.Dial(cmd.Context(), name)
	if err != nil {
		return nil, err
	}
	c.Close()
	return running.Deployed(c.Lab())
}
