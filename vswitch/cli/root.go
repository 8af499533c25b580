package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sluice/firewall/fault"
)

// ExitError ends the command with a code that is not a class of failure: that of a command in a guest. Nothing is
// printed for it.
type ExitError struct{ Code int }

func (e *ExitError) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// BadInput gives an error the exit code of wrong use or bad input, for commands that know nothing of the switch's own
// errors.
func BadInput(err error) error { return fault.Errorf(fault.BadInput, "%w", err) }

// Commands are the commands of a running switch. known is how those that check policies read a lab that does not run,
// and names completes what that is called.
func Commands(known InventoryOf, names cobra.CompletionFunc) []*cobra.Command {
	policy := policyCommand(known)
	for _, c := range policy.Commands() {
		if c.Flags().Lookup(inFlag) != nil {
			CompleteFlags(c, names, inFlag)
		}
	}
	return []*cobra.Command{
		placeCommand(), execCommand(), consoleCommand(), policy, traceCommand(), flowsCommand(), fdbCommand(),
		statsCommand(), applianceCommand(), inspectionsCommand(), eventsCommand(),
	}
}

// Root makes the command `sluice` with the flags that all commands share.
func Root(commands ...*cobra.Command) *cobra.Command {
	root := &cobra.Command{
		Use:               "sluice",
		Short:             "A virtual switch emulator with firewall insertion points, for teaching and labs",
		Version:           thisVersion(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              noSuchCommand,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return begin(cmd) },
	}
	root.PersistentFlags().StringP("output", "o", "table", "table, json or yaml")
	root.PersistentFlags().String("lab", "", "the running lab that is meant; may be left out where one runs")
	root.RegisterFlagCompletionFunc("output", completeFormat)
	root.RegisterFlagCompletionFunc("lab", CompleteLabs)
	root.AddCommand(commands...)
	root.AddCommand(environmentTopic())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	root.InitDefaultVersionFlag() // before a command runs, so that the pages of docs/cli have it
	refuseUnknown(root)
	wrapHelp(root)
	noFiles(root)
	return root
}

// refuseUnknown has a word that is no command refused, with what was probably meant, wherever only commands may stand.
// Cobra does so at the root only; elsewhere it shows the help, as if that had been asked for.
func refuseUnknown(parent *cobra.Command) {
	for _, c := range parent.Commands() {
		if c.HasSubCommands() {
			refuseUnknown(c)
		}
		switch {
		case c.HasAvailableSubCommands():
			c.Args = noSuchCommand
			if !c.Runnable() {
				c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
			}
		case c.HasSubCommands():
			c.Args = counted(cobra.NoArgs) // those that it has are for itself
		case c.Args != nil:
			c.Args = counted(c.Args)
		}
		if c.Name() == "help" && c.Parent() == c.Root() {
			help := c.Run
			c.Run, c.RunE = nil, func(c *cobra.Command, args []string) error {
				at := c.Root()
				for i, word := range args {
					if at = named(at, word); at == nil {
						return unknownCommand(parentOf(c.Root(), args[:i]), word)
					}
				}
				help(c, args)
				return nil
			}
		}
	}
}

// counted has a wrong number of arguments told by what the command takes, not by numbers.
func counted(takes cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		err := takes(c, args)
		var known *fault.Error
		if err == nil || errors.As(err, &known) {
			return err
		}
		quoted := make([]string, len(args))
		for i := range args {
			quoted[i] = strconv.Quote(args[i])
		}
		given := cmp.Or(strings.Join(quoted, ", "), "nothing")
		if _, wants, some := strings.Cut(c.Use, " "); some {
			return fmt.Errorf("`%s` takes %s, and was given %s", c.CommandPath(), wants, given)
		}
		return fmt.Errorf("`%s` takes no argument, and was given %s", c.CommandPath(), given)
	}
}

func noSuchCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return unknownCommand(c, args[0])
}

func unknownCommand(c *cobra.Command, word string) error {
	known := []string{}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			known = append(known, sub.Name())
		}
	}
	likely := known
	if c == c.Root() {
		likely = append(slices.Clone(known), "help")
	}
	if s := fault.Suggest(word, likely); s != "" {
		return fault.Errorf(fault.BadInput, "`%s` has no command %q: did you mean `%s %s`?", c.CommandPath(), word, c.CommandPath(), s)
	}
	return fault.Errorf(fault.BadInput, "`%s` has no command %q: there are %s", c.CommandPath(), word, strings.Join(known, ", "))
}

// named is a command's own command of a name; nil where there is none.
func named(c *cobra.Command, word string) *cobra.Command {
	for _, sub := range c.Commands() {
		if sub.Name() == word || sub.HasAlias(word) {
			return sub
		}
	}
	return nil
}

func parentOf(c *cobra.Command, words []string) *cobra.Command {
	for _, w := range words {
		c = named(c, w)
	}
	return c
}

// started marks a command whose flags and arguments were accepted: an error after that is no wrong use.
type started struct{}

// begin fills flags that were not given from the environment: SLUICE_OUTPUT for --output, and so on. It runs before
// every command, so no command may have a PersistentPreRun of its own.
func begin(cmd *cobra.Command) error {
	given := cmd.Flag("output").Changed
	if given && answerless(cmd) {
		return fault.Errorf(fault.BadInput, "`%s` has no answer of its own that -o could form: leave it out", cmd.CommandPath())
	}
	var err error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		value, set := os.LookupEnv(EnvName(f.Name))
		if !set || f.Changed || f.Name == "help" || f.Name == "version" || err != nil {
			return
		}
		if e := cmd.Flags().Set(f.Name, value); e != nil {
			err = fault.Errorf(fault.BadInput, "%s: %w", EnvName(f.Name), e)
		}
	})
	if err != nil {
		return err
	}
	ctx := context.WithValue(cmd.Context(), started{}, true)
	if given {
		ctx = context.WithValue(ctx, outputGiven{}, true)
	}
	cmd.SetContext(ctx)
	return nil
}

// EnvName is the environment variable of a flag: SLUICE_ and its name in capitals, - as _.
func EnvName(flag string) string {
	return "SLUICE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Run runs the command with the arguments (without the program's name), prints `sluice: ` and the error once on stderr
// if there is one, and returns the exit code.
func Run(ctx context.Context, root *cobra.Command, args []string) int {
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	var exit *ExitError
	if errors.As(err, &exit) {
		return exit.Code
	}
	writeProse(cmd.ErrOrStderr(), "sluice: "+fault.Lines(strings.TrimRight(err.Error(), "\n"), maxNote)+"\n", lineByLine)
	var known *fault.Error
	if !errors.As(err, &known) && cmd.Context().Value(started{}) == nil {
		hint(cmd.ErrOrStderr(), cmd)
		return int(fault.BadInput)
	}
	return int(fault.ClassOf(err))
}

func hint(w io.Writer, cmd *cobra.Command) {
	fmt.Fprintf(w, "See `%s --help`.\n", cmd.CommandPath())
}
