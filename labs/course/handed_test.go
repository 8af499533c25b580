package course

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/labs/labfile"
)

// classOf makes a folder of submissions: by path, what a file has.
func classOf(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// coverOf is the cover sheet of a student's work on a lab.
func coverOf(t *testing.T, lab, student string) string {
	t.Helper()
	l, err := labfile.LoadWork(lab, labfile.Work{Student: student})
	if err != nil {
		t.Fatal(err)
	}
	return string((&labfile.Cover{Lab: l.Name, Student: student, Params: l.Params}).Text())
}

// TestGather: a row for each student and lab, in whatever layout the work comes.
func TestGather(t *testing.T) {
	every, err := labfile.Load("../running/testdata/every")
	if err != nil {
		t.Fatal(err)
	}
	cover := func(lab, student string) string { return coverOf(t, lab, student) }
	for _, c := range []struct {
		what  string
		files map[string]string
		of    *labfile.Lab
		want  string // STUDENT:LAB:FOLDER, with ! where it cannot be judged
	}{
		{"flat", map[string]string{"ada/submission.yaml": cover("push", "ada"), "bob/answers.yaml": "a: b"}, nil, "ada:push:ada bob:push:bob"},
		{"by lab, by what folders are called", map[string]string{"ada/push/answers.yaml": "", "ada/05/answers.yaml": "", "bob/05-blind-spot/policy.yaml": ""}, nil,
			"ada:blind-spot:ada/05 ada:push:ada/push bob:blind-spot:bob/05-blind-spot bob:push:!"},
		{"by lab, by cover sheets", map[string]string{"ada/one/submission.yaml": cover("push", "ada"), "ada/two/submission.yaml": cover("blind-spot", "ada")}, nil,
			"ada:blind-spot:ada/two ada:push:ada/one"},
		{"in a folder more", map[string]string{"ada/my-work/push/answers.yaml": "", "bob/bob/submission.yaml": cover("push", "bob")}, nil,
			"ada:push:ada/my-work/push bob:push:bob/bob"},
		{"both layouts", map[string]string{"ada/submission.yaml": cover("push", "ada"), "bob/push/policy.yaml": ""}, nil, "ada:push:ada bob:push:bob/push"},
		{"empty", map[string]string{"ada/submission.yaml": cover("push", "ada"), "bob/": ""}, nil, "ada:push:ada bob:push:bob"},
		{"empty, of two labs", map[string]string{"ada/push/answers.yaml": "", "ada/05/answers.yaml": "", "bob/": ""}, nil,
			"ada:blind-spot:ada/05 ada:push:ada/push bob:blind-spot:! bob:push:!"},
		{"of no known lab, of two", map[string]string{"ada/push/answers.yaml": "", "ada/05/answers.yaml": "", "bob/answers.yaml": ""}, nil,
			"ada:blind-spot:ada/05 ada:push:ada/push bob:blind-spot:! bob:push:! bob::bob!"},
		{"one lab only", map[string]string{"ada/push/answers.yaml": "", "ada/05/answers.yaml": "", "bob/answers.yaml": ""}, mustLoad(t, "push"), "ada:push:ada/push bob:push:bob"},
		{"twice", map[string]string{"ada/a/submission.yaml": cover("push", "ada"), "ada/b/submission.yaml": cover("push", "ada")}, nil, "ada:push:ada/a!"},
		{"that disagree", map[string]string{"ada/submission.yaml": cover("push", "ada"), "ada/lab.yaml": "name: blind-spot", "bob/submission.yaml": cover("push", "bob")}, nil,
			"ada:push:ada! bob:push:bob"},
		{"a sheet of noise", map[string]string{"ada/submission.yaml": "[[[", "bob/submission.yaml": cover("push", "bob")}, nil, "ada:push:ada! bob:push:bob"},
		{"a lab that is not built in", map[string]string{"ada/lab.yaml": "name: mine", "bob/lab.yaml": "name: push"}, nil, "ada:push:ada! bob:push:bob"},
		{"the same, given", map[string]string{"ada/lab.yaml": "name: every", "bob/policy.yaml": ""}, every, "ada:every:ada bob:every:bob"},
		{"odd names", map[string]string{"-x/lab.yaml": "name: push", "zoë y/lab.yaml": "name: push", "..a/lab.yaml": "name: push", ".git/lab.yaml": "name: push"}, nil,
			"-x:push:-x zoë y:push:zoë y"},
	} {
		dir := classOf(t, c.files)
		students, err := submissions(dir)
		if err != nil {
			t.Fatal(err)
		}
		list, err := gather(dir, students, c.of)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		var got []string
		for _, h := range list {
			folder, _ := filepath.Rel(dir, h.folder)
			if h.folder == "" {
				folder = ""
			}
			mark := map[bool]string{true: "!", false: ""}[h.fault != nil]
			got = append(got, fmt.Sprintf("%s:%s:%s%s", h.student, h.lab, folder, mark))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s\nwant %s", c.what, s, c.want)
		}
	}
	dir := classOf(t, map[string]string{"ada/answers.yaml": "", "bob/answers.yaml": ""})
	if _, err := gather(dir, []string{"ada", "bob"}, nil); err == nil || !strings.Contains(err.Error(), "of which lab?") {
		t.Errorf("nobody says: %v", err)
	}
}

func mustLoad(t *testing.T, lab string) *labfile.Lab {
	t.Helper()
	l, err := labfile.Load(lab)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestSettle: whose version is judged, when a student tries their own work and when it is graded, is the same whatever
// folders are called; where that is not known it is refused, and nobody gains by another's name unseen.
func TestSettle(t *testing.T) {
	for _, c := range []struct {
		what     string
		lab      string
		cover    string // of whom; "-" is no sheet
		edit     [2]string
		graded   string
		asked    string
		drawnBy  string
		want     string // the student
		err      string
		remarked string
	}{
		{what: "own", lab: "blind-spot", cover: "ada", graded: "ada", want: "ada"},
		{what: "handed in under another name", lab: "blind-spot", cover: "ada", graded: "lovelace-17", want: "ada", remarked: "drawn for ada"},
		{what: "nobody's", lab: "blind-spot", cover: "", graded: "ada", want: "", remarked: "drawn for nobody"},
		{what: "the student's check", lab: "blind-spot", cover: "ada", want: "ada"},
		{what: "the student's check, as another", lab: "blind-spot", cover: "ada", asked: "bob", err: "says that it is of ada, and --student says bob"},
		{what: "the student's check, no sheet", lab: "blind-spot", cover: "-", asked: "bob", want: "bob"},
		{what: "no sheet", lab: "blind-spot", cover: "-", graded: "ada", err: "does not say for whom the lab's parameters were drawn"},
		{what: "no sheet, by the folder", lab: "blind-spot", cover: "-", graded: "ada", drawnBy: "folder", want: "ada", remarked: "no submission.yaml"},
		{what: "no sheet, nobody's", lab: "blind-spot", cover: "-", graded: "ada", drawnBy: "nobody", want: "", remarked: "no submission.yaml"},
		{what: "no sheet, nothing is drawn", lab: "push", cover: "-", graded: "ada", want: "", remarked: "no submission.yaml"},
		{what: "nothing is drawn", lab: "push", cover: "bob", graded: "ada", want: "bob"},
		{what: "another name", lab: "inspect", cover: "ada", edit: [2]string{`"ada"`, `"x"`}, graded: "ada", err: "for x, and in this lab it is"},
		{what: "an edit", lab: "blind-spot", cover: "ada", edit: [2]string{"seal: ", "seal: 0"}, graded: "ada", want: "ada", remarked: "edited by hand"},
	} {
		files := map[string]string{"w/answers.yaml": "{}\n"}
		if c.cover != "-" {
			text := coverOf(t, c.lab, c.cover)
			if c.edit[0] != "" {
				text = strings.ReplaceAll(text, c.edit[0], c.edit[1])
			}
			files["w/"+labfile.CoverFile] = text
		}
		s := &submission{ref: c.lab, work: labfile.Work{Student: c.asked, Folder: filepath.Join(classOf(t, files), "w")}, graded: c.graded, drawnBy: c.drawnBy, note: func(string, ...any) {}}
		err := s.settle()
		got := strings.Join(s.remarks(c.lab != "push"), "; ")
		switch {
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%s: %v, want %q", c.what, err, c.err)
		case c.err == "" && (err != nil || s.work.Student != c.want):
			t.Errorf("%s: %q, %v; want %q", c.what, s.work.Student, err, c.want)
		case c.err == "" && (!strings.HasPrefix(got, c.remarked) && !strings.HasSuffix(got, c.remarked) || c.remarked == "" && got != ""):
			t.Errorf("%s: remarked %q, want %q", c.what, got, c.remarked)
		}
	}
}
