package cli

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"sluice/firewall/fault"
	"sluice/vswitch/control"
)

// LabOf is the lab that a command means, as --lab or the environment says; empty is the only one.
func LabOf(cmd *cobra.Command) string {
	lab, _ := cmd.Flags().GetString("lab")
	return lab
}

// Dial reaches the lab that a command means.
func Dial(cmd *cobra.Command) (*control.Client, error) {
	return control.Dial(cmd.Context(), LabOf(cmd))
}

// labRun is a command's work, once it has its output and its lab.
type labRun func(cmd *cobra.Command, args []string, o *Output, c *control.Client) error

// withLab is what most commands begin with: their output, and the lab.
func withLab(run labRun) func(*cobra.Command, []string) error { return withLabBy(Dial, run) }

// withPolicyLab is withLab for what reads a policy file: it says why that needs a lab.
func withPolicyLab(run labRun) func(*cobra.Command, []string) error {
	return withLabBy(func(cmd *cobra.Command) (*control.Client, error) {
		c, err := Dial(cmd)
		if err != nil {
			return nil, fault.Errorf(fault.ClassOf(err), "a policy names the guests and segments of a running lab: %w", err)
		}
		return c, nil
	}, run)
}

func withLabBy(dial func(*cobra.Command) (*control.Client, error), run labRun) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		o, err := OutputOf(cmd)
		if err != nil {
			return err
		}
		c, err := dial(cmd)
		if err != nil {
			return err
		}
		defer c.Close()
		return run(cmd, args, o, c)
	}
}

// CompleteLabs completes the names of running labs.
func CompleteLabs(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	labs, _ := control.Labs()
	return slices.DeleteFunc(labs, func(l string) bool { return !control.Running(l) }), cobra.ShellCompDirectiveNoFileComp
}

// CompleteGuests completes the names of the lab's guests, as the first argument.
func CompleteGuests(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	c, err := Dial(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer c.Close()
	info, err := c.Inspect(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, g := range info.Guests {
		names = append(names, g.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// fixed completes one of a few words as the first argument.
func fixed(words ...string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// CompleteFlag completes one of a few words as a flag's value.
func CompleteFlag(cmd *cobra.Command, flag string, words ...string) {
	cmd.RegisterFlagCompletionFunc(flag, fixedFlag(words...))
}

// CompleteFlags completes the values of several flags by one function.
func CompleteFlags(cmd *cobra.Command, by cobra.CompletionFunc, flags ...string) {
	for _, f := range flags {
		cmd.RegisterFlagCompletionFunc(f, by)
	}
}

// completePoints completes where a frame may be: a guest, for what it sends, or what it is sent.
func completePoints(cmd *cobra.Command, _ []string, begun string) (points []string, d cobra.ShellCompDirective) {
	guests, d := CompleteGuests(cmd, nil, begun)
	for _, g := range guests {
		points = append(points, g, g+"/to-guest")
	}
	return points, d
}

// noFiles keeps the shell from offering files to commands that take no arguments.
func noFiles(parent *cobra.Command) {
	for _, c := range parent.Commands() {
		noFiles(c)
		if c.ValidArgsFunction == nil && c.Args != nil && c.Args(c, []string{"x"}) != nil && c.Args(c, []string{"x", "x"}) != nil {
			c.ValidArgsFunction = cobra.NoFileCompletions
		}
	}
}

// fixedFlag completes one of a few words as a flag's value.
func fixedFlag(words ...string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// byReason writes counters by reason, the largest first: "rule 12, ttl 1".
func byReason(m map[string]uint64) string {
	keys := slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b))
	})
	words := make([]string, 0, len(m))
	for _, k := range keys {
		if m[k] > 0 {
			words = append(words, k+" "+strconv.FormatUint(m[k], 10))
		}
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

// decimals writes a number with at most n decimals and no needless zeros.
func decimals(f float64, n int) string {
	s := strconv.FormatFloat(f, 'f', n, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// joinArgs makes one sentence of arguments, so that quotes around it may be left out.
func joinArgs(args []string) string { return strings.Join(args, " ") }

// joinNonEmpty joins the words that are there.
func joinNonEmpty(sep string, words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), sep)
}
