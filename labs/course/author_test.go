package course

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sluice/labs"
	"sluice/labs/check"
	"sluice/labs/labfile"
)

// TestInit: what lab init makes is called as its folder, lints, and its solution and wrong ways are told apart by their
// policies.
func TestInit(t *testing.T) {
	for base, name := range map[string]string{"first-steps": "first-steps", "My Lab": "my-lab", "push": "my-lab"} {
		dir := filepath.Join(t.TempDir(), base)
		if err := makeLab(dir); err != nil {
			t.Fatal(err)
		}
		l, err := labfile.Load(dir)
		if err != nil || l.Name != name {
			t.Fatalf("%s: %+v, %v", base, l, err)
		}
		if found := append(check.Lint(l.Tasks), lintLab(l, true)...); len(found) > 0 {
			t.Errorf("%s: %+v", base, found)
		}
		if len(l.Overlays()) != 3 {
			t.Errorf("%s: %v", base, l.Overlays())
		}
		for _, folder := range l.Overlays() {
			work, err := labfile.LoadWork(dir, labfile.Work{Folder: folder})
			if err != nil {
				t.Fatal(err)
			}
			last := work.Tasks[0].Checks[len(work.Tasks[0].Checks)-1].Kind.(*check.Policy)
			if f := last.Compare(work.Policy); f.Passed != (folder == "solution") {
				t.Errorf("%s/%s: %+v", base, folder, f)
			}
		}
		if err := makeLab(dir); err == nil || !strings.Contains(err.Error(), "is not empty") {
			t.Errorf("once more: %v", err)
		}
	}
}

// TestLintLab: a built-in's name, a port that nobody serves, and promises that cannot be kept; the built-in labs have
// none of it.
func TestLintLab(t *testing.T) {
	for _, c := range []struct{ file, from, to, want string }{
		{"lab.yaml", "name: mine", "name: push", "mine/lab.yaml: a built-in lab is called push"},
		{"lab.yaml", "services: [http, echo]", "services: [echo]",
			": tcp from client to server port 80 is open: no service of server answers there"},
		{"wrong-all-allowed/expect.yaml", "web-only", "web-olny",
			`mine/wrong-all-allowed/expect.yaml:1: the lab has no task "web-olny"; did you mean web-only?`},
		{"wrong-all-allowed/expect.yaml", "reason:", "raeson:", `mine/wrong-all-allowed/expect.yaml:2: a promise has no key "raeson"`},
		{"wrong-all-allowed/expect.yaml", ".*", "(", "mine/wrong-all-allowed/expect.yaml:2: reason: "},
		{"wrong-all-allowed/expect.yaml", "", "", "mine/wrong-all-allowed/expect.yaml: it is missing"},
	} {
		dir := filepath.Join(t.TempDir(), "mine")
		if err := makeLab(dir); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, c.file)
		text, err := os.ReadFile(path)
		if err == nil && c.from != "" {
			err = os.WriteFile(path, []byte(strings.ReplaceAll(string(text), c.from, c.to)), 0o600)
		} else if err == nil {
			err = os.Remove(path)
		}
		if err != nil {
			t.Fatal(err)
		}
		l, err := labfile.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		if found := lintLab(l, true); len(found) != 1 || !strings.Contains(placeOf(l, found[0])+": "+found[0].Text, c.want) {
			t.Errorf("%s with %q: %+v, want %q", c.file, c.to, found, c.want)
		}
	}
	for _, name := range labs.BuiltinNames() {
		l, err := labfile.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		found := append(lintLab(l, len(l.Tasks) > 0), lintHandedIn(l)...)
		if solution, err := labfile.LoadWork(name, labfile.Work{Folder: "solution"}); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if len(l.Tasks) > 0 {
			found = append(found, lintSolution(l, solution)...)
		}
		if len(found) > 0 {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

// TestLintSolution: what keeps a solution from full marks is found where no guest is needed, as are hints that cost
// more than there is to gain, and files of students that nobody has.
func TestLintSolution(t *testing.T) {
	const answer = "      - answer: {name: port, number: 80}\n      - policy:"
	for _, c := range []struct{ what, from, to, answers, want string }{
		{"an answer is missing", "      - policy:", answer, "", "solution/answers.yaml lacks the answer port"},
		{"an answer is wrong", "      - policy:", answer, "port: 81", "the answer port in solution/answers.yaml is not right"},
		{"an answer is right", "      - policy:", answer, "port: 80", ""},
		{"the policy is wrong", "as: solution/", "as: wrong-whole-segment/", "", "the policy of solution/ is not right: the policy "},
		{"dear hints", "cost: 1", "cost: 3", "", "the hints of task web-only cost 3 points together, and it gives 2"},
		{"a file of nobody", "placement: fast", "placement: fast\nstudent: [policy.yaml, notes.txt]", "", "student names notes.txt, which is neither"},
	} {
		dir := filepath.Join(t.TempDir(), "mine")
		if err := makeLab(dir); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "lab.yaml")
		text, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, []byte(strings.Replace(string(text), c.from, c.to, 1)), 0o600)
		}
		if err == nil && c.answers != "" {
			err = os.WriteFile(filepath.Join(dir, "solution/answers.yaml"), []byte(c.answers), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		l, err := labfile.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		solution, err := labfile.LoadWork(dir, labfile.Work{Folder: "solution"})
		if err != nil {
			t.Fatal(err)
		}
		found := append(lintHandedIn(l), lintSolution(l, solution)...)
		if c.want == "" && len(found) > 0 || c.want != "" && (len(found) != 1 || !strings.HasPrefix(found[0].Text, c.want)) {
			t.Errorf("%s: %+v, want %q", c.what, found, c.want)
		}
	}
}

// TestKept: a promise is kept by what came, and never by what is undecided.
func TestKept(t *testing.T) {
	reason := regexp.MustCompile("is dropped")
	failed := &check.Result{ID: "a", Reason: "it is dropped"}
	open := &check.Result{ID: "a", Reason: "undecided: it is dropped", Undecided: true}
	for _, c := range []struct {
		what   string
		first  *check.Result
		fails  bool
		reason *regexp.Regexp
		want   bool
	}{
		{"passes", nil, false, nil, true},
		{"passes, unsolved", nil, true, nil, false},
		{"fails, unsolved", failed, true, nil, true},
		{"solution fails", failed, false, nil, false},
		{"wrong fails", failed, false, reason, true},
		{"wrong passes", nil, false, reason, false},
		{"wrong fails elsewhere", &check.Result{ID: "b", Reason: "it is dropped"}, false, reason, false},
		{"wrong fails otherwise", &check.Result{ID: "a", Reason: "it is open"}, false, reason, false},
		{"unsolved, undecided", open, true, nil, false},
		{"wrong, undecided", open, false, reason, false},
	} {
		if got := kept(c.first, c.fails, "a", c.reason); got != c.want {
			t.Errorf("%s: kept %v, want %v", c.what, got, c.want)
		}
	}
}
