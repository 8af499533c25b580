package demo

import (
	"fmt"
	"io"

	"sluice/vswitch/cli"
)

// write shows the report as a class reads it: a column for each placement.
func (r *Report) write(w io.Writer, out *cli.Output) {
	header := []string{""}
	for _, s := range r.Stops {
		header = append(header, ">"+s.Placement.String())
	}
	fmt.Fprintln(w, out.Paint(cli.Bold, "What comes through, tried from the client"))
	g := cli.NewGrid(header...)
	for i, t := range r.Stops[0].Tries {
		row := []any{t.What + " to " + t.Address}
		for _, s := range r.Stops {
			row = append(row, answer(s.Tries[i].Open))
		}
		g.Row(row...)
	}
	g.Write(w, "  ")

	fmt.Fprintln(w, out.Paint(cli.Bold, "What it costs"))
	g = cli.NewGrid(header...)
	line := func(what string, figure func(Cost) string) {
		row := []any{what}
		for _, s := range r.Stops {
			row = append(row, figure(s.Cost))
		}
		g.Row(row...)
	}
	line("TCP goodput, Mbit/s", func(c Cost) string { return fmt.Sprintf("%.0f", c.Goodput) })
	line("RTT p50, ms", func(c Cost) string { return fmt.Sprintf("%.2f", c.RTT50) })
	line("RTT p99, ms", func(c Cost) string { return fmt.Sprintf("%.2f", c.RTT99) })
	line("hops", func(c Cost) string { return fmt.Sprint(c.Hops) })
	line("CPU s per Gbit", func(c Cost) string { return fmt.Sprintf("%.2f", c.CPUGbit) })
	for i, p := range r.Stops[0].Cost.CPUParts {
		line("  of it "+p.Name, func(c Cost) string { return fmt.Sprintf("%.2f", c.CPUParts[i].CPU) })
	}
	g.Write(w, "  ")

	fmt.Fprintln(w, out.Paint(cli.Bold, "What a live change costs, under a stream of numbered frames and a download"))
	for _, c := range r.Changes {
		cli.WriteReceipt(w, out, c.Receipt)
		fmt.Fprintf(w, "  as the guests saw it: of %d numbered frames %d lost, %d duplicated, %d reordered; longest pause %.1f ms; the download %s\n",
			c.Stream.Sent, c.Stream.Lost, c.Stream.Duplicated, c.Stream.Reordered, c.Stream.GapMS, whole(c.Download))
	}
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
