package labfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"sluice/firewall"
	"sluice/firewall/fault"
	"sluice/labs/check"
)

// courseFiles is a lab with a task, a parameter and a solution.
func courseFiles() fstest.MapFS {
	lab := strings.Replace(good, "policy:\n  default: reject\n  rules:\n    - {name: all, from: client, to: server, action: allow}\n", "policy: policy.yaml\n", 1)
	lab = strings.Replace(lab, "student: [extra.txt]", "student: [policy.yaml, extra.txt]", 1)
	files := fstest.MapFS{}
	for name, text := range map[string]string{
		"lab.yaml": lab, "policy.yaml": "default: drop\n", "extra.txt": "the lab's\n", "README.md": "port ${port}\n",
		"solution/policy.yaml": "services: {x: {tcp: \"${port}\"}}\ndefault: reject\n", "solution/answers.yaml": "a: ${word}\nb: [x, y]\n",
	} {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

// handIn writes a submission.
func handIn(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestOverlay says what of a submission counts.
func TestOverlay(t *testing.T) {
	for _, c := range []struct {
		what   string
		folder string
		want   string // in the policy's text, or of the error
		bad    bool
	}{
		{"a folder of the lab", "solution", "tcp: \"10083\"", false},
		{"the same with a slash", "solution/", "tcp: \"10083\"", false},
		{"a policy", handIn(t, map[string]string{"policy.yaml": "default: allow\n"}), "default: allow", false},
		{"answers only", handIn(t, map[string]string{"answers.yaml": "a: b\n"}), "default: drop", false},
		{"no file of a student's", handIn(t, map[string]string{"README.md": "x", "check.sh": "x"}), "holds none of a student's files: policy.yaml, extra.txt, answers.yaml, lab.yaml", true},
		{"a policy that is none", handIn(t, map[string]string{"policy.yaml": "defualt: drop\n"}), `policy.yaml:1:1: the policy has no key "defualt"`, true},
		{"no such folder", "nowhere", `no folder "nowhere"`, true},
		{"out of the lab", "../..", "holds none of a student's files", true},
		{"an unknown parameter", handIn(t, map[string]string{"policy.yaml": "default: ${prot}\n"}), `policy.yaml:1:10: there is no param "prot"`, true},
		{"a bad placement", handIn(t, map[string]string{"lab.yaml": "placement: sideways\n"}), `lab.yaml:1:12: no placement "sideways"`, true},
		{"a placement with a typo", handIn(t, map[string]string{"lab.yaml": "placement: fats\n"}), "did you mean fast?", true},
		{"a key with a typo", handIn(t, map[string]string{"lab.yaml": "placment: fast\n"}), `lab.yaml:1:1: a submission's lab file has no key "placment"`, true},
		{"a key with a typo, with what to do", handIn(t, map[string]string{"lab.yaml": "placment: fast\n"}), "did you mean placement?", true},
		{"a file with a typo", handIn(t, map[string]string{"policy.yml": "default: drop\n"}), "has policy.yml, which nobody reads, and no policy.yaml: rename it", true},
		{"a file in capitals", handIn(t, map[string]string{"Answers.yaml": "a: b\n", "policy.yaml": "default: drop\n"}), "has Answers.yaml, which nobody reads", true},
		{"a file that is like two", handIn(t, map[string]string{"policy.test.yaml": "[]\n", "old.yaml": "", "policy.yaml": "default: reject\n"}), "default: reject", false},
	} {
		l, err := loadFrom(courseFiles(), "lab.yaml", Work{Folder: c.folder}.resolve(courseFiles()))
		switch {
		case c.bad && (err == nil || !strings.Contains(err.Error(), c.want) || fault.ClassOf(err) != fault.BadInput):
			t.Errorf("%s: %v, want bad input with %q", c.what, err, c.want)
		case !c.bad && (err != nil || !strings.Contains(string(l.Policy.Source), c.want)):
			t.Errorf("%s: %v, want a policy with %q", c.what, err, c.want)
		case !c.bad && (l.Own != nil) != (c.want != "default: drop"):
			t.Errorf("%s: the lab's own policy beside it: %v", c.what, l.Own)
		}
	}
}

// TestStudentsLabFile: of a lab file that is handed in, only the placement and the handover count.
func TestStudentsLabFile(t *testing.T) {
	theirs := handIn(t, map[string]string{"lab.yaml": "name: easy\nplacement: fast\nhandover: cut\ntasks: []\nparams: {port: {random: 1-1}}\nguests: {}\n",
		"README.md": "theirs\n", "extra.txt": "theirs\n"})
	l, err := loadFrom(courseFiles(), "lab.yaml", Work{Folder: theirs})
	if err != nil {
		t.Fatal(err)
	}
	if l.Name != "good" || len(l.Tasks) != 2 || l.Params["port"] != "10083" || len(l.Guests) != 4 || l.Placement != firewall.Fast || l.Handover != "cut" {
		t.Errorf("%s, %d tasks, params %v, %d guests, %s, %s", l.Name, len(l.Tasks), l.Params, len(l.Guests), l.Placement, l.Handover)
	}
	for name, want := range map[string]string{"README.md": "port ${port}\n", "extra.txt": "theirs\n"} {
		if got, err := fs.ReadFile(l.Files, name); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v; want %q", name, got, err, want)
		}
	}
}

// TestSubmissionStaysInItsFolder: no link in a submission is followed out of it.
func TestSubmissionStaysInItsFolder(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("default: allow\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(secret, filepath.Join(dir, "policy.yaml")); err != nil {
		t.Fatal(err)
	}
	if l, err := loadFrom(courseFiles(), "lab.yaml", Work{Folder: dir}); err == nil && string(l.Policy.Source) == "default: allow\n" {
		t.Error("the policy is what the link leads to")
	}
}

func TestAnswers(t *testing.T) {
	l, err := loadFrom(courseFiles(), "lab.yaml", Work{Folder: "solution"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.Answers()
	if diff := cmp.Diff(map[string][]string{"a": {"two"}, "b": {"x", "y"}}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for text, want := range map[string]string{
		"frames-wbe: 3": `1:1: no task asks for an answer "frames-wbe"`, "aa: 3": "did you mean a?",
		"a: {b: c}": "1:4: answer a must be one plain value", "a: b\na: c": "2:1: the answers has a twice", "[x]": "must be a mapping",
		"a: " + strings.Repeat("x", MaxAnswer+1): "at most 1000 are taken", "a:": "answer a is empty",
		strings.Repeat("a: b\n", 3): "the answers has a twice",
	} {
		if _, err := readAnswers("answers.yaml", []byte(text), []string{"a"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", text, err, want)
		}
	}
}

// FuzzAnswers: no answer sheet may do more than be refused.
func FuzzAnswers(f *testing.F) {
	for _, s := range []string{"a: b\n", "a: [b, c]\nd: 3.5", "a: &x b\nc: *x", "a: |\n  b\n", "? a\n: b", "{}", "a: {b: c}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		answers, err := readAnswers("answers.yaml", text, []string{"a", "d"})
		if err != nil && fault.ClassOf(err) != fault.BadInput {
			t.Errorf("class %d: %v", fault.ClassOf(err), err)
		}
		for name, words := range answers {
			if err == nil && len(words) > MaxAnswers {
				t.Errorf("answer %s has %d words", name, len(words))
			}
		}
	})
}

// checkTasks is what FuzzLoadLab asks of tasks that were taken: they can be told, looked at, and their hints can come
// true.
func checkTasks(t *testing.T, tasks []check.Task) {
	check.Lint(tasks)
	seen := map[string]bool{}
	for _, x := range tasks {
		if seen[x.ID] || len(x.Checks) == 0 || len(x.Checks) > maxChecks+8 {
			t.Errorf("task %q, %d checks", x.ID, len(x.Checks))
		}
		seen[x.ID] = true
		for _, c := range x.Checks {
			if c.Kind.String() == "" || c.Line == 0 {
				t.Errorf("check %q at line %d", c.Kind, c.Line)
			}
		}
	}
}
