package matrix

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestCases says that no two cases have one name, and that the router has said something of each.
func TestCases(t *testing.T) {
	said, seen := Said(), map[string]bool{}
	for _, c := range Cases() {
		if seen[c.Name] {
			t.Errorf("two cases are %q", c.Name)
		}
		if seen[c.Name] = true; said[c.Name].Plain == "" {
			t.Errorf("nothing is said of %q", c.Name)
		}
	}
	if len(said) != len(seen) {
		t.Errorf("%d cases, and the router has said something of %d", len(seen), len(said))
	}
}

// TestTable holds the rows against the table that people read.
func TestTable(t *testing.T) {
	text, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "\n| odd packet |")
	if !ok {
		t.Fatal("docs/policy.md has no table of odd packets")
	}
	var written []string
	for i, line := range strings.Split(table, "\n") {
		cells := strings.Split(line, " | ")
		if i < 2 {
			continue
		}
		if !strings.HasPrefix(line, "| ") {
			break
		}
		if len(cells) != 4 {
			t.Errorf("a row with %d cells: %s", len(cells), line)
		}
		written = append(written, strings.TrimPrefix(cells[0], "| "))
	}
	for _, r := range meantRows {
		if !slices.Contains(written, r.row) {
			t.Errorf("docs/policy.md does not say: %s", r.row)
		}
	}
	if len(written) != len(meantRows) {
		t.Errorf("docs/policy.md has %d rows, the test %d", len(written), len(meantRows))
	}
}
