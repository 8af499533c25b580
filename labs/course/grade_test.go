package course

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/xml"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sluice/firewall/fault"
	"sluice/labs/check"
	"sluice/labs/labfile"
	"sluice/labs/running"
)

// TestSubmissions: folders are students, in the order of their names, whatever these are; nothing else is.
func TestSubmissions(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"zoë", "ada lovelace", "=1+1", "a,b", "-x", ".git", "new\nline"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(dir, "linked")); err != nil {
		t.Fatal(err)
	}
	got, err := submissions(dir)
	if want := []string{"-x", "=1+1", "a,b", "ada lovelace", "new\nline", "zoë"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	for _, bad := range []string{t.TempDir(), filepath.Join(dir, "nowhere"), filepath.Join(dir, "notes.txt")} {
		if got, err := submissions(bad); fault.ClassOf(err) != fault.BadInput {
			t.Errorf("%s: %q, %v", bad, got, err)
		}
	}
}

// TestOddSubmissions: what is no work is a mark of 0 with the reason, and evidence; it does not end the grading, and
// nothing of it is followed, waited for or read whole.
func TestOddSubmissions(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(outside, []byte("default: allow\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		make func(dir string) error
		want string
	}{
		{"empty", func(string) error { return nil }, "holds none of a student's files"},
		{"a link out", func(dir string) error { return os.Symlink(outside, filepath.Join(dir, "policy.yaml")) }, "holds none of a student's files|escapes"},
		{"huge", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "policy.yaml"), bytes.Repeat([]byte("# long\n"), 5<<20), 0o600)
		}, "bytes"},
		{"a pipe", func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "policy.yaml"), 0o600) }, "not an ordinary file"},
		{"a folder", func(dir string) error { return os.Mkdir(filepath.Join(dir, "policy.yaml"), 0o700) }, "policy.yaml"},
		{"noise", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte("\x00\xff\x1b["), 0o600)
		}, "policy.yaml"},
		{"a lab file of noise", func(dir string) error { return os.WriteFile(filepath.Join(dir, "lab.yaml"), []byte("[[["), 0o600) }, "lab.yaml"},
		{"answers of noise", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "answers.yaml"), []byte("a: {b"), 0o600)
		}, "answers.yaml"},
		{"huge answers", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "answers.yaml"), bytes.Repeat([]byte("#\n"), 1<<20), 0o600)
		}, "answers.yaml"},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir, where := t.TempDir(), filepath.Join(t.TempDir(), "evidence")
			if err := c.make(dir); err != nil {
				t.Fatal(err)
			}
			s := &submission{ref: "fast-vs-slow", how: running.Options{Guests: "netns"}, work: labfile.Work{Folder: dir}, graded: "eve", note: func(string, ...any) {}}
			m, err := s.mark(t.Context(), mark{Student: "eve", Evidence: where, Of: 10})
			fits := slices.ContainsFunc(strings.Split(c.want, "|"), func(w string) bool { return strings.Contains(m.Error, w) })
			if err != nil || m.Points != 0 || m.Passed || m.Of != 10 || !fits {
				t.Errorf("%+v, %v; want %q", m, err, c.want)
			}
			if _, err := os.Stat(filepath.Join(where, "report.json")); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestMarksCSV: a column for each task in the lab's order, whatever of them a student has; and no cell that a
// spreadsheet would take for a formula.
func TestMarksCSV(t *testing.T) {
	l := &labfile.Lab{Name: "one", Tasks: []check.Task{{ID: "b"}, {ID: "a"}}}
	marks := []mark{
		{Student: "=1+1", Lab: "one", Hints: 1, DrawnFor: "-x", Remarks: []string{"drawn for -x"}, Points: 3, Of: 5, Evidence: "e/1", Results: []check.Result{{ID: "a", Points: 1, Passed: true}, {ID: "b", Points: 2, Reason: "no, \"not\" so\nat all"}}},
		{Student: "cat", Lab: "one", Of: 5, Undecided: true, Results: []check.Result{{ID: "a", Undecided: true}}},
		{Student: "bob", Lab: "one", Of: 5, Error: "@first\nsecond", Evidence: "-e"},
	}
	var out bytes.Buffer
	if err := marksCSV(&out, []*labfile.Lab{l}, marks); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	want := [][]string{
		{"student", "points", "of", "b", "a", "reason", "evidence", "lab", "hints", "drawn-for", "remarks"},
		{"'=1+1", "3", "5", "2", "1", "no, \"not\" so?at all", "e/1", "one", "1", "'-x", "drawn for -x"},
		{"cat", "undecided", "5", "0", "undecided", "", "", "one", "0", "", ""},
		{"bob", "0", "5", "0", "0", "'@first; second", "'-e", "one", "0", "", ""},
	}
	if err != nil || len(rows) != len(want) {
		t.Fatalf("%v: %q", err, rows)
	}
	for i := range want {
		if strings.Join(rows[i], "|") != strings.Join(want[i], "|") {
			t.Errorf("row %d is %q, want %q", i, rows[i], want[i])
		}
	}
}

// report has a task of each fate, with words that XML and CSV have to mask.
var report = check.Report{Points: 1, Of: 3, Results: []check.Result{
	{ID: "one", Passed: true, Points: 1, Of: 1},
	{ID: "two", Of: 1, Reason: `<a> & "b", ` + "\x1b[31mred", Findings: []check.Finding{{Line: 7, Reason: "<a>"}, {Line: 8, Passed: true}}},
	{ID: "three", Of: 1, Skipped: true, Reason: "it needs two"},
}}

func TestJUnit(t *testing.T) {
	var out bytes.Buffer
	if err := writeJUnit(&out, "lab", report); err != nil {
		t.Fatal(err)
	}
	var s junitSuite
	if err := xml.Unmarshal(out.Bytes(), &s); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if s.Name != "lab" || s.Tests != 3 || s.Failures != 1 || s.Skipped != 1 || len(s.Cases) != 3 {
		t.Errorf("%+v", s)
	}
	one, two, three := s.Cases[0], s.Cases[1], s.Cases[2]
	if one.Failure != nil || one.Skipped != nil || three.Failure != nil || three.Skipped == nil || three.Skipped.Message != "it needs two" {
		t.Errorf("%+v %+v", one, three)
	}
	if two.Failure == nil || !strings.HasPrefix(two.Failure.Message, `<a> & "b", `) || strings.Contains(two.Failure.Message, "\x1b") || two.Failure.Text != "line 7: <a>\n" {
		t.Errorf("%+v", two.Failure)
	}
}

func TestReportCSV(t *testing.T) {
	var out bytes.Buffer
	if err := writeCSV(&out, report); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 4 || strings.Join(rows[0], ",") != "task,result,points,of,reason" || strings.Join(rows[1], ",") != "one,PASS,1,1," ||
		rows[2][1] != "FAIL" || !strings.HasPrefix(rows[2][4], `<a> & "b", `) || strings.Contains(rows[2][4], "\x1b") {
		t.Errorf("%q, %v", rows, err)
	}
}

// TestSeeds: a student's lab is theirs, and the same each time.
func TestSeeds(t *testing.T) {
	params := func(student string) string {
		l, err := labfile.LoadWork("inspect", labfile.Work{Student: student})
		if err != nil {
			t.Fatal(err)
		}
		return l.Params["word"] + l.Params["bypass"]
	}
	drawn := map[string]bool{}
	for _, student := range []string{"ada", "bob", "eve", "zoë", "=1+1", "new\nline", "a b", "c", "d", "e"} {
		first, second := params(student), params(student)
		if first != second {
			t.Errorf("%q has another lab each time", student)
		}
		drawn[first] = true
	}
	if len(drawn) < 4 {
		t.Errorf("ten students have %d labs", len(drawn))
	}
}

// TestInterrupted: Ctrl-C ends a grading without a mark of what was not judged to its end, and says so.
func TestInterrupted(t *testing.T) {
	class := t.TempDir()
	for _, student := range []string{"ann", "ben", "cat"} {
		if err := os.Mkdir(filepath.Join(class, student), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(class, student, "answers.yaml"), []byte("a: 1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, interrupt := context.WithCancel(t.Context())
	judged := 0
	half := func(fs.FS, string, []byte) (check.Report, error) {
		if judged++; judged == 2 {
			interrupt()
		}
		return check.Report{Points: 3, Of: 4}, nil
	}
	var said []string
	g := &grading{
		judges: Judges{"billing": half}, of: "billing", where: filepath.Join(t.TempDir(), "e"), drawnBy: drawnByNobody,
		jobs: 1, labs: map[string]*labfile.Lab{},
	}
	g.note = func(f string, a ...any) { said = append(said, fmt.Sprintf(f, a...)) }
	list, err := g.list(class)
	if err != nil {
		t.Fatal(err)
	}
	marks, err := g.all(ctx, list)
	const begins = "interrupted: 1 of 3 were judged, and no marks are written"
	if marks != nil || fault.ClassOf(err) != fault.Failed || !strings.HasPrefix(err.Error(), begins) {
		t.Errorf("%+v, %v", marks, err)
	}
	if want := []string{"1 of 3: ann, billing: 3 of 4 points"}; !slices.Equal(said, want) {
		t.Errorf("said %q, want %q", said, want)
	}
	if judged != 2 {
		t.Errorf("%d were judged", judged)
	}
}
