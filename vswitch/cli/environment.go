package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// variables are the environment variables that the commands read, and what each is for.
var variables = []struct{ name, says string }{
	{"SLUICE_FLAG", "each flag has one: its name in capitals, - as _; the flag itself comes first"},
	{"SLUICE_STATE_DIR", "the folder of running labs, whose sockets have 107 bytes at most   (root: /run/sluice)"},
	{"XDG_RUNTIME_DIR", "else who is not root has it there, in sluice"},
	{"XDG_CACHE_HOME", "the guests' kernel and images are there, in sluice   (~/.cache)"},
	{"HOME", "where ~ is"},
	{"TMPDIR", "for files that are soon gone   (/tmp)"},
	{"NO_COLOR", "anything: no colours"},
	{"TERM", "dumb or empty: no colours, nothing is written over; a console passes it to its guest"},
	{"PATH", "where programs are, as qemu-system-x86_64"},
	{"TZ", "the time zone of what is printed and logged"},
	{"SUDO_UID", "set by sudo: whose folder SLUICE_STATE_DIR may name, beside root's"},
	{"SUDO_USER", "set by sudo: who gets the file of `sluice doctor --bundle`"},
	{"EDITOR", "in the appliance: what `policy edit` starts there   (vi)"},
	{"GODEBUG, GOGC", "of Go's runtime (package runtime), as are those below"},
	{"GOMAXPROCS, GOMEMLIMIT", "how many processors and how much memory it may use"},
	{"GOTRACEBACK, GOCOVERDIR", "what it tells of a crash, and of what was run"},
}

const aboutVariables = `A flag that is not given is taken from the environment:

  export SLUICE_LAB=two            # as --lab two with every command
  export SLUICE_GUESTS=netns       # as --guests netns
  export SLUICE_OUTPUT=json        # as -o json

`

const afterVariables = `
A lab process takes PATH, TZ, SLUICE_STATE_DIR, XDG_RUNTIME_DIR and those of Go's runtime from whoever
deploys it, no other.
A script that a check runs gets SLUICE_LAB.
`

// environmentTopic is what sluice help environment says.
func environmentTopic() *cobra.Command {
	var b strings.Builder
	b.WriteString(aboutVariables)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "VARIABLE\tWHAT IT IS FOR")
	for _, v := range variables {
		fmt.Fprintf(t, "%s\t%s\n", v.name, v.says)
	}
	t.Flush() // to memory
	b.WriteString(afterVariables)
	return &cobra.Command{Use: "environment", Short: "The environment variables that commands read", Long: b.String()}
}
