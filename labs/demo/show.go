package demo

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	"sluice/vswitch"
	"sluice/vswitch/cli"
)

// stopsAbreast and changesAbreast are how many columns fit a terminal of 80.
const stopsAbreast, changesAbreast = 3, 2

// write shows the report as a class reads it: a column for each placement, and then one for each change.
func (r *Report) write(w io.Writer, out *cli.Output) {
	title := func(s string) { fmt.Fprintf(w, "\n%s\n", out.Paint(cli.Bold, s)) }
	title("What comes through, tried from the client")
	abreast(w, r.Stops, stopsAbreast, triesOf)
	title("What it costs")
	abreast(w, r.Stops, stopsAbreast, costsOf)
	title("What a live change costs, under a stream of numbered frames and a download")
	abreast(w, r.Changes, changesAbreast, changesOf)
}

// abreast writes one table below the other, each with a few of the columns.
func abreast[T any](w io.Writer, columns []T, most int, table func([]T) *cli.Grid) {
	for some := range slices.Chunk(columns, most) {
		table(some).Write(w, "  ")
	}
}

func triesOf(stops []Stop) *cli.Grid {
	g := cli.NewGrid(placements(stops)...)
	for i, t := range stops[0].Tries {
		addRow(g, t.What+" to "+t.Address, stops, func(s Stop) string { return answer(s.Tries[i].Open) })
	}
	return g
}

func costsOf(stops []Stop) *cli.Grid {
	g := cli.NewGrid(placements(stops)...)
	line := func(what, format string, figure func(Cost) float64) {
		addRow(g, what, stops, func(s Stop) string { return fmt.Sprintf(format, figure(s.Cost)) })
	}
	line("TCP goodput, Mbit/s", "%.0f", func(c Cost) float64 { return c.Goodput })
	line("RTT p50, ms", "%.2f", func(c Cost) float64 { return c.RTT50 })
	line("RTT p99, ms", "%.2f", func(c Cost) float64 { return c.RTT99 })
	line("hops", "%.0f", func(c Cost) float64 { return float64(c.Hops) })
	line("CPU s per Gbit", "%.2f", func(c Cost) float64 { return c.CPUGbit })
	for i, p := range stops[0].Cost.CPUParts {
		line("  of it "+p.Name, "%.2f", func(c Cost) float64 { return c.CPUParts[i].CPU })
	}
	return g
}

// changesOf is every receipt beside what the guests saw of the same change.
func changesOf(list []Change) *cli.Grid {
	head := []string{""}
	for _, c := range list {
		head = append(head, fmt.Sprintf(">%s -> %s", c.Receipt.From, c.Receipt.To))
	}
	g := cli.NewGrid(head...)
	count := func(what string, figure func(Change) int) {
		addRow(g, what, list, func(c Change) string { return strconv.Itoa(figure(c)) })
	}
	millis := func(what string, figure func(Change) float64) {
		addRow(g, what, list, func(c Change) string { return fmt.Sprintf("%.1f", figure(c)) })
	}
	g.Row("the receipt")
	addRow(g, "  frames watched", list, func(c Change) string { return watched(c.Receipt) })
	count("  lost", func(c Change) int { return c.Receipt.Lost })
	count("  duplicated", func(c Change) int { return c.Receipt.Duplicated })
	count("  reordered", func(c Change) int { return c.Receipt.Reordered })
	count("  leaked: denied, yet delivered", func(c Change) int { return c.Receipt.Leaked })
	count("  flows carried over", func(c Change) int { return c.Receipt.FlowsCarried })
	millis("  longest wait of a flow, ms", func(c Change) float64 { return c.Receipt.GapMS })
	g.Row("as the guests saw it")
	count("  numbered frames sent", func(c Change) int { return c.Stream.Sent })
	count("  lost", func(c Change) int { return c.Stream.Lost })
	count("  duplicated", func(c Change) int { return c.Stream.Duplicated })
	count("  reordered", func(c Change) int { return c.Stream.Reordered })
	millis("  longest pause, ms", func(c Change) float64 { return c.Stream.GapMS })
	addRow(g, "  the download", list, func(c Change) string { return whole(c.Download) })
	return g
}

// placements are the headings of a table with a column for each.
func placements(stops []Stop) []string {
	head := []string{""}
	for _, s := range stops {
		head = append(head, ">"+s.Placement.String())
	}
	return head
}

// addRow adds a row with what cell says of each column.
func addRow[T any](g *cli.Grid, what string, columns []T, cell func(T) string) {
	row := []any{what}
	for _, c := range columns {
		row = append(row, cell(c))
	}
	g.Row(row...)
}

// watched is how many frames a receipt is about: where the change's logs were full, only the first of them.
func watched(r vswitch.Receipt) string {
	if r.Overflow {
		return fmt.Sprintf("the first %d", r.Observed)
	}
	return strconv.Itoa(r.Observed)
}

func answer(open bool) string {
	if open {
		return "answers"
	}
	return "silence"
}

func whole(d Download) string {
	if d.Whole {
		return "went on"
	}
	return fmt.Sprintf("BROKE after line %d", d.Lines)
}
