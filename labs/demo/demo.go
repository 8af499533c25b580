// Package demo is the walk through the placements of the lab fast-vs-slow: what each allows and costs, and what a live
// change between them costs. It is a client of a running lab like any user: it tries and measures from inside the
// guests, and asks the switch for receipts only. It deploys through labs/running, and knows nothing of how a lab or a
// switch works.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"sluice/firewall"
	"sluice/labs/commands"
	"sluice/labs/labfile"
	"sluice/labs/running"
	"sluice/vswitch/cli"
	"sluice/vswitch/control"
)

// labName is the lab that is walked through; it is the reference lab, so its guests' names are known.
const labName = "fast-vs-slow"

// walk is the order of the placements.
var walk = []firewall.Placement{firewall.Off, firewall.Fast, firewall.Slow, firewall.Tunnel, firewall.Push, firewall.Inspect}

// Report is everything that the demo found, in order.
type Report struct {
	Stops   []Stop   `json:"stops"`
	Changes []Change `json:"changes"`
}

// Stop is one placement: what came through, and what it cost.
type Stop struct {
	Placement firewall.Placement `json:"placement"`
	Tries     []Try              `json:"tries"`
	Cost      Cost               `json:"cost"`
}

// Command is `sluice demo`.
func Command() *cobra.Command {
	var guests string
	var exit bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Deploy fast-vs-slow and walk through its placements, with figures; leave it running",
		Long: `Deploy the lab fast-vs-slow, and for each placement (off, fast, slow, tunnel, push, inspect) try from the client what is allowed and what is
denied, and measure what it costs. Between them the placement is changed under running streams, with a receipt.
The lab is left running, to play with.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd, guests, exit) },
	}
	cmd.Flags().StringVar(&guests, "guests", labfile.KindAuto, "what guests are: qemu, netns or auto (QEMU where it works)")
	commands.CompleteGuestsFlag(cmd)
	cmd.Flags().BoolVar(&exit, "exit", false, "destroy the lab at the end")
	return cmd
}

func run(cmd *cobra.Command, guests string, exit bool) (err error) {
	out, err := cli.OutputOf(cmd)
	if err != nil {
		return err
	}
	ctx, begun := cmd.Context(), time.Now()
	note := func(format string, a ...any) {
		out.Note("%5.1f s  %s", time.Since(begun).Seconds(), fmt.Sprintf(format, a...))
	}
	l, err := running.Deploy(ctx, labName, running.Options{Guests: guests, Placement: walk[0].String()},
		func(what string) { note("%s", what) })
	if err != nil {
		return err
	}
	defer func() {
		if err != nil || exit {
			err = errors.Join(err, running.Destroy(l.Name))
			note("lab %s is gone", l.Name)
		}
	}()
	c, err := control.Dial(ctx, l.Name)
	if err != nil {
		return err
	}
	defer c.Close()
	d := &demo{lab: c, note: note}
	if err := d.walk(ctx); err != nil {
		return err
	}
	note("done")
	if err := out.Print(d.report, func(w io.Writer) { d.report.write(w, out) }); err != nil {
		return err
	}
	if !exit {
		next(out, l.Name)
	}
	return nil
}

// demo is one run.
type demo struct {
	lab    *control.Client
	note   func(format string, a ...any)
	server []string // its addresses, IPv4 first
	report Report
}

func (d *demo) walk(ctx context.Context) error {
	if err := d.findServer(ctx); err != nil {
		return err
	}
	info, err := d.lab.Inspect(ctx)
	if err != nil {
		return err
	}
	shared := slices.ContainsFunc(info.Guests, func(g control.GuestInfo) bool { return g.Appliance && g.Kind == labfile.KindNetns })
	for i, p := range walk {
		if p == firewall.Tunnel && shared {
			d.note("%s is left out: the appliance is no QEMU guest, and this machine's kernel may lack what it needs", p)
			continue
		}
		if i > 0 {
			change, err := d.change(ctx, p)
			if err != nil {
				return fmt.Errorf("change to %s: %w", p, err)
			}
			d.report.Changes = append(d.report.Changes, change)
		}
		stop, err := d.stop(ctx, p)
		if err != nil {
			return fmt.Errorf("measure in %s: %w", p, err)
		}
		d.report.Stops = append(d.report.Stops, stop)
	}
	return nil
}

func (d *demo) stop(ctx context.Context, p firewall.Placement) (Stop, error) {
	d.note("%s: trying what comes through", p)
	tries, err := d.tryAll(ctx)
	if err != nil {
		return Stop{}, err
	}
	d.note("%s: measuring", p)
	cost, err := d.measure(ctx)
	return Stop{Placement: p, Tries: tries, Cost: cost}, err
}

// next says what to do with the lab that was left running.
func next(out *cli.Output, lab string) {
	out.Note("")
	out.Note("The lab %s is running; sluice lab destroy %s ends it. Try next:", lab, lab)
	out.Note("  sluice place fast                                  move the firewall, and read the receipt")
	out.Note("  sluice trace 'tcp from client to server port 23'   why telnet does not answer")
	out.Note("  sluice console client                              a shell in a guest")
}
