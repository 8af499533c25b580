package course

import (
	"encoding/csv"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"sluice/firewall/fault"
	"sluice/labs/check"
	"sluice/vswitch/cli"
)

// writerOf is how a command writes a report, as --output says: junit and csv beside what every command takes.
func writerOf(cmd *cobra.Command) (func(lab string, r check.Report) error, error) {
	format, err := cmd.Flags().GetString("output")
	if err != nil {
		return nil, err
	}
	w := cmd.OutOrStdout()
	switch format {
	case "junit":
		return func(lab string, r check.Report) error { return writeJUnit(w, lab, r) }, nil
	case "csv":
		return func(_ string, r check.Report) error { return writeCSV(w, r) }, nil
	}
	out, err := cli.OutputOf(cmd)
	if err != nil {
		return nil, fmt.Errorf("%w; here also junit and csv", err)
	}
	return func(lab string, r check.Report) error {
		type named struct {
			Lab string `json:"lab"`
			check.Report
		}
		return out.Print(named{lab, r}, func(w io.Writer) { writeTable(w, out, r) })
	}, nil
}

// writeTable is a line for each task, and below it what helps.
func writeTable(w io.Writer, out *cli.Output, r check.Report) {
	width := 0
	for _, t := range r.Results {
		width = max(width, len(t.ID))
	}
	for _, t := range r.Results {
		word, color := resultWord(t), cli.Good
		switch {
		case t.Undecided:
			color = cli.Warn
		case !t.Passed:
			color = cli.Bad
		}
		fmt.Fprintf(w, "%s  %-*s  %*s", out.Paint(color, word), width, t.ID, 7, fmt.Sprintf("%d/%d", t.Points, t.Of))
		if t.Reason == "" {
			fmt.Fprintf(w, "  %s\n", fault.Clean(t.Title))
			continue
		}
		fmt.Fprintf(w, "  %s\n", fault.Clean(t.Reason))
		if t.Look != "" {
			fmt.Fprintf(w, "      look: %s\n", fault.Clean(t.Look))
		}
		for _, h := range t.Hints {
			fmt.Fprintf(w, "      hint: %s\n", fault.Clean(h))
		}
		if t.ForSale > 0 {
			fmt.Fprintf(w, "      there is a hint that costs points: sluice lab hint %s\n", t.ID)
		}
	}
	fmt.Fprintf(w, "%d of %d points", r.Points, r.Of)
	if r.Hints > 0 {
		fmt.Fprintf(w, "; hints that were asked for cost %s", pointsOf(r.Hints))
	}
	if r.Undecided {
		fmt.Fprint(w, "; what is undecided has none yet: check again when the machine is less busy")
	}
	fmt.Fprintln(w)
}

// junitSuite is JUnit XML, as CI systems read it.
type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Failure *junitMessage `xml:"failure"`
	Skipped *junitMessage `xml:"skipped"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func writeJUnit(w io.Writer, lab string, r check.Report) error { return encodeXML(w, suiteOf(lab, r)) }

// suiteOf has a case for each task. One that is undecided was skipped: it is no failure.
func suiteOf(name string, r check.Report) junitSuite {
	s := junitSuite{Name: name, Tests: len(r.Results)}
	for _, t := range r.Results {
		c := junitCase{Name: t.ID, Class: name}
		text := ""
		for _, f := range t.Findings {
			if !f.Passed {
				text += fmt.Sprintf("line %d: %s\n", f.Line, fault.Clean(f.Reason))
			}
		}
		switch {
		case t.Skipped, t.Undecided:
			c.Skipped, s.Skipped = &junitMessage{Message: fault.Clean(t.Reason)}, s.Skipped+1
		case !t.Passed:
			c.Failure, s.Failures = &junitMessage{fault.Clean(t.Reason), text}, s.Failures+1
		}
		s.Cases = append(s.Cases, c)
	}
	return s
}

func encodeXML(w io.Writer, v any) error {
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func writeCSV(w io.Writer, r check.Report) error {
	out := csv.NewWriter(w)
	rows := [][]string{{"task", "result", "points", "of", "reason"}}
	for _, t := range r.Results {
		rows = append(rows, []string{t.ID, resultWord(t), strconv.Itoa(t.Points), strconv.Itoa(t.Of), cell(t.Reason)})
	}
	return out.WriteAll(rows)
}

func resultWord(t check.Result) string {
	switch {
	case t.Passed:
		return "PASS"
	case t.Undecided:
		return "UNDECIDED"
	}
	return "FAIL"
}

// cell is a text that a spreadsheet takes for a text, whatever a student made of it.
func cell(s string) string {
	s = fault.Clean(s)
	if s != "" && (s[0] == '=' || s[0] == '+' || s[0] == '-' || s[0] == '@' || s[0] == '\t') {
		return "'" + s
	}
	return s
}
