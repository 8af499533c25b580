package running_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"

	"sluice/labs"
	"sluice/labs/check"
	"sluice/labs/labfile"
	"sluice/vnic/roottest"
)

// The course: each built-in lab fails unsolved, passes with its solution, and rejects each wrong-* for the reason that
// its expect.yaml promises. Labs run on namespace guests, in the root tier, unless their lesson needs VMs.

func TestRootCourse(t *testing.T) { testCourse(t, "netns") }
func TestLabCourse(t *testing.T)  { testCourse(t, "qemu") }

// courseLabs calls f for each built-in lab with tasks whose tests take guests of a kind. Where SLUICE_TEST_ALL_QEMU is
// set, those that take QEMU guests are all of them.
func courseLabs(t *testing.T, kind string, f func(*testing.T, *labfile.Lab)) {
	roottest.Need(t, "makes TAPs and namespaces")
	t.Parallel()
	for _, name := range labs.BuiltinNames() {
		l, err := labfile.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		qemu := l.Kind == labfile.KindQEMU
		if len(l.Tasks) > 0 && (qemu == (kind == "qemu") || kind == "qemu" && os.Getenv("SLUICE_TEST_ALL_QEMU") != "") {
			t.Run(l.Name, func(t *testing.T) { f(t, l) })
		}
	}
}

func testCourse(t *testing.T, kind string) {
	courseLabs(t, kind, func(t *testing.T, l *labfile.Lab) {
		t.Parallel()
		wrongs, told := 0, 0
		t.Run("unsolved", func(t *testing.T) { sideBySide(t); unsolvedFails(t, l, kind) })
		for _, folder := range l.Overlays() {
			switch {
			case folder == "solution":
				t.Run(folder, func(t *testing.T) {
					sideBySide(t)
					if r, text := checkWith(t, l, kind, folder); !r.Passed {
						t.Errorf("it does not pass:\n%s", text)
					}
				})
			case strings.HasPrefix(folder, "wrong-"):
				wrongs++
				if want, _ := expectationOf(t, l, folder); byPolicy(want) {
					if told++; told > 1 {
						continue // TestWrongPolicies has looked at it, and one shows that what it says reaches the student
					}
				}
				t.Run(folder, func(t *testing.T) { sideBySide(t); wrongIsRejected(t, l, kind, folder) })
			}
		}
		if _, err := fs.Stat(l.Files, "solution"); err != nil || wrongs < 2 {
			t.Errorf("a lab has a solution and two wrong-*: there are %d: %v", wrongs, err)
		}
	})
}

// unsolvedFails judges the lab as it is at its start, by an empty answer sheet.
func unsolvedFails(t *testing.T, l *labfile.Lab, kind string) {
	empty := t.TempDir()
	if err := os.WriteFile(path.Join(empty, "answers.yaml"), []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, text := checkWith(t, l, kind, empty); r.Passed {
		t.Errorf("it passes:\n%s", text)
	}
}

func wrongIsRejected(t *testing.T, l *labfile.Lab, kind, folder string) {
	want, reason := expectationOf(t, l, folder)
	r, printed := checkWith(t, l, kind, folder)
	for _, x := range r.Results {
		if x.Passed {
			continue
		}
		if x.ID != want.Task || !reason.MatchString(x.Reason) {
			t.Errorf("the first task that fails is %s, because %q; want %s, because %q\n%s", x.ID, x.Reason, want.Task, want.Reason, printed)
		}
		return
	}
	t.Errorf("it passes:\n%s", printed)
}

// TestRootPushedWork: a student's policy for the placement push is pushed from inside the appliance, which has the last
// word on it.
func TestRootPushedWork(t *testing.T) {
	sideBySide(t)
	work := t.TempDir()
	for name, text := range map[string]string{"lab.yaml": "placement: push\n", "policy.yaml": "default: drop # and\u200bnothing else\n"} {
		if err := os.WriteFile(path.Join(work, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := sluice(t, "", "lab", "check", "push", "--with", work, "--guests", "netns")
	if want := "from inside fw: policy: /etc/sluice/policy.yaml: the policy has control characters"; out.code != 2 || !strings.Contains(out.stderr, want) {
		t.Errorf("exit code %d, want 2 and %q\n%s%s", out.code, want, out.stdout, out.stderr)
	}
}

// checkWith judges a submission, or an overlay of the lab, with the real command.
func checkWith(t *testing.T, l *labfile.Lab, kind, folder string, more ...string) (r check.Report, text string) {
	t.Helper()
	out := sluice(t, "", append([]string{"lab", "check", l.Name, "--with", folder, "--guests", kind, "-o", "json"}, more...)...)
	if out.code != 0 && out.code != 1 {
		t.Errorf("exit code %d\n%s%s", out.code, out.stdout, out.stderr)
		return r, ""
	}
	if err := json.Unmarshal([]byte(out.stdout), &r); err != nil {
		t.Errorf("%v\n%s%s", err, out.stdout, out.stderr)
		return r, ""
	}
	if r.Passed != (out.code == 0) {
		t.Errorf("exit code %d, but passed is %v", out.code, r.Passed)
	}
	for _, x := range r.Results {
		text += fmt.Sprintf("%-5v %s %d/%d %s\n", x.Passed, x.ID, x.Points, x.Of, x.Reason)
	}
	return r, text
}
