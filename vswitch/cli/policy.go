package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"sluice/firewall/fault"
	"sluice/vswitch/control"
)

// maxPolicy bounds a policy file in bytes; one of 100,000 rules has about 10 MB.
const maxPolicy = 16 << 20

func policyCommand(known InventoryOf) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Show, change and check the policy of a running lab",
		Long: `Show, change and check the policy of a running lab. A policy names guests and segments, so it can only be read
beside a lab that has them: these commands need a running lab, or --in LAB where they take it.

` + policyLanguage,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fault.Errorf(fault.BadInput, "policy what? show, apply FILE, lint FILE, render, test FILE, diff A [B]; help has the language")
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "help",
		Short: "The language of policies: an example, and all keys",
		Args:  cobra.NoArgs,

		Annotations: map[string]string{NoAnswer: ""},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return writeProse(cmd.OutOrStdout(), policyLanguage, paragraphs)
		},
	})
	cmd.AddCommand(policyShow(), policyApply(), policyLint(known), policyRender(known), policyTest(known), policyDiff(known))
	return cmd
}

func policyShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "The policy in force, as it was written",
		Args:  cobra.NoArgs,
		RunE: withLab(func(cmd *cobra.Command, _ []string, o *Output, c *control.Client) error {
			p, err := c.Policy(cmd.Context())
			if err != nil {
				return err
			}
			if o.Table() {
				o.Note("# %s, generation %d", p.File, p.Generation)
				if p.Administered == control.InAppliance {
					o.Note("# administered inside the appliance: `policy edit` and `policy push` there")
				}
				for _, r := range p.Realized {
					if r.Generation != p.Generation {
						o.Note("# %s still has generation %d", r.Point, r.Generation)
					}
				}
			}
			return o.Print(p, func(w io.Writer) { writeText(w, p.Source) })
		}),
	}
}

func policyApply() *cobra.Command {
	return &cobra.Command{
		Use:   "apply FILE",
		Short: "Put a policy in force, in the engine and in the appliance; - is stdin",
		Args:  cobra.ExactArgs(1),
		RunE: withPolicyLab(func(cmd *cobra.Command, args []string, o *Output, c *control.Client) error {
			text, err := readPolicy(cmd, args[0])
			if err != nil {
				return err
			}
			r, err := c.SetPolicy(cmd.Context(), text)
			if err != nil {
				return err
			}
			return o.Print(r, func(w io.Writer) {
				fmt.Fprintf(w, "generation %d is in force (%s, epoch %d): %d rules, %d flows cut, %s ms\n",
					r.Generation, r.Placement, r.Epoch, r.Rules, r.FlowsCut, decimals(r.DurationMS, 1))
				if r.FlowsCut > 0 {
					fmt.Fprintln(w, "Cut is what the switch had noted and this policy does not allow: connections, and attempts that nobody answered.")
				}
				if !r.Placement.Enforces() {
					fmt.Fprintln(w, o.Paint(Warn, "Nobody enforces it: the placement is off."))
				}
			})
		}),
	}
}

func readPolicy(cmd *cobra.Command, name string) (control.PolicyText, error) {
	in, shown := cmd.InOrStdin(), name
	if name == "-" {
		shown = "stdin"
	} else {
		f, err := os.Open(name)
		if err != nil {
			return control.PolicyText{}, fault.Errorf(fault.BadInput, "read the policy: %w", err)
		}
		defer f.Close()
		in = f
	}
	src, err := io.ReadAll(io.LimitReader(in, maxPolicy+1))
	if err != nil {
		return control.PolicyText{}, fault.Errorf(fault.BadInput, "read the policy: %w", err)
	}
	if len(src) > maxPolicy {
		return control.PolicyText{}, fault.Errorf(fault.BadInput, "%s is no policy: longer than %d MiB", shown, maxPolicy>>20)
	}
	return control.PolicyText{File: shown, Source: string(src)}, nil
}

func writeText(w io.Writer, s string) {
	io.WriteString(w, strings.TrimRight(s, "\n")+"\n")
}
