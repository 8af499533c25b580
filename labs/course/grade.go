package course

import (
	"context"
	"encoding/csv"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"sluice/labs"
	"sluice/labs/check"
	"sluice/vswitch/cli"
	"sluice/vswitch/control"
)

// maxSubmissions bounds a class.
const maxSubmissions = 2000

// mark is one student's row.
type mark struct {
	Student  string         `json:"student"`
	Points   int            `json:"points"`
	Of       int            `json:"of"`
	Passed   bool           `json:"passed"`
	Error    string         `json:"error,omitempty"` // why the work could not be judged at all
	Results  []check.Result `json:"tasks"`
	Evidence string         `json:"evidence"`                   // a folder
	Missing  []string       `json:"evidence_missing,omitempty"` // what was met and is not kept
}

func gradeCommand() *cobra.Command {
	var of, guests, where string
	cmd := &cobra.Command{
		Use:   "grade FOLDER",
		Short: "Check many submissions, and write a row for each student",
		Long: `Check every submission in a folder: each folder in it is one, and its name is the student's. The lab is deployed anew for each, with
the student's parameters and files. What was met on the way is kept as evidence: frames, walks, receipts, commands.

Which lab they are of is what sluice lab submit has put into them, or the name of FOLDER; --of overrides both, and is needed for a
lab that is not built in.

-o csv is a row for each student; table, json and yaml are taken, too.`,
		Example: "  sluice lab grade handed-in -o csv > marks.csv\n  sluice lab grade handed-in --of ./my-lab",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			write, err := marksWriter(cmd)
			if err != nil {
				return err
			}
			if err := labs.CheckKind(guests); err != nil {
				return err
			}
			students, err := submissions(args[0])
			if err != nil {
				return err
			}
			if of == "" {
				if of, err = labOf(args[0], students); err != nil {
					return err
				}
				note(cmd, "submissions to %s", of)
			}
			l, err := labs.Load(of)
			if err != nil {
				return err
			}
			if err := hasTask(l, ""); err != nil {
				return err
			}
			if where == "" {
				where = filepath.Clean(args[0]) + "-evidence"
			}
			marks, err := gradeAll(cmd, students, l, guests, args[0], where)
			if err != nil {
				return err
			}
			if err := write(l, marks); err != nil {
				return err
			}
			for _, m := range marks {
				if !m.Passed {
					return &cli.ExitError{Code: int(control.Failed)}
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&of, "of", "", "the lab, built in or a folder, instead of what the submissions and FOLDER are called")
	cmd.Flags().StringVar(&guests, "guests", labs.KindAuto, "what guests are: qemu, netns or auto")
	cmd.Flags().StringVar(&where, "evidence", "", "the folder for evidence (default: FOLDER-evidence)")
	return cmd
}

// submissions are the folders in a folder, by name.
func submissions(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, control.Errorf(control.BadInput, "open submissions: %w", err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			out = append(out, e.Name())
		}
	}
	if len(out) == 0 || len(out) > maxSubmissions {
		return nil, control.Errorf(control.BadInput, "%s has %d folders with submissions; 1 to %d are taken", folder, len(out), maxSubmissions)
	}
	return out, nil
}

// gradeAll judges one submission after the other. Only what the machine lacks ends it: a work that cannot be judged is a mark, too.
func gradeAll(cmd *cobra.Command, students []string, of *labs.Lab, guests, folder, where string) ([]mark, error) {
	var marks []mark
	total := 0
	for _, t := range of.Tasks {
		total += t.Points
	}
	for i, student := range students {
		note(cmd, "%d of %d: %s", i+1, len(students), student)
		s := submission{
			ref: of.Ref, guests: guests, work: labs.Work{Student: student, Folder: filepath.Join(folder, student)},
			note: func(f string, a ...any) { note(cmd, f, a...) },
		}
		m, err := s.mark(cmd.Context(), student, filepath.Join(where, student), total)
		if err != nil {
			return nil, err
		}
		marks = append(marks, m)
	}
	return marks, nil
}

// mark judges the work and writes the evidence.
func (s submission) mark(ctx context.Context, student, where string, of int) (mark, error) {
	_, report, met, err := s.judge(ctx)
	m := mark{Student: student, Points: report.Points, Of: of, Passed: report.Passed && err == nil, Results: report.Results, Evidence: where}
	if err != nil {
		if ctx.Err() != nil || control.ClassOf(err) == control.Lacks {
			return m, err
		}
		m.Error, m.Points = err.Error(), 0
	}
	if err := met.write(where, m); err != nil {
		return m, control.Errorf(control.Failed, "write the evidence of %s: %w", student, err)
	}
	return m, nil
}

// marksWriter is how `grade` writes, as --output says.
func marksWriter(cmd *cobra.Command) (func(*labs.Lab, []mark) error, error) {
	format, err := cmd.Flags().GetString("output")
	if err != nil {
		return nil, err
	}
	if format == "csv" {
		return func(l *labs.Lab, marks []mark) error { return marksCSV(cmd.OutOrStdout(), l, marks) }, nil
	}
	out, err := cli.OutputOf(cmd)
	if err != nil {
		return nil, err
	}
	return func(_ *labs.Lab, marks []mark) error {
		return out.Print(marks, func(w io.Writer) {
			g := cli.NewGrid("STUDENT", ">POINTS", ">OF", "FAILED", "WHY")
			for _, m := range marks {
				failed, why := m.faults()
				g.Row(m.Student, m.Points, m.Of, strings.Join(failed, " "), why)
			}
			g.Write(w, "")
		})
	}, nil
}

// faults are the tasks that have not passed, and why the first has not.
func (m mark) faults() (failed []string, why string) {
	why, _, _ = strings.Cut(m.Error, "\n")
	for _, r := range m.Results {
		if !r.Passed {
			failed = append(failed, r.ID)
			if why == "" {
				why = r.Reason
			}
		}
	}
	return failed, why
}

// marksCSV has a column for each task of the lab, so that every row has the same.
func marksCSV(w io.Writer, l *labs.Lab, marks []mark) error {
	head := []string{"student", "points", "of"}
	for _, t := range l.Tasks {
		head = append(head, t.ID)
	}
	rows := [][]string{append(head, "reason", "evidence")}
	for _, m := range marks {
		row := []string{cell(m.Student), strconv.Itoa(m.Points), strconv.Itoa(m.Of)}
		for _, t := range l.Tasks {
			points := "0"
			for _, r := range m.Results {
				if r.ID == t.ID {
					points = strconv.Itoa(r.Points)
				}
			}
			row = append(row, points)
		}
		_, why := m.faults()
		rows = append(rows, append(row, cell(why), cell(m.Evidence)))
	}
	return csv.NewWriter(w).WriteAll(rows)
}
