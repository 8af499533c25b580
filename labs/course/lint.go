package course

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sluice/firewall/fault"
	"sluice/labs"
	"sluice/labs/check"
	"sluice/labs/commands"
	"sluice/labs/labfile"
	"sluice/vswitch/cli"
)

func lintCommand(judges Judges) *cobra.Command {
	return &cobra.Command{
		Use:   "lint LAB",
		Short: "Check a lab's files, and look for tasks that prove nothing",
		Long: `Read a lab as a deploy would, and each overlay in it (solution, wrong-*, start/*). What cannot be right is an error with its place, and ends with 2.
Then look for checks that are allowed, but prove nothing; a finding ends with 1.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: commands.CompleteBuiltins,
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := cli.OutputOf(cmd)
			if err != nil {
				return err
			}
			l, err := labfile.Load(args[0])
			if err != nil {
				return err
			}
			var faults []check.LintFinding
			ownTasks := judges[labs.BuiltinName(l.Ref)] == nil
			for _, folder := range l.Overlays() {
				work, err := labfile.LoadWork(args[0], labfile.Work{Folder: folder})
				if err == nil && ownTasks {
					_, err = work.Answers()
				}
				if err != nil {
					return fault.Errorf(fault.BadInput, "overlay %s: %w", folder, err)
				}
				if folder == "solution" && ownTasks {
					faults = append(faults, lintSolution(l, work)...)
				}
			}
			faults = slices.Concat(check.Lint(l.Tasks), lintLab(l, ownTasks), lintHandedIn(l), faults)
			err = out.Print(faults, func(w io.Writer) {
				for _, f := range faults {
					fmt.Fprintf(w, "%s: %s\n", placeOf(l, f), f.Text)
				}
				fmt.Fprintf(w, "%s: %d tasks, %d findings\n", l.File, len(l.Tasks), len(faults))
			})
			if err == nil && len(faults) > 0 {
				err = &cli.ExitError{Code: int(fault.Failed)}
			}
			return err
		},
	}
}

// served are the ports at which a service of a guest answers over TCP.
var served = map[string][]uint16{"echo": {23, 7777}, "http": {80}, "iperf3": {5201}}

// lintLab looks for what is wrong with a lab beside what its checks prove: its name, ports that nobody serves, promises
// of wrong-*.
func lintLab(l *labfile.Lab, ownTasks bool) (out []check.LintFinding) {
	if labs.BuiltinName(l.Name) != "" && labs.BuiltinName(l.Ref) == "" {
		out = append(out, check.LintFinding{Text: fmt.Sprintf(
			"a built-in lab is called %s, and commands would mean that one: choose another name", l.Name)})
	}
	for _, t := range l.Tasks {
		for _, c := range t.Checks {
			if r, ok := c.Kind.(*check.Reach); ok && r.Proto == "tcp" && r.To.Guest && r.Expect == check.Open && !serves(l, r.To.Name, r.Port) {
				out = append(out, check.LintFinding{Task: t.ID, Line: c.Line, Text: fmt.Sprintf(
					"%s: no service of %s answers there; see services", r, r.To.Name)})
			}
		}
	}
	for _, folder := range l.Overlays() {
		if !strings.HasPrefix(folder, "wrong-") {
			continue
		}
		p, _, wrong := promiseOf(l, folder)
		if known := taskIDs(l); wrong == nil && ownTasks && !slices.Contains(known, p.Task) {
			text := fmt.Sprintf("the lab has no task %q%s", p.Task, fault.Instead(p.Task, known))
			wrong = &check.LintFinding{File: folder + "/expect.yaml", Line: p.taskAt, Text: text}
		}
		if wrong != nil {
			out = append(out, *wrong)
		}
	}
	return out
}

// placeOf is where a fault is: file, line and task, as far as they are known.
func placeOf(l *labfile.Lab, f check.LintFinding) string {
	place := l.File
	if f.File != "" {
		place = path.Join(path.Dir(l.File), f.File)
	}
	if f.Line > 0 {
		place += fmt.Sprintf(":%d", f.Line)
	}
	if f.Task != "" {
		place += ": task " + f.Task
	}
	return place
}

func taskIDs(l *labfile.Lab) (names []string) {
	for _, t := range l.Tasks {
		names = append(names, t.ID)
	}
	return names
}

// lintSolution looks for what keeps solution/ from full marks, as far as that shows without guests: fixed answers and
// policies.
func lintSolution(l, solution *labfile.Lab) (out []check.LintFinding) {
	answers, err := solution.Answers()
	if err != nil {
		return nil // it was told before
	}
	for _, t := range l.Tasks {
		for _, c := range t.Checks {
			text := ""
			switch k := c.Kind.(type) {
			case *check.Answer:
				got, given := answers[k.Name]
				if good, known := k.Fixed(got); !given {
					text = fmt.Sprintf("solution/answers.yaml lacks the answer %s", k.Name)
				} else if known && !good {
					text = fmt.Sprintf("the answer %s in solution/answers.yaml is not right", k.Name)
				}
			case *check.Policy:
				if f := k.Compare(solution.Policy); !f.Passed {
					text = "the policy of solution/ is not right: " + f.Reason
				}
			}
			if text != "" {
				out = append(out, check.LintFinding{Task: t.ID, Line: c.Line, Text: text})
			}
		}
	}
	return out
}

// lintHandedIn looks for hints that cost more than their task gives, and for files of students that nobody has.
func lintHandedIn(l *labfile.Lab) (out []check.LintFinding) {
	for _, t := range l.Tasks {
		cost := 0
		for _, h := range t.Hints {
			cost += h.Cost
		}
		if cost > t.Points {
			out = append(out, check.LintFinding{Text: fmt.Sprintf(
				"the hints of task %s cost %d points together, and it gives %d", t.ID, cost, t.Points)})
		}
	}
	for _, name := range l.Theirs {
		_, here := fs.Stat(l.Files, name)
		if _, solved := fs.Stat(l.Files, "solution/"+name); here != nil && solved != nil {
			out = append(out, check.LintFinding{Text: fmt.Sprintf("student names %s, which is neither in the lab's folder nor in solution/", name)})
		}
	}
	return out
}

// serves says whether a guest has a service that answers at a TCP port.
func serves(l *labfile.Lab, guest string, port uint16) bool {
	i := slices.IndexFunc(l.Guests, func(g labfile.Guest) bool { return g.Name == guest })
	return i >= 0 && slices.ContainsFunc(l.Guests[i].Services, func(s string) bool { return slices.Contains(served[s], port) })
}
