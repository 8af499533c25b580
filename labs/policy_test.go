package labs

import (
	"errors"
	"io/fs"
	"testing"
)

// TestBuiltinPolicies: the policy of each lab that has a file of expectations says what the file expects.
func TestBuiltinPolicies(t *testing.T) {
	const file = "policy.test.yaml"
	found := 0
	for _, b := range builtins() {
		l, err := Load(b.folder)
		if err != nil {
			t.Fatal(err)
		}
		src, err := fs.ReadFile(l.Files, file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		found++
		results, err := l.Policy.Expect(file, src)
		if err != nil {
			t.Errorf("%s: %v", l.Name, err)
		}
		for _, r := range results {
			if !r.Passed {
				t.Errorf("%s, %s:%d: %s: %s by rule %s; expected %s", l.Name, file, r.Line, r.What, r.Got, r.Rule, r.Expect)
			}
		}
	}
	if found == 0 {
		t.Error("no lab has expectations")
	}
}
