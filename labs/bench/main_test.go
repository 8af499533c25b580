package bench

import (
	"os"
	"testing"

	"github.com/spf13/cobra"
)

// The player and the engine are this program started again, so the test binary must be able to be them.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "bench" {
		if err := command(os.Args[1:]...).Execute(); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// command is the command under a root with the flag that all commands share.
func command(args ...string) *cobra.Command {
	root := &cobra.Command{Use: "sluice", SilenceUsage: true}
	root.PersistentFlags().StringP("output", "o", "table", "")
	root.AddCommand(Command())
	root.SetArgs(args)
	return root
}
