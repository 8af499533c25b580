package labfile

import (
	"os"
	"testing"

	"sluice/firewall/fault"
)

// TestTwentyErrorsAtOnce: words that nobody knows, values of the wrong kind, addresses, names and duplicates, in the
// lab and in its policy, are told together, each with its place, its line and what to do. What is said is in the golden
// file of TestBadLabs.
func TestTwentyErrorsAtOnce(t *testing.T) {
	text, err := os.ReadFile("testdata/bad/twenty-at-once.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, err = parseLab(os.DirFS("testdata/bad"), "lab.yaml", text, Work{})
	told := fault.In(err)
	if len(told) != fault.Most {
		t.Fatalf("%d errors, want %d: %v", len(told), fault.Most, err)
	}
	for i, f := range told {
		if f.File != "lab.yaml" || f.Line < 1 || f.Col < 1 || f.Source == "" || f.Do == "" {
			t.Errorf("%+v", f)
		}
		if i > 0 && (f.Line < told[i-1].Line || *f == *told[i-1]) {
			t.Errorf("line %d is told after line %d", f.Line, told[i-1].Line)
		}
	}
}
