package admin

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"sluice/firewall"
	"sluice/firewall/fault"
)

// CommandName is what the command is called: in the image it is a link to the program.
const CommandName = "policy"

// IsCommand says whether a program was called as the command.
func IsCommand(arg0 string) bool { return filepath.Base(arg0) == CommandName }

func badInput(format string, args ...any) error { return fault.Errorf(fault.BadInput, format, args...) }

// errSaid ends a command whose output has said already what is wrong.
var errSaid = &fault.Error{Class: fault.Failed}

// Run is the command: it returns its exit code.
func Run(args []string) int { return under("/").run(args, os.Stdin, os.Stdout, os.Stderr) }

func (at place) run(args []string, in io.Reader, out, errs io.Writer) int {
	root := at.command()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.Execute()
	if err == nil {
		return 0
	}
	if !errors.Is(err, errSaid) {
		fmt.Fprintf(errs, "%s: %v\n", CommandName, err)
	}
	return int(fault.ClassOf(err))
}

func (at place) command() *cobra.Command {
	root := &cobra.Command{
		Use:   CommandName,
		Short: "Administer the policy inside the appliance, and push it down to the switch",
		Long: `Administer the policy inside the appliance, and push it down to the switch, which enforces it: this is the
placement push. The policy is the file ` + at.file + `, unless another is named; - is stdin.`,
		Args:          cobra.ArbitraryArgs,
		SilenceErrors: true, SilenceUsage: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return badInput("unknown command %q (%s --help)", args[0], CommandName)
			}
			return badInput("what? show, status, edit, lint, diff or push (%s --help)", CommandName)
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return badInput("%w", err) })
	root.AddCommand(
		verb("show", "The policy in force, as it was written", at.show),
		verb("status", "The generation in force, and the one realized at each vNIC", at.status),
		verb("edit", "Edit the policy with $EDITOR, or vi, and lint it", at.edit),
		verb("lint [FILE]", "Say what is wrong in a policy, and what looks wrong", at.lint),
		verb("diff [FILE]", "Name the flows that a policy decides otherwise than the one in force; it may be pushed then", at.diff),
		at.pushCommand())
	return root
}

// verb makes a command that may take a file where its use says so.
func verb(use, short string, run func(cmd *cobra.Command, file string) error) *cobra.Command {
	most := strings.Count(use, "[FILE]")
	return &cobra.Command{
		Use: use, Short: short,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > most {
				return badInput("too many arguments: %s %s", CommandName, use)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return run(cmd, args[0])
			}
			return run(cmd, "")
		},
	}
}

// draft is a policy that somebody works on.
type draft struct {
	file   string // its name for messages
	path   string // where it lies; empty for stdin
	source []byte
	policy *firewall.Policy
	Opening
}

// load looks at what is in force, and reads and compiles a file that is to follow it.
func (at place) load(cmd *cobra.Command, file string) (d draft, err error) {
	if file == "" {
		file = at.file
	}
	d = draft{file: file, path: file}
	if d.Opening, err = at.look(); err != nil {
		return d, err
	}
	if file == "-" {
		d.file, d.path = "stdin", ""
		d.source, err = readAll(cmd.InOrStdin(), d.file, MaxSource)
	} else {
		d.source, err = read(file, MaxSource)
	}
	if err != nil {
		return d, badInput("read the policy: %w", err)
	}
	if err := checkSource(d.source); err != nil {
		return d, badInput("%s: %w", d.file, err)
	}
	if d.policy, err = firewall.Load(d.file, d.source, d.Inventory); err != nil {
		return d, badInput("%w", err)
	}
	return d, nil
}
