package firewall

import (
	"net/netip"
	"strings"
	"testing"

	"sluice/vnic/frame"
)

// chainOf is a chain's lines in a table of a rendered script; empty where there is none.
func chainOf(script, table, chain string) string {
	_, rest, _ := strings.Cut(script, "table "+table+" sluice {\n")
	rest, _, _ = strings.Cut(rest, "\n}\n")
	_, rest, found := strings.Cut("\n"+rest, "\n\tchain "+chain+" {\n")
	text, _, _ := strings.Cut(rest, "\n\t}")
	if !found {
		return ""
	}
	return text
}

// TestNFTForSteeredFrames: what is steered meets the rules that what is routed meets, and whoever has no use for the
// tunnel has nothing of it.
func TestNFTForSteeredFrames(t *testing.T) {
	p := mustLoad(t, reference)
	render := func(o NFTOptions) string {
		t.Helper()
		s, err := p.NFT(o)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	plain, steer, bridge := render(NFTOptions{}), render(NFTOptions{Steer: true}), render(NFTOptions{Bridge: true})
	for _, c := range []struct {
		what, script string
		has, lacks   []string
	}{
		{"for a router", plain, []string{"table inet sluice {"}, []string{"table bridge", "steer", "169.254.83"}},
		{"for one with a vNIC for steered frames", steer, []string{`iifname "steer" drop`, `oifname "steer" drop`}, []string{"table bridge"}},
		{"for a tunnel", bridge, []string{`iifname "steer" drop`, `oifname "steer" drop`, "\ntable bridge sluice {\n"}, nil},
	} {
		for _, s := range c.has {
			if !strings.Contains(c.script, s) {
				t.Errorf("%s: no %q", c.what, s)
			}
		}
		for _, s := range c.lacks {
			if strings.Contains(c.script, s) {
				t.Errorf("%s: %q", c.what, s)
			}
		}
	}
	for _, chain := range []string{"from-guest", "to-guest"} {
		inet := chainOf(plain, "inet", chain)
		if !strings.Contains(inet, `comment "web"`) {
			t.Fatalf("chain %s is %q", chain, inet)
		}
		for table, script := range map[string]string{"inet": bridge, "bridge": bridge} {
			if got := chainOf(script, table, chain); got != inet {
				t.Errorf("table %s has another chain %s:\n%s", table, chain, got)
			}
		}
	}
	if got := chainOf(bridge, "inet", "input"); !strings.HasSuffix(got, chainOf(plain, "inet", "input")[len("\t\ttype filter hook input priority filter; policy drop;"):]) {
		t.Errorf("the input of an appliance with a tunnel:\n%s", got)
	}
}

func TestNFTOfSteeredFrames(t *testing.T) {
	inv := &Inventory{Guests: lab.Guests, Segments: []InvSegment{{
		Name: "lan", ID: 1, Prefixes: lab.Segments[0].Prefixes, GatewayMAC: frame.MAC{2, 0, 0, 1, 0, 1},
		Gateways: []netip.Addr{netip.MustParseAddr("10.10.1.1"), netip.MustParseAddr("fd00:10:1::1")},
	}}}
	p, err := Load("policy.yaml", []byte("default: reject\nrules: []\n"), inv)
	if err != nil {
		t.Fatal(err)
	}
	script, err := p.NFT(NFTOptions{Bridge: true})
	if err != nil {
		t.Fatal(err)
	}
	for chain, want := range map[string]string{
		"untracked": `
			type filter hook prerouting priority -300;
			ip saddr 169.254.83.5 ip daddr 169.254.83.1 udp dport 6081 udp sport 1 notrack`,
		"steered": `
			type filter hook prerouting priority 0; policy drop;
			iifname "probe-in*" ip saddr 169.254.83.5 ip daddr 169.254.83.1 udp dport 6081 accept comment "probe"
			iifname != "in*" drop
			ether type arp accept
			ether type != { ip, ip6 } counter drop comment "default"
			icmpv6 type 133-137 ip6 hoplimit 255 jump housekeeping
			icmpv6 type { 130-132, 143 } ip6 hoplimit 1 jump housekeeping
			ip protocol igmp ip ttl 1 ip daddr 224.0.0.0/4 accept
			ct state established,related accept
			ct state invalid counter drop comment "state-mismatch"
			ct state new meta l4proto tcp tcp flags & (fin|syn|rst|ack) != syn counter drop comment "state-mismatch"
			ether daddr { 02:00:00:01:00:01 } ip daddr { 10.10.1.1 } meta l4proto != { icmp, udp } counter drop comment "own-gateway"
			ether daddr { 02:00:00:01:00:01 } ip daddr { 10.10.1.1 } icmp type != echo-request counter drop comment "own-gateway"
			ether daddr { 02:00:00:01:00:01 } ip6 daddr { fd00:10:1::1 } meta l4proto != { icmpv6, udp } counter drop comment "own-gateway"
			ether daddr { 02:00:00:01:00:01 } ip6 daddr { fd00:10:1::1 } icmpv6 type != echo-request counter drop comment "own-gateway"
			jump from-guest
			ether daddr { 02:00:00:01:00:01 } ip daddr { 10.10.1.1 } accept comment "gateway"
			ether daddr { 02:00:00:01:00:01 } ip6 daddr { fd00:10:1::1 } accept comment "gateway"
			jump to-guest
			accept`,
		"housekeeping": `
			ip6 daddr { ff00::/8, fe80::/10 } accept
			ip6 saddr { fe80::/10, fd00:10:1::/64 } ip6 daddr fd00:10:1::/64 accept`,
		"input": `
			type filter hook input priority 0; policy drop;`,
	} {
		want = strings.ReplaceAll(want[1:], "\t\t\t", "\t\t")
		if got := chainOf(script, "bridge", chain); got != want {
			t.Errorf("chain %s is\n%s\nwant\n%s", chain, got, want)
		}
	}
}
