package bench

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"sluice/firewall/fault"
)

// The marks in docs/bench.md between which the figures stand. What is outside of them is written by hand.
const (
	markBegin = "<!-- sluice bench: begin -->\n"
	markEnd   = "<!-- sluice bench: end -->\n"
)

// page is a Markdown file with the marks; the zero page is none.
type page struct{ path, before, after string }

// openPage finds the marks in a file. It is done before measuring, for a run takes long.
func openPage(path string) (page, error) {
	if path == "" {
		return page{}, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return page{}, fault.Errorf(fault.BadInput, "--into: %w", err)
	}
	before, rest, begin := strings.Cut(string(text), markBegin)
	_, after, end := strings.Cut(rest, markEnd)
	if !begin || !end {
		return page{}, fault.Errorf(fault.BadInput, "--into: %s has no lines %q and %q to write between", path,
			strings.TrimSpace(markBegin), strings.TrimSpace(markEnd))
	}
	return page{path, before, after}, nil
}

// write puts the text between the marks.
func (p page) write(text string) error {
	if p.path == "" {
		return nil
	}
	return os.WriteFile(p.path, []byte(p.before+markBegin+text+markEnd+p.after), 0o644)
}

// markdown is the report for docs/bench.md.
func (r *Report) markdown() string {
	var b strings.Builder
	m := r.Machine
	fmt.Fprintf(&b, "\n`%s`, %s, %.0f minutes; rounds: %d, of which medians; ratios are medians of each round's own ratio.\n\n",
		r.Command, r.Date.Format("2 January 2006 15:04 UTC"), r.Minutes, r.plan.Rounds)
	fmt.Fprintf(&b, "%s, %d cores; kernel %s; %s; Go %s", m.CPU, m.Cores, m.Kernel, m.System, m.Go)
	for _, name := range slices.Sorted(maps.Keys(m.Packages)) {
		fmt.Fprintf(&b, "; %s %s", name, m.Packages[name])
	}
	fmt.Fprintf(&b, ". Load when it began: %s.\n\n", m.Load)
	for _, w := range r.plan.Wirings {
		mdTable(&b, r.rows(w))
	}
	targets := [][]string{{"target", "wiring", "wanted", "median", "rounds", ""}}
	for _, t := range r.Targets {
		targets = append(targets, []string{fmt.Sprintf("%s, %s over %s", t.What, t.Of, t.To), string(t.Wiring),
			fmt.Sprintf("%.1f", t.Want), fmt.Sprintf("%.2f", t.Got), fmt.Sprintf("%.2f to %.2f", t.Low, t.High), t.verdict()})
	}
	mdTable(&b, targets)
	subjects := [][]string{{"subject", "is"}}
	for _, s := range r.plan.Subjects {
		subjects = append(subjects, []string{s.name, s.what})
	}
	mdTable(&b, subjects)
	for _, note := range r.notes() {
		fmt.Fprintf(&b, "- %s\n", note)
	}
	return b.String()
}

// mdTable writes a table whose first row is its head.
func mdTable(b *strings.Builder, rows [][]string) {
	for i, row := range rows {
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString(strings.Repeat("| --- ", len(row)) + "|\n")
		}
	}
	b.WriteString("\n")
}
