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

// DownloadArgv is the command line that downloads in a guest.
func DownloadArgv(from Target, during time.Duration) []string {
	return []string{"sluice", "probe", "--download", during.String(), from.String()}
}

// Command is the hidden `sluice probe`, which runs in a guest and prints one line of JSON: the results, in order.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use: "probe TARGET...", Short: "Try targets from inside a guest", Hidden: true,
		Args: cobra.RangeArgs(1, maxTargets),
	}
	fetch := cmd.Flags().Duration("download", 0, "download from the one target, the service http, for so long instead")
	within := cmd.Flags().Duration("within", 2*time.Second, "how long an answer is waited for")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		targets := make([]Target, len(args))
		if *fetch > 0 {
			return download(c, args, *fetch)
		}
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

func download(c *cobra.Command, args []string, during time.Duration) error {
	if len(args) != 1 || during > time.Minute {
		return fmt.Errorf("--download: from one target, for at most a minute")
	}
	from, err := ParseTarget(args[0])
	if err != nil {
		return err
	}
	d, err := fetch(c.Context(), from, during)
	if err != nil {
		return err
	}
	return json.NewEncoder(c.OutOrStdout()).Encode(d)
}
