// Package bench measures the switch beside its peers: Linux bridge, the same with nftables, OVS's userspace datapath,
// VDE 2, and a bare BPF redirect as the limit of what this kernel can do. It makes the traffic, counts what arrived and
// what it cost, and writes docs/bench.md. Whether a verdict is right is not its business, and no test asserts a time.
//
// One round measures every subject once, in a fresh set of namespaces, in an order that changes from round to round.
// The machine's mood then falls on all of them alike, and ratios within a round mean something where figures do not.
package bench

import (
	"strings"

	"github.com/spf13/cobra"

	"sluice/vswitch/cli"
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
		Example:     "  sluice bench --quick --only user-fast,bridge\n  sluice bench -o md --into docs/bench.md",
		Args:        cobra.NoArgs,
		Annotations: map[string]string{cli.MoreFormats: "md"},
		RunE:        func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.quick, "quick", false, "one round, no search for the no-drop rate, short TCP")
	f.IntVar(&o.rounds, "rounds", 5, "rounds of which the median is taken, 1 to 100")
	f.StringSliceVar(&o.only, "only", nil, "measure only these: "+strings.Join(names(subjects()), ", "))
	f.StringSliceVar(&o.wirings, "wiring", []string{string(TAP), string(Veth)}, "tap, veth or both")
	f.IntSliceVar(&o.sizes, "sizes", []int{64}, "frame sizes in bytes, 64 to 1518; the first has the whole programme")
	f.StringVar(&o.into, "into", "", "write the tables into this Markdown file, between its marks")
	f.StringVar(&o.profile, "profile", "", "write CPU profiles of the user engine, to files whose names begin so")
	f.BoolVar(&o.verbose, "verbose", false, "tell of every trial on stderr")
	cli.CompleteFlag(cmd, "only", names(subjects())...)
	cli.CompleteFlag(cmd, "wiring", string(TAP), string(Veth))
	cli.CompleteFlags(cmd, cobra.NoFileCompletions, "sizes")
	cmd.MarkFlagFilename("into", "md")
	cmd.MarkFlagFilename("profile")
	cmd.AddCommand(playCommand(), engineCommand())
	return cmd
}
