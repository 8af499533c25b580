// Command sluice is a virtual switch emulator with firewall insertion points, for teaching and labs. This file only joins
// the command trees of the floors below.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"sluice/firewall/appliance/admin"
	"sluice/labs"
	"sluice/labs/bench"
	"sluice/labs/bench/stream"
	"sluice/labs/billing"
	"sluice/labs/course"
	"sluice/labs/demo"
	"sluice/labs/guest/agent"
	"sluice/labs/guest/confine"
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
	root := cli.Root(slices.Concat(labs.Commands(course.Commands()...), cli.Commands(labs.InventoryOf), []*cobra.Command{
		demo.Command(), bench.Command(), stream.Command(), probe.Command(), billing.Command(cli.Print, cli.BadInput),
	})...)
	code := cli.Run(ctx, root, os.Args[1:])
	stop()
	os.Exit(code)
}
