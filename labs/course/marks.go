package course

import (
	"encoding/csv"
	"encoding/xml"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"sluice/firewall/fault"
	"sluice/labs/check"
	"sluice/labs/labfile"
	"sluice/vswitch/cli"
)

// marksWriter is how `grade` writes, as --output says.
func marksWriter(cmd *cobra.Command) (func([]*labfile.Lab, []mark) error, error) {
	format, err := cmd.Flags().GetString("output")
	if err != nil {
		return nil, err
	}
	switch w := cmd.OutOrStdout(); format {
	case "csv":
		return func(l []*labfile.Lab, marks []mark) error { return marksCSV(w, l, marks) }, nil
	case "junit":
		return func(_ []*labfile.Lab, marks []mark) error { return marksJUnit(w, marks) }, nil
	}
	out, err := cli.OutputOf(cmd)
	if err != nil {
		return nil, err
	}
	return func(_ []*labfile.Lab, marks []mark) error {
		return out.Print(marks, func(w io.Writer) {
			g := cli.NewGrid("STUDENT", "LAB", ">POINTS", ">OF", ">HINTS", "FAILED", "WHY", "REMARKS")
			for _, m := range marks {
				failed, why := m.faults()
				g.Row(m.Student, m.Lab, m.points(), m.Of, m.Hints, strings.Join(failed, " "), why, strings.Join(m.Remarks, "; "))
			}
			g.Write(w, "")
		})
	}, nil
}

// points are what a row has as its mark.
func (m mark) points() string {
	if m.Undecided {
		return "undecided"
	}
	return strconv.Itoa(m.Points)
}

// marksCSV has a column for each task of the lab, so that every row has the same; where there are several labs, the
// lab's name stands before the task's.
func marksCSV(w io.Writer, list []*labfile.Lab, marks []mark) error {
	head := []string{"student", "points", "of"}
	var tasks [][2]string // lab, task
	for _, l := range list {
		for _, t := range tasksIn(l, marks) {
			name := t
			if len(list) > 1 {
				name = l.Name + "/" + t
			}
			head, tasks = append(head, name), append(tasks, [2]string{l.Name, t})
		}
	}
	rows := [][]string{append(head, "reason", "evidence", "lab", "hints", "drawn-for", "remarks")}
	for _, m := range marks {
		row := []string{cell(m.Student), m.points(), strconv.Itoa(m.Of)}
		for _, t := range tasks {
			row = append(row, m.pointsOf(t[0], t[1]))
		}
		_, why := m.faults()
		rows = append(rows, append(row, cell(why), cell(m.Evidence), m.Lab, strconv.Itoa(m.Hints), cell(m.DrawnFor), cell(strings.Join(m.Remarks, "; "))))
	}
	return csv.NewWriter(w).WriteAll(rows)
}

// tasksIn are the tasks of a lab: those in its file, or those that were judged.
func tasksIn(l *labfile.Lab, marks []mark) (out []string) {
	for _, t := range l.Tasks {
		out = append(out, t.ID)
	}
	for _, m := range marks {
		if out == nil && m.Lab == l.Name {
			for _, r := range m.Results {
				out = append(out, r.ID)
			}
		}
	}
	return out
}

// pointsOf is a cell: the points for a task; empty where the row is of another lab.
func (m mark) pointsOf(lab, task string) string {
	if m.Lab != lab {
		return ""
	}
	for _, r := range m.Results {
		switch {
		case r.ID != task:
		case r.Undecided:
			return "undecided"
		default:
			return strconv.Itoa(r.Points)
		}
	}
	return "0"
}

// junitSuites is a suite for each row.
type junitSuites struct {
	XMLName xml.Name `xml:"testsuites"`
	Suites  []junitSuite
}

// marksJUnit is JUnit XML, as CI systems read it. A work that could not be judged is a case that failed.
func marksJUnit(w io.Writer, marks []mark) error {
	var all junitSuites
	for _, m := range marks {
		name := fault.Clean(m.Student)
		if m.Lab != "" {
			name += "/" + m.Lab
		}
		results := m.Results
		if m.Error != "" {
			results = append([]check.Result{{ID: "submission", Reason: m.Error, Undecided: m.Undecided}}, results...)
		}
		all.Suites = append(all.Suites, suiteOf(name, check.Report{Results: results}))
	}
	return encodeXML(w, all)
}
