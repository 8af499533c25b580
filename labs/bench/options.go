package bench

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice/firewall/fault"
)

// options are the command's flags.
type options struct {
	quick   bool
	rounds  int
	only    []string
	wirings []string
	sizes   []int
	into    string
	profile string
	verbose bool
}

func names(ss []subject) []string {
	var n []string
	for _, s := range ss {
		n = append(n, s.name)
	}
	return n
}

// run does all that can be refused before it begins: a run takes long.
func (o *options) run(cmd *cobra.Command) error {
	format := cmd.Flag("output").Value.String()
	if !slices.Contains([]string{"table", "json", "yaml", "md"}, format) {
		return fault.Errorf(fault.BadInput, "no output format %q: table, json, yaml or md", format)
	}
	plan, err := o.plan(cmd.Flags().Changed("rounds"))
	if err != nil {
		return err
	}
	page, err := openPage(o.into)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return fault.Errorf(fault.Lacks, "needs root: makes TAPs and network namespaces")
	}
	if o.verbose {
		plan.Trials = cmd.ErrOrStderr()
	}
	report, err := newReport(cmd.Context(), plan, strings.Join(append([]string{"sluice"}, os.Args[1:]...), " "))
	if err != nil {
		return err
	}
	if err := report.measure(cmd.Context(), cmd.ErrOrStderr()); err != nil {
		return err
	}
	if err := page.write(report.markdown()); err != nil {
		return fmt.Errorf("write %s: %w", o.into, err)
	}
	return report.print(cmd.OutOrStdout(), format)
}

// plan checks what was asked for.
func (o *options) plan(roundsGiven bool) (Plan, error) {
	p := Plan{Rounds: o.rounds, Sizes: o.sizes, NDR: !o.quick, TrialTime: 400 * time.Millisecond, SteadyTime: time.Second,
		TCPSeconds: 3, Trials: io.Discard, Profile: o.profile, Subjects: subjects()}
	if o.quick {
		p.TCPSeconds = 1
		if !roundsGiven {
			p.Rounds = 1
		}
	}
	for _, w := range o.wirings {
		p.Wirings = append(p.Wirings, Wiring(w))
	}
	if err := p.valid(); err != nil {
		return p, err
	}
	for _, name := range o.only {
		if known := names(p.Subjects); !slices.Contains(known, name) {
			return p, fault.Errorf(fault.BadInput, "--only %q: %s", name, strings.Join(known, ", "))
		}
	}
	p.Subjects = slices.DeleteFunc(p.Subjects, func(s subject) bool { return len(o.only) > 0 && !slices.Contains(o.only, s.name) })
	return p, nil
}

func (p Plan) valid() error {
	if p.Rounds < 1 || p.Rounds > 100 {
		return fault.Errorf(fault.BadInput, "--rounds %d: 1 to 100", p.Rounds)
	}
	if len(p.Sizes) == 0 || len(p.Wirings) == 0 {
		return fault.Errorf(fault.BadInput, "--sizes and --wiring may not be empty")
	}
	for i, size := range p.Sizes {
		if size < 64 || size > 1518 || slices.Contains(p.Sizes[:i], size) {
			return fault.Errorf(fault.BadInput, "--sizes %d: 64 to 1518, each once", size)
		}
	}
	for i, w := range p.Wirings {
		if w != TAP && w != Veth || slices.Contains(p.Wirings[:i], w) {
			return fault.Errorf(fault.BadInput, "--wiring %s: tap or veth, each once", w)
		}
	}
	return nil
}
