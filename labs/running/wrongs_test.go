package running_test

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"sluice/labs"
	"sluice/labs/check"
	"sluice/labs/labfile"
)

// What a policy decides can be said without a lab. So each overlay of a lab that asks for a policy is looked at here,
// for several students; the root tier deploys those of which something else is wrong, too.

// expectation is expect.yaml of a wrong-*.
type expectation struct {
	Task   string `yaml:"task"`
	Reason string `yaml:"reason"`
}

// expectationOf reads what the author of a wrong-* promises.
func expectationOf(t *testing.T, l *labfile.Lab, folder string) (want expectation, reason *regexp.Regexp) {
	t.Helper()
	text, err := fs.ReadFile(l.Files, folder+"/expect.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Load(text, &want, yaml.WithKnownFields()); err != nil || want.Task == "" || want.Reason == "" {
		t.Fatalf("%s/expect.yaml needs task and reason: %v", folder, err)
	}
	if reason, err = regexp.Compile(want.Reason); err != nil {
		t.Fatalf("%s/expect.yaml: %v", folder, err)
	}
	return want, reason
}

// policyFault is the first task that the policy of a folder fails by itself, and why; empty where none does.
func policyFault(t *testing.T, l *labfile.Lab, student, folder string) (task, reason string) {
	t.Helper()
	l, err := labfile.LoadWork(l.Ref, labfile.Work{Student: student, Folder: folder})
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range l.Tasks {
		for _, c := range task.Checks {
			if p, ok := c.Kind.(*check.Policy); ok {
				if f := p.Compare(l.Policy); !f.Passed {
					return task.ID, f.Reason
				}
			}
		}
	}
	return "", ""
}

// byPolicy says whether a wrong-* is told by what its policy decides.
func byPolicy(want expectation) bool {
	return strings.HasPrefix(want.Reason, "the policy ") || strings.Contains(want.Reason, "an appliance that is")
}

func TestWrongPolicies(t *testing.T) {
	asks := 0
	for _, name := range labs.BuiltinNames() {
		l, err := labfile.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if !asksForPolicy(l) {
			continue
		}
		asks++
		told, students := 0, []string{""}
		if len(l.Params) > 0 {
			students = append(students, "ada", "bob") // whose parameters are not all the same
		}
		for _, folder := range l.Overlays() {
			for _, student := range students {
				task, why := policyFault(t, l, student, folder)
				switch {
				case strings.HasPrefix(folder, "solution"), strings.HasPrefix(folder, "right-"):
					if task != "" {
						t.Errorf("%s/%s fails %s: %s", name, folder, task, why)
					}
				case strings.HasPrefix(folder, "wrong-"):
					want, reason := expectationOf(t, l, folder)
					if byPolicy(want) && (task != want.Task || !reason.MatchString(why)) {
						t.Errorf("%s/%s fails %q: %q; want %s: %s", name, folder, task, why, want.Task, want.Reason)
					}
					if byPolicy(want) && student == "" {
						told++
					}
				}
			}
		}
		if told < 3 {
			t.Errorf("%s asks for a policy, and %d of its wrong-* are told by what the policy decides; want 3", name, told)
		}
	}
	if asks < 8 {
		t.Errorf("%d labs ask for a policy", asks)
	}
}

// asksForPolicy says whether a task is to write a policy: one is compared with what is wanted.
func asksForPolicy(l *labfile.Lab) bool {
	for _, task := range l.Tasks {
		for _, c := range task.Checks {
			if _, ok := c.Kind.(*check.Policy); ok {
				return true
			}
		}
	}
	return false
}
