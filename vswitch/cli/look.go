package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"sluice/firewall"
	"sluice/firewall/fault"
	"sluice/vnic/frame"
	"sluice/vswitch"
	"sluice/vswitch/control"
)

func flowsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "flows ['[PROTO] [from GUEST [port N]] [to GUEST [port N]]']",
		Short: "The flows that the engine knows, and the rule that let each in",
		Long: `The flows that the engine knows: who began each and with whom, how far it has got, what it has carried, and after how many seconds
of silence it will be forgotten. They can be narrowed down in the words of a trace; from is who began.

RULE is the rule of the policy in force that let the flow in. It is - where none has: the flow began under another policy, or in a
placement in which the engine asks no rule.`,
		Example: "  sluice flows\n  sluice flows udp from client to server\n  sluice flows to server port 80",
		Args:    cobra.ArbitraryArgs,

		ValidArgsFunction: cobra.NoFileCompletions,
	}
	watch := watchFlag(cmd)
	cmd.RunE = withLab(func(cmd *cobra.Command, args []string, o *Output, c *control.Client) error {
		filter, err := filterOf(cmd.Context(), c, joinArgs(args))
		if err != nil {
			return err
		}
		return again(cmd, *watch, o, func() error {
			flows, err := c.Flows(cmd.Context())
			if err != nil {
				return err
			}
			flows = slices.DeleteFunc(flows, func(f firewall.FlowRecord) bool { return !filter.Fits(f) })
			slices.SortFunc(flows, func(a, b firewall.FlowRecord) int {
				return cmp.Or(cmp.Compare(a.Proto, b.Proto), a.Src.Compare(b.Src), a.Dst.Compare(b.Dst))
			})
			if flows == nil {
				flows = []firewall.FlowRecord{}
			}
			return o.Print(flows, func(w io.Writer) { writeFlows(w, flows) })
		})
	})
	return cmd
}

func fdbCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fdb",
		Short: "The MACs that the switch has learnt: behind which port, and for how long each has been silent",
		Long: `The forwarding database: the MACs that the switch has learnt from who sent, behind which port each lives, and for how many
seconds it has been silent. One that is silent for as long as its segment's mac-age is forgotten. A gateway's MAC is static.`,
		Args: cobra.NoArgs,
	}
	watch := watchFlag(cmd)
	cmd.RunE = withLab(func(cmd *cobra.Command, _ []string, o *Output, c *control.Client) error {
		return again(cmd, *watch, o, func() error {
			macs, err := c.FDB(cmd.Context())
			if err != nil {
				return err
			}
			return o.Print(macs, func(w io.Writer) { writeFDB(w, macs) })
		})
	})
	return cmd
}

func writeFDB(w io.Writer, macs []vswitch.MACEntry) {
	g := NewGrid("SEGMENT", "MAC", "PORT", ">SILENT")
	for _, m := range macs {
		silent := strconv.Itoa(int(m.Age)) + "s"
		if m.Static {
			silent = "static"
		}
		g.Row(m.Segment, m.MAC, orDash(m.Port), silent)
	}
	g.Write(w, "")
}

// watchFlag is --watch: alone it is once a second.
func watchFlag(cmd *cobra.Command) *time.Duration {
	every := cmd.Flags().Duration("watch", 0, "show it again and again, each second or as often as --watch=DURATION says, until Ctrl-C")
	cmd.Flags().Lookup("watch").NoOptDefVal = "1s"
	return every
}

// again shows something once, or every so often until the user leaves.
func again(cmd *cobra.Command, every time.Duration, o *Output, show func() error) error {
	switch {
	case every == 0:
		return show()
	case every < 100*time.Millisecond:
		return fault.Errorf(fault.BadInput, "--watch %s is too often: at least 100ms", every)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if o.Screen() {
			io.WriteString(o.out, "\x1b[H\x1b[2J") // from the top of an empty screen
		}
		if err := show(); err != nil && cmd.Context().Err() == nil {
			return err
		}
		select {
		case <-tick.C:
		case <-cmd.Context().Done():
			return nil
		}
	}
}

func writeFlows(w io.Writer, flows []firewall.FlowRecord) {
	if len(flows) == 0 {
		fmt.Fprintln(w, "No flows.")
		return
	}
	g := NewGrid("PROTO", "FROM", "TO", "SERVICE", "STATE", ">FRAMES", ">ANSWERS", ">BYTES", ">LEFT", "RULE")
	unruled := false
	for _, f := range flows {
		unruled = unruled || f.Rule == ""
		if f.Kept {
			f.State += ", kept"
		}
		g.Row(protoName(f.Proto), f.Src, f.Dst, orDash(f.Service), f.State, f.Frames[0], f.Frames[1], f.Bytes[0]+f.Bytes[1],
			strconv.Itoa(f.Timeout)+"s", orDash(f.Rule))
	}
	g.Write(w, "")
	if unruled {
		fmt.Fprintln(w, "\nRULE -: no rule of the policy in force let it in; it began under another one, or where the engine asks no rule")
	}
}

func protoName(p uint8) string {
	switch p {
	case frame.ProtoICMP:
		return "icmp"
	case frame.ProtoTCP:
		return "tcp"
	case frame.ProtoUDP:
		return "udp"
	case frame.ProtoICMPv6:
		return "icmp6"
	}
	return strconv.Itoa(int(p))
}

func orDash(s string) string { return cmp.Or(s, "-") }

func lastHit(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Local().Format("15:04:05.000")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func eventsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "events",
		Short: "What happens in the lab from now on, until Ctrl-C",
		Args:  cobra.NoArgs,
		RunE: withLab(func(cmd *cobra.Command, _ []string, o *Output, c *control.Client) error {
			begin := func(st vswitch.Status) {
				o.Note("Watching lab %s: %s, epoch %d. Ctrl-C ends.", c.Lab(), st.Placement, st.Epoch)
			}
			return c.Events(cmd.Context(), begin, func(e vswitch.Event) error {
				return o.Line(e, fmt.Sprintf("%s  %-12s  %s", e.Time.Local().Format("15:04:05.000"), fault.Clean(e.Kind), fault.Clean(e.Detail)))
			})
		}),
	}
}
