// Package commands has the commands that deploy, list and destroy labs, look after images, and examine the machine.
// Those of a course are in labs/course, those of a running switch in vswitch/cli. It asks labs/running and labs/guest,
// and prints: how a lab is made is not its business.
package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice/firewall/fault"
	"sluice/labs"
	"sluice/labs/guest"
	"sluice/labs/labfile"
	"sluice/labs/running"
	"sluice/vswitch/cli"
	"sluice/vswitch/control"
)

// Commands are the commands that make and end labs, and what says whether this machine can run them. more are put
// beside those of `sluice lab`.
func Commands(more ...*cobra.Command) []*cobra.Command {
	lab := &cobra.Command{
		Use:   "lab",
		Short: "Labs: list, deploy, check, grade, reset, destroy",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	lab.AddCommand(lsCommand(), deployCommand(), inspectCommand(), destroyCommand(), runCommand())
	lab.AddCommand(more...)
	return []*cobra.Command{lab, imageCommand(), doctorCommand()}
}

func deployCommand() *cobra.Command {
	var o running.Options
	cmd := &cobra.Command{
		Use:   "deploy LAB",
		Short: "Bring a lab up: a built-in one by its name or number, or the lab in a folder",
		Example: "  sluice lab deploy fast-vs-slow\n  sluice lab deploy 03\n" +
			"  sluice lab deploy ./my-lab --guests netns --placement off",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: CompleteBuiltins,
		RunE: func(cmd *cobra.Command, args []string) error {
			return deployAndShow(cmd, args[0], o)
		},
	}
	cmd.Flags().StringVar(&o.Guests, "guests", labfile.KindAuto, "what guests are where the lab leaves it open: qemu, netns or auto")
	BootFlag(cmd, &o, "")
	cmd.Flags().StringVar(&o.Engine, "engine", running.EngineUser,
		"what moves the frames: user (in Go), kernel (BPF programs in front of it), or auto (kernel where that works)")
	cmd.Flags().StringVar(&o.Name, "name", "", "another name than the lab's own, to run it twice")
	cmd.Flags().StringVar(&o.Work.Student, "student", "", "whose version of the lab: its parameters are drawn by this name")
	cmd.Flags().StringVar(&o.Placement, "placement", "", "where the policy is enforced at first, instead of what the lab says")
	CompleteGuestsFlag(cmd)
	cli.CompleteFlags(cmd, cobra.NoFileCompletions, "name", "student")
	cli.CompleteFlag(cmd, "placement", labfile.PlacementWords()...)
	cli.CompleteFlag(cmd, "engine", running.EngineUser, running.EngineKernel, running.EngineAuto)
	return cmd
}

func deployAndShow(cmd *cobra.Command, ref string, o running.Options) error {
	out, err := cli.OutputOf(cmd)
	if err != nil {
		return err
	}
	begun := time.Now()
	l, err := running.Deploy(cmd.Context(), ref, o, func(what string) { out.Note("%5.1f s  %s", time.Since(begun).Seconds(), what) })
	if err != nil {
		return err
	}
	out.Note("%5.1f s  lab %s is ready", time.Since(begun).Seconds(), l.Name)
	return inspect(cmd.Context(), out, l.Name)
}

func inspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "inspect [LAB]",
		Short:             "Show a running lab: its guests, their addresses, the placement",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cli.CompleteLabs,
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := cli.OutputOf(cmd)
			if err != nil {
				return err
			}
			return inspect(cmd.Context(), out, Argument(cmd, args))
		},
	}
}

// Argument is the running lab that a command means: its argument, or --lab; empty is the only one.
func Argument(cmd *cobra.Command, args []string) string {
	if len(args) == 0 {
		return cli.LabOf(cmd)
	}
	return deployedName(args[0])
}

// deployedName is the name that a lab is deployed under, for people who give what they gave to deploy.
func deployedName(ref string) string {
	if running.Present(ref) {
		return ref
	}
	if l, err := labfile.Load(ref); err == nil {
		return l.Name
	}
	return ref
}

func inspect(ctx context.Context, out *cli.Output, name string) error {
	c, err := control.Dial(ctx, name)
	if err != nil {
		return err
	}
	defer c.Close()
	info, err := c.Inspect(ctx)
	if err != nil {
		return err
	}
	return out.Print(info, func(w io.Writer) {
		fmt.Fprintf(w, "lab %s  placement %s  engine %s  epoch %d  pid %d\n", info.Name, info.Placement, info.Engine, info.Epoch, info.PID)
		grid := cli.NewGrid("GUEST", "KIND", "STATE", "ADDRESSES")
		for _, g := range info.Guests {
			grid.Row(g.Name, g.Kind, g.State, strings.Join(g.Addresses, " "))
		}
		grid.Write(w, "")
	})
}

// destroyed is the answer of `lab destroy`.
type destroyed struct {
	Destroyed []string `json:"destroyed"` // labs
}

func destroyCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:               "destroy [LAB]",
		Short:             "End a lab and remove all of it, also after a crash",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeDeployed,
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := cli.OutputOf(cmd)
			if err != nil {
				return err
			}
			if err := running.NeedRoot(); err != nil {
				return err
			}
			names, err := toDestroy(cmd, args, all)
			if err != nil {
				return err
			}
			gone := destroyed{[]string{}}
			var failed error
			for _, name := range names {
				err := running.Destroy(name)
				if err == nil {
					gone.Destroyed = append(gone.Destroyed, name)
					out.Note("lab %s is gone", name)
				}
				failed = errors.Join(failed, err)
			}
			return errors.Join(out.Done(gone), failed)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every lab that `sluice lab ls` shows")
	return cmd
}

// toDestroy names the labs that are meant.
func toDestroy(cmd *cobra.Command, args []string, all bool) ([]string, error) {
	here, err := running.DeployedNames()
	switch {
	case err != nil:
		return nil, err
	case all && len(args) > 0:
		return nil, fault.Errorf(fault.BadInput, "give a lab or --all, not both")
	case all:
		return here, nil
	}
	if name := Argument(cmd, args); name != "" {
		return []string{name}, nil
	}
	switch len(here) {
	case 1:
		return here, nil
	case 0:
		return nil, fault.Errorf(fault.BadInput, "no lab is here, so there is nothing to destroy")
	default:
		return nil, fault.Errorf(fault.BadInput, "%d labs are here (%s); say which, or --all", len(here), strings.Join(here, ", "))
	}
}

// listed is a lab in `lab ls`.
type listed struct {
	Number  string `json:"number,omitempty"` // of a built-in one
	Name    string `json:"name"`
	Title   string `json:"title"`
	BuiltIn bool   `json:"built_in"`
	State   string `json:"state"` // running, dead (its process has gone, guests may live), or not deployed
}

func lsCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the built-in labs and those that are deployed",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, err := cli.OutputOf(cmd)
			if err != nil {
				return err
			}
			list, err := list()
			if err != nil {
				return err
			}
			return out.Print(list, func(w io.Writer) {
				grid := cli.NewGrid("NR", "LAB", "STATE", "TITLE")
				for _, l := range list {
					grid.Row(l.Number, l.Name, l.State, l.Title)
				}
				grid.Write(w, "")
			})
		},
	}
}

func list() ([]listed, error) {
	here, err := running.DeployedNames()
	if err != nil {
		return nil, err
	}
	state := map[string]string{}
	for _, name := range here {
		state[name] = "dead"
		if running.Lives(name) {
			state[name] = "running"
		}
	}
	var out []listed
	for _, b := range labs.Builtins() {
		l, err := labfile.Load(b.Folder)
		if err != nil {
			return nil, err
		}
		s := "not deployed"
		if state[l.Name] != "" {
			s = state[l.Name]
		}
		delete(state, l.Name)
		out = append(out, listed{Number: b.Number(), Name: l.Name, Title: l.Title, BuiltIn: true, State: s})
	}
	for _, name := range here {
		if state[name] != "" {
			out = append(out, listed{Name: name, State: state[name]})
		}
	}
	return out, nil
}

// runCommand is the lab process: how deploy calls this binary again.
func runCommand() *cobra.Command {
	var confined bool
	cmd := &cobra.Command{
		Use:    "run FOLDER",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return running.Run(cmd.Context(), args[0], confined)
		},
	}
	cmd.Flags().BoolVar(&confined, running.ConfinedFlag, false, "this process has started afresh")
	return cmd
}

// CompleteBuiltins completes the built-in labs by their names, or with their numbers for who begins with one; else
// folders.
func CompleteBuiltins(_ *cobra.Command, args []string, begun string) (words []string, next cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, b := range labs.Builtins() {
		switch {
		case begun != "" && strings.HasPrefix(b.Folder, begun):
			words = append(words, b.Folder)
		case strings.HasPrefix(b.Name(), begun):
			words = append(words, b.Name())
		}
	}
	if len(words) == 0 {
		next = cobra.ShellCompDirectiveFilterDirs
	}
	return words, next
}

// CompleteLabFlag completes the lab that a flag names, as CompleteBuiltins does an argument.
func CompleteLabFlag(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	return CompleteBuiltins(cmd, nil, begun)
}

// BootFlag adds --boot; when says to what else it belongs.
func BootFlag(cmd *cobra.Command, o *running.Options, when string) {
	cmd.Flags().StringVar((*string)(&o.Boot), "boot", string(guest.BootAuto),
		when+"how QEMU guests come up: clone (from the memory of one that has booted), cold, or auto (cloned where that works)")
	cli.CompleteFlag(cmd, "boot", string(guest.BootAuto), string(guest.BootClone), string(guest.BootCold))
}

// CompleteGuestsFlag completes --guests: what guests are.
func CompleteGuestsFlag(cmd *cobra.Command) {
	cli.CompleteFlag(cmd, "guests", labfile.KindAuto+"\tQEMU where it works", labfile.KindQEMU+"\tvirtual machines", labfile.KindNetns+"\tnetwork namespaces of this machine")
}

// completeDeployed completes the labs that are here, also those whose process has gone.
func completeDeployed(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	here, _ := running.DeployedNames()
	return here, cobra.ShellCompDirectiveNoFileComp
}
