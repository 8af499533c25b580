package course

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/labs"
	"sluice/labs/check"
	"sluice/labs/labfile"
)

// TestInit: what lab init makes is called as its folder, lints, and its solution and wrong ways are told apart by their policies.
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

// TestLintLab: a built-in's name, a port that nobody serves, and promises that cannot be kept; the built-in labs have none of it.
func TestLintLab(t *testing.T) {
	for _, c := range []struct{ file, from, to, want string }{
		{"lab.yaml", "name: mine", "name: push", "a built-in lab is called push"},
		{"lab.yaml", "services: [http, echo]", "services: [echo]", "tcp from client to server port 80 is open: no service of server answers there"},
		{"wrong-all-allowed/expect.yaml", "web-only", "web-olny", `wrong-all-allowed: expect.yaml: the lab has no task "web-olny"`},
		{"wrong-all-allowed/expect.yaml", "reason:", "raeson:", `wrong-all-allowed: expect.yaml:2:1: a promise has no key "raeson"`},
		{"wrong-all-allowed/expect.yaml", ".*", "(", "wrong-all-allowed: expect.yaml: reason: "},
		{"wrong-all-allowed/expect.yaml", "", "", "wrong-all-allowed: it has no expect.yaml"},
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
		if found := lintLab(l, true); len(found) != 1 || !strings.HasPrefix(found[0].Text, c.want) {
			t.Errorf("%s with %q: %+v, want %q", c.file, c.to, found, c.want)
		}
	}
	for _, name := range labs.BuiltinNames() {
		l, err := labfile.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if found := lintLab(l, len(l.Tasks) > 0); len(found) > 0 {
			t.Errorf("%s: %+v", name, found)
		}
	}
}
