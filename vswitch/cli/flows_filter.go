package cli

import (
	"context"
	"net/netip"
	"slices"

	"sluice/firewall"
	"sluice/firewall/fault"
	"sluice/vswitch"
	"sluice/vswitch/control"
)

// filterOf reads a filter in the words of a trace, and asks the lab for its guests where one is named.
func filterOf(ctx context.Context, c *control.Client, words string) (f vswitch.FlowFilter, err error) {
	if words == "" {
		return f, nil
	}
	r, err := vswitch.ParseFlows(words)
	if err != nil {
		return f, fault.Errorf(fault.BadInput, "which flows? %w", err)
	}
	inv, err := c.Inventory(ctx)
	if err != nil {
		return f, err
	}
	f = vswitch.FlowFilter{Proto: r.Proto, SrcPort: r.SrcPort, DstPort: r.DstPort}
	if f.From, err = addressesOf(inv, r.From); err != nil {
		return f, err
	}
	f.To, err = addressesOf(inv, r.To)
	return f, err
}

// addressesOf are those of a guest, or the one that is named.
func addressesOf(inv firewall.Inventory, name string) (all []netip.Addr, err error) {
	if a, err := netip.ParseAddr(name); name == "" || err == nil {
		return slices.DeleteFunc([]netip.Addr{a.Unmap().WithZone("")}, func(a netip.Addr) bool { return !a.IsValid() }), nil
	}
	var names []string
	for _, g := range inv.Guests {
		names = append(names, g.Name)
		if g.Name == name {
			for _, v := range g.VNICs {
				all = append(all, v.Addrs...)
			}
		}
	}
	if len(all) == 0 {
		err = fault.Errorf(fault.BadInput, "no guest %q with an address%s", name, fault.Instead(name, names))
	}
	return all, err
}
