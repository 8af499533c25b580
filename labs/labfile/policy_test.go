package labfile

import (
	"errors"
	"io/fs"
	"testing"

	"sluice/firewall"
	"sluice/labs"
)

// TestBuiltinPolicies: each lab that has a file of expectations has a policy that meets it: its own, or, where that is
// what the student mends, its solution's.
func TestBuiltinPolicies(t *testing.T) {
	const file = "policy.test.yaml"
	found := 0
	for _, b := range labs.Builtins() {
		l, err := Load(b.Folder)
		if err != nil {
			t.Fatal(err)
		}
		src, err := fs.ReadFile(l.Files, file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		found++
		wrong := unmet(t, l.Policy, file, src)
		if text, err := fs.ReadFile(l.Files, "solution/policy.yaml"); err == nil && len(wrong) > 0 {
			solution, err := firewall.Load("solution/policy.yaml", text, l.Inventory())
			if err != nil {
				t.Errorf("%s: %v", l.Name, err)
				continue
			}
			wrong = unmet(t, solution, file, src)
		}
		for _, r := range wrong {
			t.Errorf("%s, %s:%d: %s: %s by rule %s; expected %s", l.Name, file, r.Line, r.What, r.Got, r.Rule, r.Expect)
		}
	}
	if found == 0 {
		t.Error("no lab has expectations")
	}
}

func unmet(t *testing.T, p *firewall.Policy, file string, src []byte) (wrong []firewall.Expectation) {
	t.Helper()
	results, err := p.Expect(file, src)
	if err != nil {
		t.Errorf("%s: %v", file, err)
	}
	for _, r := range results {
		if !r.Passed {
			wrong = append(wrong, r)
		}
	}
	return wrong
}
