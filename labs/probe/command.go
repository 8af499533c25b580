package probe

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// Argv is the command line that tries targets in a guest.
func Argv(targets []Target, within time.Duration) []string {
	argv := []string{"sluice", "probe", "--within", within.String()}
	for _, t := range targets {
		argv = append(argv, t.String())
	}
	return argv
}

// Command is the hidden `sluice probe`, which runs in a guest and prints one line of JSON: the results, in order.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use: "probe TARGET...", Short: "Try targets from inside a guest", Hidden: true,
		Args: cobra.RangeArgs(1, MaxTargets),
	}
	within := cmd.Flags().Duration("within", 2*time.Second, "how long an answer is waited for")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		targets := make([]Target, len(args))
		for i, a := range args {
			var err error
			if targets[i], err = ParseTarget(a); err != nil {
				return err
			}
		}
		if *within <= 0 || *within > time.Minute {
			return fmt.Errorf("--within %s: more than nothing, at most a minute", *within)
		}
		return json.NewEncoder(c.OutOrStdout()).Encode(Try(c.Context(), targets, *within))
	}
	return cmd
}
