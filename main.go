// Command sluice is a virtual switch emulator with firewall insertion points, for teaching and labs. This file only
// joins the command trees of the floors below.
package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"sluice/firewall/appliance/admin"
	"sluice/labs/bench"
	"sluice/labs/bench/stream"
	"sluice/labs/billing"
	"sluice/labs/check"
	"sluice/labs/commands"
	"sluice/labs/course"
	"sluice/labs/demo"
	"sluice/labs/guest/agent"
	"sluice/labs/guest/confine"
	"sluice/labs/labfile"
	"sluice/labs/probe"
	"sluice/vswitch/cli"
)

func main() {
	if err := confine.Descriptors(); err != nil { // first: nothing that is started may inherit what the shell has open
		fmt.Fprintln(os.Stderr, "sluice:", err)
		os.Exit(1)
	}
	if agent.IsInit() {
		agent.Main() // the same binary is the init process of every guest
	}
	if admin.IsCommand(os.Args[0]) {
		os.Exit(admin.Run(os.Args[1:])) // and the administrator's command in the appliance
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, command(), os.Args[1:])
	stop()
	os.Exit(code)
}

// command is `sluice`, with the commands of all floors.
func command() *cobra.Command {
	return cli.Root(slices.Concat(commands.Commands(course.Commands(course.Judges{"billing": judgeBilling})...), cli.Commands(labfile.InventoryOf, commands.CompleteLabFlag), []*cobra.Command{
		demo.Command(), bench.Command(), stream.Command(), probe.Command(), billing.Command(cli.Print, cli.BadInput),
	})...)
}

// judgeBilling lets the course grade the lab whose answers `sluice billing` judges.
func judgeBilling(lab fs.FS, shown string, text []byte) (check.Report, error) {
	r, err := billing.CheckAnswers(lab, shown, text)
	if err != nil {
		return check.Report{}, cli.BadInput(err)
	}
	out := check.Report{Passed: r.Passed, Points: r.Points, Of: r.Of}
	for _, t := range r.Tasks {
		reason := t.Reason
		if t.Passed {
			reason = "" // of a task that has passed the course says its title
		}
		out.Results = append(out.Results, check.Result{ID: t.ID, Title: t.Title, Passed: t.Passed, Points: t.Points, Of: t.Of, Reason: reason, Look: t.Look})
	}
	return out, nil
}
