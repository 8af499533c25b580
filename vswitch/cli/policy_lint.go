package cli

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"sluice/firewall"
	"sluice/firewall/fault"
	"sluice/vswitch/control"
)

func policyLint(known InventoryOf) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lint [FILE]",
		Short: "Say what is wrong in a policy, and what looks wrong; - is stdin",
		Long: `Say what is wrong in a policy, and what looks wrong: in FILE, or in the policy in force. Each finding has a place, a
kind and a witness, a flow that shows it:
  shadowed       one rule before it matches all that the rule matches
  unreachable    several rules before it do so together, or it is applied where no such flow is
  contradictory  a rule before it says the opposite of a part of it, and only their order decides
  empty          no flow can match the rule
  unused-group, unused-service
  unused-helper  no rule allows what the helper reads
  never-hit      with --hits: the rule in force has decided about no flow since it came in force
Exit code: 0 nothing was found, 1 something was, 2 it is no policy.`,
		Example: "  sluice policy lint new.yaml --in fast-vs-slow\n  sluice policy lint --hits",
		Args:    cobra.MaximumNArgs(1),
	}
	hits := cmd.Flags().Bool("hits", false, "also say which rules in force have not been hit")
	return withDesk(cmd, known, func(cmd *cobra.Command, args []string, o *Output, d *desk) error {
		if *hits && (len(args) > 0 || d.client == nil) {
			return fault.Errorf(fault.BadInput, "--hits is for the policy in force in a running lab: leave out FILE and --in")
		}
		p, err := d.load(cmd, append(args, "")[0])
		if err != nil {
			return err
		}
		r := control.Lint(p)
		if *hits {
			found, err := d.neverHit(cmd, p)
			if err != nil {
				return err
			}
			r.Findings = append(r.Findings, found...)
			slices.SortStableFunc(r.Findings, func(a, b firewall.Finding) int { return a.Line - b.Line })
		}
		if err := o.Print(r, func(w io.Writer) { writeFindings(w, o, r) }); err != nil {
			return err
		}
		if len(r.Findings) > 0 {
			return fault.Errorf(fault.Failed, "%s: %d findings in %d rules", r.File, len(r.Findings), r.Rules)
		}
		return nil
	})
}

// neverHit compares the policy in force with what its rules have counted.
func (d *desk) neverHit(cmd *cobra.Command, p *firewall.Policy) ([]firewall.Finding, error) {
	in, err := d.client.Policy(cmd.Context())
	if err != nil {
		return nil, err
	}
	stats, err := d.client.Stats(cmd.Context())
	if err != nil {
		return nil, err
	}
	hits := map[string]uint64{}
	for _, r := range stats.Rules {
		hits[r.Rule] = r.Frames
	}
	since := fmt.Sprintf("since %s, when generation %d came in force", in.Since.Local().Format(time.DateTime), in.Generation)
	if !stats.Placement.EngineEnforces() {
		since += fmt.Sprintf(" (in placement %s the engine asks no rules)", stats.Placement)
	}
	return p.NeverHit(hits, since), nil
}

func writeFindings(w io.Writer, o *Output, r control.LintResult) {
	for _, f := range r.Findings {
		fmt.Fprintf(w, "%s:%d:%d: %s: %s\n", r.File, f.Line, f.Col, o.Paint(Warn, f.Kind), fault.Clean(f.Detail))
		if f.Witness != "" {
			fmt.Fprintf(w, "    for example %s\n", f.Witness)
		}
	}
	switch {
	case !r.Complete:
		fmt.Fprintf(w, "%s: %s: the rules overlap too much for all of them to be compared; there may be more\n", r.File, o.Paint(Warn, "stopped"))
	case len(r.Findings) == 0:
		fmt.Fprintf(w, "%s: %s, %d rules\n", r.File, o.Paint(Good, "good"), r.Rules)
	}
}

func policyRender(known InventoryOf) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "render [FILE]",
		Short: "A policy in another language: the one in force, or FILE; - is stdin",
		Args:  cobra.MaximumNArgs(1),
	}
	to := cmd.Flags().String("to", "nft", "the language: nft")
	cmd.RegisterFlagCompletionFunc("to", fixedFlag("nft\tnftables, as the appliance has it"))
	return withDesk(cmd, known, func(cmd *cobra.Command, args []string, o *Output, d *desk) error {
		if *to != "nft" {
			return fault.Errorf(fault.BadInput, "no language %q to render to: nft", *to)
		}
		p, err := d.load(cmd, append(args, "")[0])
		if err != nil {
			return err
		}
		r, err := control.Render(p, *to)
		if err != nil {
			return err
		}
		return o.Print(r, func(w io.Writer) { writeText(w, r.Text) })
	})
}
