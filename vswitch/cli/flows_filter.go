package cli

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch"
	"sluice/vswitch/control"
)

// flowFilter says which flows are meant: who began them, whom they are with, and what is spoken. What is empty fits everything.
type flowFilter struct {
	protos           []uint8
	from, to         []netip.Addr
	fromPort, toPort uint16
}

// filterOf reads a filter in the words of a trace, and asks the lab for its guests where one is named.
func filterOf(ctx context.Context, c *control.Client, words string) (f flowFilter, err error) {
	if words == "" {
		return f, nil
	}
	r, err := vswitch.ParseFlows(words)
	if err != nil {
		return f, control.Errorf(control.BadInput, "which flows? %w", err)
	}
	inv, err := c.Inventory(ctx)
	if err != nil {
		return f, err
	}
	f = flowFilter{fromPort: r.SrcPort, toPort: r.DstPort, protos: map[string][]uint8{
		"tcp": {frame.ProtoTCP}, "udp": {frame.ProtoUDP}, "icmp": {frame.ProtoICMP, frame.ProtoICMPv6},
	}[r.Proto]}
	if f.from, err = addressesOf(inv, r.From); err != nil {
		return f, err
	}
	f.to, err = addressesOf(inv, r.To)
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
		err = control.Errorf(control.BadInput, "no guest %q with an address: %s", name, strings.Join(names, ", "))
	}
	return all, err
}

func (f flowFilter) fits(r firewall.FlowRecord) bool {
	among := func(list []netip.Addr, a netip.Addr) bool { return len(list) == 0 || slices.Contains(list, a.Unmap()) }
	return (f.protos == nil || slices.Contains(f.protos, r.Proto)) && among(f.from, r.Src.Addr()) && among(f.to, r.Dst.Addr()) &&
		(f.fromPort == 0 || f.fromPort == r.Src.Port()) && (f.toPort == 0 || f.toPort == r.Dst.Port())
}
