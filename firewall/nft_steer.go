package firewall

import (
	"fmt"
	"net"
	"net/netip"

	"sluice/vnic/frame"
)

// What nft says of the appliance's vNIC for steered frames, and of the frames themselves.

// The rules of `table inet` for that vNIC: the tunnel and the probe pass, and nothing else. What guests send must not get there, or it might
// look like what the appliance has let through.
var (
	steerForward = fmt.Sprintf("\t\t%saccept comment \"probe\"\n\t\tiifname %[2]q drop\n\t\toifname %[2]q drop", probeMatch, SteerNIC)
	steerInput   = fmt.Sprintf("\t\tiifname %[1]q ip saddr %s ip daddr %s udp dport %d accept\n\t\tiifname %[1]q drop",
		SteerNIC, SteerSwitch, SteerAppliance, frame.GenevePort)

	probeMatch     = fmt.Sprintf("ip saddr %s ip daddr %s udp dport %d ", SteerProbe, SteerSwitch, frame.GenevePort)
	probeUntracked = fmt.Sprintf("%sudp sport %d notrack", probeMatch, ProbeUntracked)
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
	}`, SteerNIC, probeUntracked, SteerAppliance, SteerSwitch, frame.GenevePort)
}

// steered is for frames that guests have sent, on their way through a bridge of their own. nft can reject only before a bridge has
// decided where a frame goes.
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
	w.line("\t\tjump from-guest")
	for _, s := range w.p.inv.Segments {
		for _, g := range s.Gateways {
			w.line("\t\tether daddr %s %s daddr %s accept comment \"gateway\"", net.HardwareAddr(s.GatewayMAC[:]), nftName(g), g)
		}
	}
	w.line("\t\tjump to-guest")
	w.line("\t\taccept")
	w.line("\t}")
	w.housekeeping()
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

func nftName(a netip.Addr) string {
	if a.Is4() {
		return "ip"
	}
	return "ip6"
}
