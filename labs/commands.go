package labs

import "github.com/spf13/cobra"

// Commands are the commands that make and end labs, and what says whether this machine can run them.
func Commands() []*cobra.Command {
	return nil
}
