package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"sluice/firewall/inspect"
	"sluice/vswitch/control"
)

func inspectionsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "inspections",
		Short: "What the appliance has found in the frames that it looked into",
		Args:  cobra.NoArgs,
		RunE: withLab(func(cmd *cobra.Command, _ []string, o *Output, c *control.Client) error {
			r, err := c.Inspections(cmd.Context())
			if err != nil {
				return err
			}
			return o.Print(r, func(w io.Writer) { writeInspections(w, r) })
		}),
	}
}

func writeInspections(w io.Writer, r inspect.Report) {
	fmt.Fprintf(w, "frames: %d looked into (%d bytes) = %d passed + %d clean + %d dropped + %d reset + %d quarantined\n", r.Frames, r.Bytes,
		r.Verdicts["pass"], r.Verdicts["clean"], r.Verdicts["drop"], r.Verdicts["reset"], r.Verdicts["quarantine"])
	fmt.Fprintf(w, "%d flows, %d bytes of memory; %d frames dropped for want of it; %d datagrams of no session; %d lost in full queues\n\n", r.Flows,
		r.Memory, r.NoMemory, r.Refused, r.Overrun+r.Unsent)
	for _, part := range []struct {
		head string
		list []inspect.Count
	}{{"SIGNATURE", r.Matches}, {"ANOMALY", r.Anomalies}} {
		g := NewGrid(part.head, ">MET")
		for _, c := range part.list {
			g.Row(c.Name, c.Count)
		}
		g.Write(w, "")
		fmt.Fprintln(w)
	}
	if r.Missed > 0 {
		fmt.Fprintf(w, "%d earlier sightings are not listed\n", r.Missed)
	}
	g := NewGrid("TIME", "FOUND", "VERDICT", "PROTO", "FROM", "TO")
	for _, e := range r.Sightings {
		g.Row(e.Time.Local().Format("15:04:05.000"), e.What, e.Verdict, protoName(e.Proto), e.Src, e.Dst)
	}
	g.Write(w, "")
}
