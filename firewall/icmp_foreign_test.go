package firewall

import (
	"strings"
	"testing"
)

// TestForeignICMP says that one family's ICMP in the other begins no flow and has no type, whatever the rules: Linux's
// conntrack calls it invalid. In nftables no stateless rule takes it away from conntrack.
func TestForeignICMP(t *testing.T) {
	const services = "services: {icmp: {icmp: any}, zero: {icmpv4: 0, icmpv6: 0}, one: {protocol: [1, 58]}}\n"
	for _, rest := range []string{
		"default: allow",
		"default: drop\nrules: [{name: a, service: [icmp, zero, one], action: allow}]",
		"default: drop\nrules: [{name: a, service: zero, action: allow, stateless: true}]",
		"default: drop\nrules: [{name: a, service: [icmp, one], action: allow, stateless: true}]",
		"default: drop\nrules: [{name: a, service: zero, action: reject}]",
	} {
		p := mustLoad(t, services+rest)
		w := newWorld(t, mustCompile(t, p, Fast))
		for _, packet := range []string{"client > server proto 58", "client6 > server6 proto 1", "client > server proto 58 first", "client6 > server6 proto 1 first"} {
			if got := w.send(packet); got != "state-mismatch from-guest" || w.cx.Flows.Len() != 0 {
				t.Errorf("%s: %s: %s, %d flows", rest, packet, got, w.cx.Flows.Len())
			}
		}
		script, err := p.NFT(NFTOptions{Bridge: true})
		if err != nil {
			t.Fatal(err)
		}
		const first = "policy accept;\n\t\tmeta protocol ip meta l4proto icmpv6 return\n\t\tmeta protocol ip6 meta l4proto icmp return\n"
		if want := 2 * strings.Count(rest, "stateless"); strings.Count(script, first) != want {
			t.Errorf("%s: %d chains leave it to conntrack, want %d", rest, strings.Count(script, first), want)
		}
	}
	w := newWorld(t, mustCompile(t, mustLoad(t, "default: drop\nexclude: [client, server]"), Fast))
	if got := w.send("client > server proto 58"); got != "pass" {
		t.Errorf("between excluded guests: %s", got)
	}
}
