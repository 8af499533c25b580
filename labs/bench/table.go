package bench

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

// column is one column of a table: a metric and how it is shown.
type column struct {
	head   string
	metric Metric
	show   func(float64) string
}

func thousands(v float64) string { return fmt.Sprintf("%.0fk", v/1000) }
func decimals(n int) func(float64) string {
	return func(v float64) string { return fmt.Sprintf("%.*f", n, v) }
}

// columns of a wiring's table.
func (r *Report) columns(w Wiring) []column {
	c := []column{{"frames/s", Peak, thousands}}
	for _, size := range r.plan.Sizes[1:] {
		c = append(c, column{fmt.Sprintf("at %d B", size), Metric(fmt.Sprintf("%s_%d", Peak, size)), thousands})
	}
	if r.plan.NDR && w == TAP {
		c = append(c, column{"no loss", NDR, thousands}, column{"0.5 % loss", NDRHalf, thousands})
	}
	c = append(c, column{"p50 us", P50, decimals(0)}, column{"p99 us", P99, decimals(0)},
		column{"CPU s/M", FrameSwitch, decimals(2)}, column{"all CPU s/M", FrameAll, decimals(2)})
	if w == TAP {
		return append(c, column{"GSO frames/s", GSORate, thousands}, column{"GSO Gbit/s", GSOGbit, decimals(1)},
			column{"CPU s/Gbit", GSOSwitch, decimals(3)}, column{"all CPU s/Gbit", GSOAll, decimals(3)})
	}
	return append(c, column{"TCP Gbit/s", TCPGbit, decimals(2)},
		column{"CPU s/Gbit", TCPSwitch, decimals(3)}, column{"all CPU s/Gbit", TCPAll, decimals(3)})
}

// rows are a wiring's table: heads first, then a row for each subject.
func (r *Report) rows(w Wiring) [][]string {
	columns := r.columns(w)
	head := []string{string(w)}
	for _, c := range columns {
		head = append(head, c.head)
	}
	out := [][]string{head}
	for _, s := range r.plan.Subjects {
		row := []string{s.name}
		for _, c := range columns {
			if v, ok := r.series(s.name, w).median(c.metric); ok {
				row = append(row, c.show(v))
			} else {
				row = append(row, "-")
			}
		}
		out = append(out, row)
	}
	return out
}

// text is the report for a terminal.
func (r *Report) text() string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, w := range r.plan.Wirings {
		for _, row := range r.rows(w) {
			fmt.Fprintln(t, strings.Join(row, "\t")+"\t")
		}
		fmt.Fprintln(t)
		t.Flush()
	}
	for _, target := range r.Targets {
		fmt.Fprintf(&b, "%s of %s over %s, %s: %.2f, wanted %.1f: %s\n",
			target.What, target.Of, target.To, target.Wiring, target.Got, target.Want, target.verdict())
	}
	for _, note := range r.notes() {
		fmt.Fprintln(&b, note)
	}
	return b.String()
}

// notes are what a reader must know before believing the tables.
func (r *Report) notes() []string {
	var out []string
	for _, s := range r.Series {
		if n := len(s.Failed); n > 0 {
			out = append(out, fmt.Sprintf("%s on %s failed in %d of %d rounds: %s", s.Subject, s.Wiring, n, len(s.Rounds), s.Failed[0]))
		}
		if n := len(s.Unsound); n > 0 {
			out = append(out, fmt.Sprintf("%s on %s delivered frames wrongly in %d of %d rounds: %s", s.Subject, s.Wiring, n,
				len(s.Rounds), s.Unsound[0]))
		}
	}
	for name, why := range r.Skipped {
		out = append(out, fmt.Sprintf("%s was not measured: %s", name, why))
	}
	slices.Sort(out)
	return out
}
