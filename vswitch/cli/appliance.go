package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"sluice/firewall"
	"sluice/firewall/fault"
	"sluice/vswitch/control"
)

func applianceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "appliance",
		Short: "See how the appliance is, and let it fail and come back: drills",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		drillCommand(control.Kill, "End the appliance's machine at once, as a crash would"),
		drillCommand(control.Stall, "Make its processor stand still; it stays attached"),
		drillCommand(control.Resume, "Let it go on"),
		drillCommand(control.Restart, "End it if it runs, and boot it anew"),
		&cobra.Command{Use: "status", Short: "How it is, and what the switch sees of it", Args: cobra.NoArgs, RunE: withLab(showAppliance)},
	)
	return cmd
}

func drillCommand(d control.Drill, short string) *cobra.Command {
	return &cobra.Command{
		Use: string(d), Short: short, Args: cobra.NoArgs,
		RunE: withLab(func(cmd *cobra.Command, args []string, o *Output, c *control.Client) error {
			if d == control.Restart {
				o.Note("The appliance is made anew.")
			}
			begun := time.Now()
			if err := c.Appliance(cmd.Context(), d); err != nil {
				return err
			}
			if d == control.Resume || d == control.Restart {
				if err := untilWell(cmd.Context(), o, c); err != nil {
					return err
				}
			}
			if d == control.Restart {
				if err := tellBoot(cmd.Context(), o, c, time.Since(begun)); err != nil {
					return err
				}
			}
			return showAppliance(cmd, args, o, c)
		}),
	}
}

// tellBoot says what of a restart was boot: what the class waited for is no boot where the appliance was cloned.
func tellBoot(ctx context.Context, o *Output, c *control.Client, took time.Duration) error {
	st, err := statusOfAppliance(ctx, c)
	if err != nil {
		return err
	}
	switch st.Boot {
	case "clone":
		o.Note("It was away for %.1f s, and did not boot: it was cloned in %.1f s. To see one boot, deploy with --boot cold.", took.Seconds(), st.BootTime)
	case "cold":
		o.Note("It was away for %.1f s: for %.1f s of them it booted.", took.Seconds(), st.BootTime)
	}
	return nil
}

// noticing is how long a command waits for the switch to see that the appliance is back. It asks each 50 ms, and
// believes the third answer.
const noticing = 5 * time.Second

// untilWell waits until the switch has asked an appliance that is back, and heard it: what it saw before is no news.
// Where that takes too long, the user is told that the switch does not see it yet.
func untilWell(ctx context.Context, o *Output, c *control.Client) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	enough := time.After(noticing)
	for {
		sw, err := c.Status(ctx)
		if err != nil {
			return fmt.Errorf("ask the switch: %w", err)
		}
		if well := sw.ApplianceState == "" || sw.ApplianceState == firewall.Healthy.String(); well && !sw.Bypassed {
			return nil
		}
		select {
		case <-tick.C:
		case <-enough:
			o.Note("It runs, and after %s the switch does not see it well yet: ask again with `sluice appliance status`.", noticing)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// applianceStatus is how the appliance is: its machine, and what the switch sees of it.
type applianceStatus struct {
	control.GuestInfo
	ApplianceState string `json:"appliance_state"`
	Bypassed       bool   `json:"bypassed"`
}

func showAppliance(cmd *cobra.Command, _ []string, o *Output, c *control.Client) error {
	st, err := statusOfAppliance(cmd.Context(), c)
	if err != nil {
		return err
	}
	return o.Print(st, func(w io.Writer) {
		g := NewGrid("APPLIANCE", "KIND", "MACHINE", "SEEN BY THE SWITCH", "BYPASSED")
		g.Row(st.Name, st.Kind, st.State, cmp.Or(st.ApplianceState, "-"), yesNo(st.Bypassed))
		g.Write(w, "")
	})
}

func statusOfAppliance(ctx context.Context, c *control.Client) (st applianceStatus, err error) {
	info, err := c.Inspect(ctx)
	if err != nil {
		return st, err
	}
	i := slices.IndexFunc(info.Guests, func(g control.GuestInfo) bool { return g.Appliance })
	if i < 0 {
		return st, fault.Errorf(fault.BadInput, "lab %s has no appliance", info.Name)
	}
	sw, err := c.Status(ctx)
	if err != nil {
		return st, fmt.Errorf("ask the switch: %w", err)
	}
	return applianceStatus{GuestInfo: info.Guests[i], ApplianceState: sw.ApplianceState, Bypassed: sw.Bypassed}, nil
}
