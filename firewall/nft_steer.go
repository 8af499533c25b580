package firewall

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"sluice/vnic/frame"
)

// What nft says of the appliance's vNIC for steered frames, and of the frames themselves.

// The rules of `table inet` for that vNIC: the tunnel and the probe pass, and nothing else. What guests send must not
// get there, or it might look like what the appliance has let through.
var (
	steerForward = fmt.Sprintf("\t\t%saccept comment \"probe\"\n\t\tiifname %[2]q drop\n\t\toifname %[2]q drop", probeMatch, SteerNIC)
	steerInput   = fmt.Sprintf("\t\tiifname %[1]q ip saddr %s ip daddr %s udp dport %d accept\n\t\tiifname %[1]q drop",
		SteerNIC, frame.TunnelSwitch, frame.TunnelAppliance, frame.GenevePort)

	probeMatch     = fmt.Sprintf("ip saddr %s ip daddr %s udp dport %d ", frame.TunnelProbe, frame.TunnelSwitch, frame.GenevePort)
	probeUntracked = fmt.Sprintf("%sudp sport %d notrack", probeMatch, frame.ProbeUntracked)
)

// untracked keeps the tunnel itself out of conntrack, and the appliance from saying anything else by that vNIC.
func (w *nftWriter) untracked() {
	if !w.steer {
		return
	}
	w.line(`	chain untracked {
		type filter hook prerouting priority raw;
		iifname %[1]q notrack
		%[2]s
	}
	chain output {
		type filter hook output priority raw;
		oifname != %[1]q accept
		ip saddr %[3]s ip daddr %[4]s udp dport %[5]d notrack accept
		drop
	}`, SteerNIC, probeUntracked, frame.TunnelAppliance, frame.TunnelSwitch, frame.GenevePort)
}

// steered is for frames that guests have sent, on their way through a bridge of their own. nft can reject only before a
// bridge has decided where a frame goes.
func (w *nftWriter) steered() {
	w.line(`	chain untracked {
		type filter hook prerouting priority -300;
		%s
	}
	chain steered {
		type filter hook prerouting priority 0; policy drop;
		iifname "%s%s*" %saccept comment "probe"
		iifname != "%[3]s*" drop
		ether type arp accept`, probeUntracked, SteerProbes, SteerIn, probeMatch)
	other := "drop"
	if w.p.Default == RuleAllow {
		other = "accept"
	}
	w.line("\t\tether type != { ip, ip6 } counter %s comment \"default\"", other)
	w.line("\t\ticmpv6 type 133-137 ip6 hoplimit 255 jump housekeeping")
	w.line("\t\ticmpv6 type { 130-132, 143 } ip6 hoplimit 1 jump housekeeping")
	w.line("\t\tip protocol igmp ip ttl 1 ip daddr 224.0.0.0/4 accept")
	w.known()
	gateways := w.gateways()
	for _, g := range gateways {
		w.line("\t\t%smeta l4proto != { %s, udp } counter drop comment \"own-gateway\"", g.to, g.icmp)
		w.line("\t\t%s%s type != echo-request counter drop comment \"own-gateway\"", g.to, g.icmp)
	}
	w.line("\t\tjump from-guest")
	for _, g := range gateways {
		w.line("\t\t%saccept comment \"gateway\"", g.to)
	}
	w.line("\t\tjump to-guest")
	w.line("\t\taccept")
	w.line("\t}")
	w.housekeeping()
}

// toGateway is how nft says that a frame is for a gateway, in one family.
type toGateway struct{ to, icmp string }

// gateways are the segments'. Like the switch they drop in silence what they do not serve, whatever the policy would
// answer.
func (w *nftWriter) gateways() (out []toGateway) {
	var macs, four, six []string
	for _, s := range w.p.inv.Segments {
		if len(s.Gateways) > 0 {
			macs = append(macs, net.HardwareAddr(s.GatewayMAC[:]).String())
		}
		for _, g := range s.Gateways {
			if g.Is4() {
				four = append(four, g.String())
			} else {
				six = append(six, g.String())
			}
		}
	}
	slices.Sort(macs) // segments may share one
	for _, f := range []struct {
		name, icmp string
		addrs      []string
	}{{"ip", "icmp", four}, {"ip6", "icmpv6", six}} {
		if len(f.addrs) > 0 {
			match := fmt.Sprintf("ether daddr { %s } %s daddr { %s } ", strings.Join(slices.Compact(macs), ", "), f.name, strings.Join(f.addrs, ", "))
			out = append(out, toGateway{match, f.icmp})
		}
	}
	return out
}

// housekeeping passes what stays on its segment.
func (w *nftWriter) housekeeping() {
	w.line("\tchain housekeeping {")
	w.line("\t\tip6 daddr { ff00::/8, fe80::/10 } accept")
	for _, s := range w.p.inv.Segments {
		for _, p := range s.Prefixes {
			if p.Addr().Is6() {
				w.line("\t\tip6 saddr { fe80::/10, %[1]s } ip6 daddr %[1]s accept", p)
			}
		}
	}
	w.line("\t}")
}

// unsteered keeps steered frames from the appliance's own stack.
func (w *nftWriter) unsteered() {
	w.line("\tchain input {")
	w.line("\t\ttype filter hook input priority 0; policy drop;")
	w.line("\t}")
}
