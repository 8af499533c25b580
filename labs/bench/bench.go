// Package bench measures the switch beside its peers: Linux bridge, the same with nftables, OVS's userspace datapath,
// VDE 2, and a bare BPF redirect as the limit of what this kernel can do. It makes the traffic, counts what arrived and
// what it cost, and writes docs/bench.md. Whether a verdict is right is not its business, and no test asserts a time.
//
// One round measures every subject once, in a fresh set of namespaces, in an order that changes from round to round.
// The machine's mood then falls on all of them alike, and ratios within a round mean something where figures do not.
package bench

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sluice/vswitch/control"
)

// Command is `sluice bench`.
func Command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure the switch beside Linux bridge, OVS and VDE",
		Long: "Measure the switch beside Linux bridge, OVS's userspace datapath, VDE 2 and a bare BPF redirect: frames/s, " +
			"no-drop rate, latency, GSO frames, TCP and CPU. Needs root. Everything lives in namespaces without a name, " +
			"which go with the command.\n\nOutput (-o) can also be md, the tables of docs/bench.md.",
		Example: "  sluice bench --quick --only user-fast,bridge\n  sluice bench -o md --into docs/bench.md",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.quick, "quick", false, "one round, no search for the no-drop rate, short TCP")
	f.IntVar(&o.rounds, "rounds", 5, "rounds of which the median is taken, 1 to 100")
	f.StringSliceVar(&o.only, "only", nil, "measure only these: "+strings.Join(names(subjects()), ", "))
	f.StringSliceVar(&o.wirings, "wiring", []string{string(TAP), string(Veth)}, "tap, veth or both")
	f.IntSliceVar(&o.sizes, "sizes", []int{64}, "frame sizes in bytes, 64 to 1518; the first has the whole programme")
	f.StringVar(&o.into, "into", "", "write the tables into this Markdown file, between its marks")
	f.StringVar(&o.profile, "profile", "", "write CPU profiles of the user engine, to files whose names begin so")
	cmd.AddCommand(playCommand(), engineCommand())
	return cmd
}

type options struct {
	quick   bool
	rounds  int
	only    []string
	wirings []string
	sizes   []int
	into    string
	profile string
}

func names(ss []subject) []string {
	var n []string
	for _, s := range ss {
		n = append(n, s.name)
	}
	return n
}

func (o *options) run(cmd *cobra.Command) error {
	format := cmd.Flag("output").Value.String()
	if !slices.Contains([]string{"table", "json", "yaml", "md"}, format) {
		return control.Errorf(control.BadInput, "no output format %q: table, json, yaml or md", format)
	}
	plan, err := o.plan(cmd.Flags().Changed("rounds"))
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return control.Errorf(control.Lacks, "needs root: makes TAPs and network namespaces")
	}
	report, err := newReport(cmd.Context(), &plan, o.command())
	if err != nil {
		return err
	}
	for name, why := range report.Skipped {
		fmt.Fprintf(cmd.ErrOrStderr(), "without %s: %s\n", name, why)
	}
	if len(plan.Subjects) == 0 {
		return control.Errorf(control.Lacks, "nothing that was asked for can be measured here")
	}
	if report.Series, err = plan.run(cmd.Context(), cmd.ErrOrStderr()); err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	if o.into != "" {
		if err := report.writeInto(o.into); err != nil {
			return err
		}
	}
	return report.print(cmd.OutOrStdout(), format)
}

// plan checks what was asked for.
func (o *options) plan(roundsGiven bool) (Plan, error) {
	p := Plan{Rounds: o.rounds, Sizes: o.sizes, NDR: !o.quick, TCPSeconds: 3, Profile: o.profile}
	if o.quick {
		p.TCPSeconds = 1
		if !roundsGiven {
			p.Rounds = 1
		}
	}
	if p.Rounds < 1 || p.Rounds > 100 {
		return p, control.Errorf(control.BadInput, "--rounds %d: 1 to 100", p.Rounds)
	}
	for _, size := range p.Sizes {
		if size < 64 || size > 1518 {
			return p, control.Errorf(control.BadInput, "--sizes %d: 64 to 1518", size)
		}
	}
	for _, w := range o.wirings {
		if w != string(TAP) && w != string(Veth) {
			return p, control.Errorf(control.BadInput, "--wiring %q: tap or veth", w)
		}
		p.Wirings = append(p.Wirings, Wiring(w))
	}
	p.Subjects = subjects()
	for _, name := range o.only {
		if !slices.Contains(names(p.Subjects), name) {
			return p, control.Errorf(control.BadInput, "--only %q: %s", name, strings.Join(names(p.Subjects), ", "))
		}
	}
	p.Subjects = slices.DeleteFunc(p.Subjects, func(s subject) bool { return len(o.only) > 0 && !slices.Contains(o.only, s.name) })
	if len(p.Sizes) == 0 || len(p.Wirings) == 0 {
		return p, control.Errorf(control.BadInput, "--sizes and --wiring may not be empty")
	}
	return p, nil
}

// command is the command line that would do the same again.
func (o *options) command() string {
	return strings.Join(append([]string{"sluice"}, os.Args[1:]...), " ")
}
