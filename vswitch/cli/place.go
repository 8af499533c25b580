package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"sluice/firewall"
	"sluice/firewall/fault"
	"sluice/vswitch"
	"sluice/vswitch/control"
)

// placements are those that a switch can be asked for.
var placements = []string{
	"off\tnobody enforces the policy", "fast\tthe engine does", "slow\tthe appliance does, which routes", "tunnel\tthe appliance does, which every frame visits",
	"push\tthe engine does, as pushed from the appliance", "inspect\tthe engine does, and the appliance looks into what passed",
}

var failures = []string{"closed\tnothing passes that should have met it", "open\twhat should have met it passes without"}

var handovers = []string{"carry\tthey live on", "keep\tthey stay on their old way until they end", "cut\tthey are forgotten"}

func placeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "place [PLACEMENT]",
		Short: "Show where the policy is enforced, or change it under traffic: a receipt",
		Long: `Show where the policy is enforced, or change it while traffic flows.

The placements: off (nobody enforces), fast (the engine, at each insertion point), slow (the appliance, which routes
between the segments), tunnel (the appliance, which every frame visits), push (the engine; the policy is administered inside
the appliance and pushed down), inspect (the engine; the appliance looks into what it accepts). A change is measured, and
prints what it cost: a receipt.

Running flows live on (carry: their state goes where it is needed), stay on their old way until they end while new ones take the
new way (keep), or are forgotten (cut).`,
		Example:           "  sluice place\n  sluice place slow --handover cut\n  sluice place --history",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: fixed(placements...),
	}
	handover := cmd.Flags().String("handover", "", "what becomes of running flows: carry, keep or cut (default: as the lab says)")
	fail := cmd.Flags().String("fail", "", "should the appliance fail: closed or open (default: as the policy says)")
	history := cmd.Flags().Bool("history", false, "show the receipts of the latest changes, oldest first")
	cmd.RegisterFlagCompletionFunc("handover", fixedFlag(handovers...))
	cmd.RegisterFlagCompletionFunc("fail", fixedFlag(failures...))
	cmd.RunE = withLab(func(cmd *cobra.Command, args []string, o *Output, c *control.Client) error {
		if len(args) == 0 {
			return showPlacement(cmd, o, c, *history)
		}
		if *history {
			return fault.Errorf(fault.BadInput, "--history shows earlier changes: leave out %q", args[0])
		}
		to, err := firewall.ParsePlacement(args[0])
		if err != nil {
			return fault.Errorf(fault.BadInput, "%w", err)
		}
		over, err := parseHandover(*handover)
		if err != nil {
			return err
		}
		if *fail != "" && *fail != "closed" && *fail != "open" {
			return fault.Errorf(fault.BadInput, "--fail %q: closed or open", *fail)
		}
		receipt, err := c.Place(cmd.Context(), to, vswitch.PlaceOptions{Handover: over, Fail: vswitch.Fail(*fail)})
		if err != nil {
			return err
		}
		return o.Print(receipt, func(w io.Writer) { writeReceipt(w, o, receipt) })
	})
	return cmd
}

func parseHandover(s string) (vswitch.Handover, error) {
	switch h := vswitch.Handover(s); h {
	case "", vswitch.Carry, vswitch.Keep, vswitch.Cut:
		return h, nil
	}
	return "", fault.Errorf(fault.BadInput, "no handover %q: carry, keep or cut", s)
}

func showPlacement(cmd *cobra.Command, o *Output, c *control.Client, history bool) error {
	info, err := c.Placement(cmd.Context())
	if err != nil {
		return err
	}
	if !history {
		info.History = nil
		return o.Print(struct {
			Placement firewall.Placement  `json:"placement"`
			Epoch     uint64              `json:"epoch"`
			Changing  bool                `json:"changing"`
			Kept      *vswitch.KeptStatus `json:"kept,omitempty"`
		}{info.Placement, info.Epoch, info.Changing, info.Kept}, func(w io.Writer) {
			fmt.Fprintf(w, "%s (epoch %d)\n", info.Placement, info.Epoch)
			if k := info.Kept; k != nil {
				fmt.Fprintf(w, "flows that are kept on the way of %s until they end: %d\n", k.Placement, k.Flows)
			}
		})
	}
	if info.History == nil {
		info.History = []vswitch.Receipt{}
	}
	return o.Print(info.History, func(w io.Writer) { writeHistory(w, info.History) })
}

// writeReceipt writes a receipt as a class reads it: a word, a figure, and what it means.
func writeReceipt(w io.Writer, o *Output, r vswitch.Receipt) {
	change := o.Paint(Bold, fmt.Sprintf("%s -> %s", from(r), r.To))
	fmt.Fprintf(w, "%s, epoch %d, handover %s, %s ms\n", change, r.Epoch, r.Handover, decimals(r.DurationMS, 1))
	g := NewGrid("", ">", "")
	g.Row("gap", decimals(r.GapMS, 2), "ms, the longest wait of a flow that had frames waiting")
	g.Row("lost", r.Lost, mostOf(fmt.Sprintf("of %d frames that entered while it was watched", r.Observed), r.LostMost))
	g.Row("duplicated", r.Duplicated, "")
	g.Row("reordered", r.Reordered, "")
	g.Row("leaked", r.Leaked, mostOf("denied by the policy, and delivered all the same", r.LeakedMost))
	g.Row("drained", r.Drained, "came out of the appliance after the change")
	if r.Bypassed || r.Unasked > 0 {
		g.Row("unasked", r.Unasked, "passed the appliance by, which had failed, since the receipt before")
	}
	g.Row("flows carried", r.FlowsCarried, "")
	if r.FlowsAnew > 0 {
		g.Row("begun anew", r.FlowsAnew, "flows that the side that takes over cannot be told of")
	}
	if r.FlowsCut > 0 {
		g.Row("related, cut", r.FlowsCut, "flows that only a helper of the appliance let pass")
	}
	if r.Handover == vswitch.Keep {
		g.Row("flows kept", r.FlowsKept, "stay on their old way until they end")
	}
	g.Write(w, "  ")
	fmt.Fprintf(w, "  dropped by reason: %s\n", byReason(r.Dropped))
	if r.Overflow {
		fmt.Fprintln(w, o.Paint(Warn, "  There were more frames than the logs hold: the figures are of the first ones only."))
	}
}

// mostOf adds the flow to what a figure means that it is mostly of.
func mostOf(means, flow string) string {
	if flow == "" {
		return means
	}
	return means + "; most: " + flow
}

// from is what was chosen before a change, with a word where frames passed its appliance by.
func from(r vswitch.Receipt) string {
	if r.Bypassed {
		return r.From.String() + " (passed by)"
	}
	return r.From.String()
}

func writeHistory(w io.Writer, receipts []vswitch.Receipt) {
	if len(receipts) == 0 {
		fmt.Fprintln(w, "The placement has not been changed yet.")
		return
	}
	g := NewGrid(">EPOCH", "FROM", "TO", "HANDOVER", ">GAP ms", ">LOST", ">DUPLICATED", ">REORDERED", ">LEAKED",
		">DRAINED", ">UNASKED", ">FLOWS CARRIED", ">ANEW", ">CUT", "DROPPED")
	for _, r := range receipts {
		g.Row(r.Epoch, from(r), r.To, r.Handover, decimals(r.GapMS, 2), r.Lost, r.Duplicated, r.Reordered, r.Leaked,
			r.Drained, r.Unasked, r.FlowsCarried, r.FlowsAnew, r.FlowsCut, byReason(r.Dropped))
	}
	g.Write(w, "")
}
