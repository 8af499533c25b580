package agent

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A guest with several vNICs has one route to each destination, so it would answer what came in by one leg through
// another: with a source address that is not that leg's, which SpoofGuard drops, and past the firewall that has seen
// the question. So each of its addresses has a routing table of its own, with the leg's subnets and gateways (RFC 1122
// 3.3.4.2, the strong model); ip rule show lists them.

// legTable is the routing table of the first leg, and the priority of the rules for it; the next legs' follow.
const legTable = 100

// laterMetric is above IPv6's default (IP6_RT_PRIO_USER): the later legs' gateways come behind the first one's.
const laterMetric = 1024

// setLegs makes each address of a guest with several legs speak by its own. A leg answers ARP for its own addresses
// only, and asks with them.
func setLegs(nics []NIC) error {
	var legs []NIC
	for _, n := range nics {
		if len(n.Addrs) > 0 {
			legs = append(legs, n)
		}
	}
	if len(legs) < 2 {
		return nil
	}
	for i, n := range legs {
		for key, v := range map[string]string{"arp_ignore": "1", "arp_announce": "2"} {
			if err := os.WriteFile(filepath.Join("/proc/sys/net/ipv4/conf", n.Name, key), []byte(v), 0); err != nil {
				return err
			}
		}
		if err := setLeg(n, legTable+i); err != nil {
			return fmt.Errorf("%s: routing table %d: %w", n.Name, legTable+i, err)
		}
	}
	return nil
}

func setLeg(n NIC, table int) error {
	l, err := netlink.LinkByName(n.Name)
	if err != nil {
		return err
	}
	for _, p := range n.Addrs {
		to := p.Masked()
		r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(to), Table: table, Scope: netlink.SCOPE_LINK}
		if err := netlink.RouteReplace(r); err != nil {
			return fmt.Errorf("route to %s: %w", to, err)
		}
		rule := netlink.NewRule()
		rule.Src, rule.Table, rule.Priority, rule.Family = ipNet(netip.PrefixFrom(p.Addr(), p.Addr().BitLen())), table, table, family(p.Addr())
		if err := netlink.RuleAdd(rule); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("rule for %s: %w", p.Addr(), err)
		}
	}
	return addGateways(l, n.Gateways, table, 0)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func family(a netip.Addr) int {
	if a.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}

// addGateways adds default routes; table 0 is the main one. The lowest metric is taken.
func addGateways(l netlink.Link, gateways []netip.Addr, table, metric int) error {
	for _, gw := range gateways {
		all := ipNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0))
		if gw.Is6() {
			all = ipNet(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
		}
		r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: all, Gw: gw.AsSlice(), Table: table, Priority: metric}
		if err := netlink.RouteReplace(r); err != nil {
			return fmt.Errorf("add gateway %s: %w", gw, err)
		}
	}
	return nil
}
