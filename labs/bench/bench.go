// Package bench measures the switch beside its peers: Linux bridge, the same with nftables, OVS's userspace datapath,
// VDE 2, and a bare BPF redirect as the limit of what this kernel can do. It makes the traffic, counts what arrived and
// what it cost, and writes docs/bench.md. Whether a verdict is right is not its business, and no test asserts a time.
//
// One round measures every subject once, in a fresh set of namespaces, in an order that changes from round to round.
// The machine's mood then falls on all of them alike, and ratios within a round mean something where figures do not.
package bench

import (
	"errors"

	"github.com/spf13/cobra"
)

// Command is `sluice bench`.
func Command() *cobra.Command {
	return &cobra.Command{
		Use:   "bench",
		Short: "Measure the switch beside Linux bridge, OVS and VDE",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return errors.New("not built yet") },
	}
}
