package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"sluice/firewall"
	"sluice/firewall/fault"
	"sluice/vswitch/control"
)

// InventoryOf gives what a policy of a lab that need not run may refer to. The lab is built in, or a folder.
type InventoryOf func(lab string) (*firewall.Inventory, *firewall.Policy, error)

// desk is what policies are read against: a running lab, or one that does not run.
type desk struct {
	client    *control.Client // of the running lab; nil where it need not run
	inventory *firewall.Inventory
	policy    func(cmd *cobra.Command) (*firewall.Policy, error) // the lab's own
	own       string                                             // what that is called, once it was read
}

// onDesk is a command's work with policies, which changes nothing.
type onDesk func(cmd *cobra.Command, args []string, o *Output, d *desk) error

// inFlag names the lab that a policy is read against, where it need not run.
const inFlag = "in"

// withDesk adds the flag --in to a command, and lets it work.
func withDesk(cmd *cobra.Command, known InventoryOf, run onDesk) *cobra.Command {
	in := cmd.Flags().String(inFlag, "", "a lab that need not run: a built-in one by its name, or a folder")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o, err := OutputOf(cmd)
		if err != nil {
			return err
		}
		if *in != "" {
			inv, own, err := known(*in)
			if err != nil {
				return err
			}
			policy := func(*cobra.Command) (*firewall.Policy, error) { return own, nil }
			return run(cmd, args, o, &desk{inventory: inv, policy: policy, own: *in + "'s own"})
		}
		return withPolicyLab(func(cmd *cobra.Command, args []string, o *Output, c *control.Client) error {
			inv, err := c.Inventory(cmd.Context())
			if err != nil {
				return err
			}
			d := &desk{client: c, inventory: &inv}
			d.policy = func(cmd *cobra.Command) (*firewall.Policy, error) {
				p, err := c.Policy(cmd.Context())
				if err != nil {
					return nil, err
				}
				d.own = fmt.Sprintf("in force (generation %d)", p.Generation)
				return firewall.Load(p.File, []byte(p.Source), d.inventory)
			}
			return run(cmd, args, o, d)
		})(cmd, args)
	}
	return cmd
}

// load reads a policy file; without a name it is the lab's own.
func (d *desk) load(cmd *cobra.Command, name string) (*firewall.Policy, error) {
	if name == "" {
		return d.policy(cmd)
	}
	text, err := readPolicy(cmd, name)
	if err != nil {
		return nil, err
	}
	return firewall.Load(text.File, []byte(text.Source), d.inventory)
}

func policyTest(known InventoryOf) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test FILE",
		Short: "See whether a policy says what a file expects; - is stdin",
		Long: `See whether a policy says what a file expects. The file is a list, one expectation in a line:
  - {from: client, to: server, tcp: 80, expect: allow, rule: web}
  - {from: server, to: client, icmp: echo, expect: drop}
  - {from: client, to: server, udp: 123, from-port: 123, expect: allow}
A guest stands for each of its addresses: IPv4 and IPv6 are both tried. The rule may be left out.`,
		Example: "  sluice policy test policy.test.yaml\n  sluice policy test policy.test.yaml --policy new.yaml --in fast-vs-slow",
		Args:    cobra.ExactArgs(1),
	}
	policy := cmd.Flags().String("policy", "", "the policy that is tested; if left out, the lab's own, or the one in force")
	cmd.MarkFlagFilename("policy", "yaml", "yml")
	return withDesk(cmd, known, func(cmd *cobra.Command, args []string, o *Output, d *desk) error {
		p, err := d.load(cmd, *policy)
		if err != nil {
			return err
		}
		text, err := readPolicy(cmd, args[0])
		if err != nil {
			return err
		}
		results, err := p.Expect(text.File, []byte(text.Source))
		if err != nil {
			return err
		}
		failed := 0
		for _, r := range results {
			if !r.Passed {
				failed++
			}
		}
		if err := o.Print(results, func(w io.Writer) { writeExpectations(w, o, text.File, results) }); err != nil {
			return err
		}
		if failed > 0 {
			return fault.Errorf(fault.Failed, "%s: %d of %d expectations fail for %s", text.File, failed, len(results), p.File)
		}
		return nil
	})
}

func writeExpectations(w io.Writer, o *Output, file string, results []firewall.Expectation) {
	for _, r := range results {
		word := o.Paint(Good, "PASS")
		if !r.Passed {
			word = o.Paint(Bad, "FAIL")
		}
		fmt.Fprintf(w, "%s  %s:%d: %s: %s by rule %s at %s", word, file, r.Line, r.What, r.Got, r.Rule, r.Point)
		switch {
		case r.Passed:
		case r.Got != r.Expect:
			fmt.Fprintf(w, "; expected %s", r.Expect)
		default:
			fmt.Fprintf(w, "; another rule was expected")
		}
		fmt.Fprintln(w)
	}
}

// side is what one of two policies says of a flow.
type side struct {
	Verdict firewall.RuleAction `json:"verdict"`
	Rule    string              `json:"rule"`
	Where   string              `json:"where"` // FILE:LINE of the rule; the file alone for the default
	Point   string              `json:"point"` // the insertion point that decided
}

// differs is one way in which two policies differ.
type differs struct {
	Flow    string `json:"flow"` // one that shows it
	Classes int    `json:"classes"`
	A       side   `json:"a"`
	B       side   `json:"b"`
}

// comparison is the answer of `policy diff`.
type comparison struct {
	Complete    bool      `json:"complete"` // false: the policies differ in more places than are looked at
	A           string    `json:"a"`        // what the policies are called
	B           string    `json:"b"`
	Differences []differs `json:"differences"`
	Helpers     *helpers  `json:"helpers,omitempty"` // where they differ
}

// helpers are those of two policies, by their names: "none", or "ftp, tftp".
type helpers struct {
	A string `json:"a"`
	B string `json:"b"`
}

func policyDiff(known InventoryOf) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff A [B]",
		Short: "Name the flows that two policies decide differently, each with one that shows it",
		Long: `Name the flows that two policies decide differently, each with one that shows it. Without B, the policy in force (with --in: the
lab's own) is compared with A: from what is to what would be. Exit code: 0 they decide all flows alike, 1 they do not, 2 one is no policy.`,
		Example: "  sluice policy diff new.yaml\n  sluice policy diff old.yaml new.yaml --in fast-vs-slow",
		Args:    cobra.RangeArgs(1, 2),
	}
	return withDesk(cmd, known, func(cmd *cobra.Command, args []string, o *Output, d *desk) error {
		other := ""
		if len(args) == 2 {
			other = args[1]
		}
		a, err := d.load(cmd, args[0])
		if err != nil {
			return err
		}
		b, err := d.load(cmd, other)
		if err != nil {
			return err
		}
		names := [2]string{a.File, b.File}
		if other == "" {
			a, b, names = b, a, [2]string{d.own, a.File} // from what is to what may come
		}
		found := firewall.Diff(a, b)
		c := comparison{Complete: !found.Stopped, A: names[0], B: names[1], Differences: []differs{}}
		for _, f := range found.Differences {
			c.Differences = append(c.Differences, differs{f.Witness.String(), f.Classes, d.side(a, f.A), d.side(b, f.B)})
		}
		if found.Helpers {
			c.Helpers = &helpers{a.HelperNames(), b.HelperNames()}
		}
		if err := o.Print(c, func(w io.Writer) { writeComparison(w, o, c) }); err != nil {
			return err
		}
		if len(c.Differences) > 0 || c.Helpers != nil || !c.Complete {
			return &ExitError{Code: int(fault.Failed)}
		}
		return nil
	})
}

func (d *desk) side(p *firewall.Policy, x firewall.Decision) side {
	s := side{Verdict: x.Action, Rule: "default", Where: p.File, Point: d.inventory.VNIC(x.Point.Port) + "/" + x.Point.Dir.String()}
	if x.Rule > 0 {
		r := &p.Rules[x.Rule-1]
		s.Rule, s.Where = r.Name, fmt.Sprintf("%s:%d", p.File, r.Line)
	}
	return s
}

func writeComparison(w io.Writer, o *Output, c comparison) {
	width := max(len(c.A), len(c.B)) + 1
	for _, f := range c.Differences {
		fmt.Fprintf(w, "%s\n", o.Paint(Bold, f.Flow))
		for i, s := range []side{f.A, f.B} {
			color := Bad
			if s.Verdict == firewall.RuleAllow {
				color = Good
			}
			fmt.Fprintf(w, "    %-*s %s by rule %s (%s) at %s\n", width, []string{c.A, c.B}[i]+":", o.Paint(color, s.Verdict.String()), s.Rule, s.Where, s.Point)
		}
	}
	if h := c.Helpers; h != nil {
		fmt.Fprintf(w, "%s\n", o.Paint(Bold, "what connections announce, in slow"))
		fmt.Fprintf(w, "    %-*s helpers %s\n    %-*s helpers %s\n", width, c.A+":", h.A, width, c.B+":", h.B)
	}
	switch {
	case !c.Complete:
		fmt.Fprintf(w, "%s: the policies differ in more places than are looked at; there may be more\n", o.Paint(Warn, "stopped"))
	case len(c.Differences) == 0 && c.Helpers == nil:
		fmt.Fprintf(w, "%s and %s decide every flow alike\n", c.A, c.B)
	}
}
