package firewall

import (
	"fmt"
	"strings"
	"testing"

	"sluice/firewall/classifier"
	"sluice/vnic/frame"
)

// TestNegatedEnds: a list stands for all that it names, or any, but what it names after a !.
func TestNegatedEnds(t *testing.T) {
	const groups = "groups: {office: [client, other], left: [lan, !client], outside: !office}\n"
	for _, c := range []struct{ from, yes, no string }{
		{"!office", "10.10.2.10 10.10.1.12 8.8.8.8 fd00:10:2::10 fd00:10:1::12", "10.10.1.10 10.10.1.11 fd00:10:1::10 fd00:10:1::11"},
		{"'!office'", "10.10.2.10", "10.10.1.10"},
		{"outside", "10.10.2.10 fd00:10:2::10", "10.10.1.10 fd00:10:1::11"},
		{"!outside", "10.10.1.10 10.10.1.11 fd00:10:1::10", "10.10.1.12 8.8.8.8"},
		{"[lan, !client]", "10.10.1.11 10.10.1.200 fd00:10:1::11", "10.10.1.10 10.10.2.10 fd00:10:1::10 fd00:10:2::10"},
		{"[!client, lan]", "10.10.1.11", "10.10.1.10 10.10.2.10"}, // the order does not matter
		{"left", "10.10.1.11", "10.10.1.10"},
		{"[!lan, !server]", "8.8.8.8 10.10.2.11", "10.10.1.200 10.10.2.10"},
		{"!10.0.0.0/8", "11.0.0.0 9.255.255.255 fd00:10:1::10", "10.0.0.0 10.255.255.255"}, // the other family is not in the subnet
		{"!fd00:10:1::/64", "10.10.1.10 fd00:10:2::10", "fd00:10:1::10"},
		{"[any, !10.10.1.10]", "10.10.1.11 fd00:10:1::10", "10.10.1.10"},
		{"[lan, !lan]", "", "10.10.1.10 8.8.8.8"},
	} {
		for _, end := range []string{"from", "to"} {
			p := mustLoad(t, fmt.Sprintf("%sdefault: drop\nrules:\n  - {name: r, %s: %s, action: allow}\n", groups, end, c.from))
			says := func(addr string) bool {
				r := &p.Rules[0]
				set := map[string]classifier.AddrSet{"from": r.match.From, "to": r.match.To}[end]
				return set.Contains(frame.AddrFrom(portless(addr).Addr()))
			}
			for _, a := range strings.Fields(c.yes) {
				if !says(a) {
					t.Errorf("%s %s does not match %s", end, c.from, a)
				}
			}
			for _, a := range strings.Fields(c.no) {
				if says(a) {
					t.Errorf("%s %s matches %s", end, c.from, a)
				}
			}
		}
	}
	s, err := mustLoad(t, groups+"default: drop\nrules:\n  - {name: r, from: !office, to: server, action: allow}\n").NFT(NFTOptions{})
	if err != nil || !strings.Contains(s, "ip saddr != 10.10.1.10-10.10.1.11 ip daddr 10.10.2.10 ") || !strings.Contains(s, "ip6 saddr != fd00:10:1::10-fd00:10:1::11 ") {
		t.Errorf("%v\n%s", err, s)
	}
}

// TestNegationsHaveABound: an address is in nearly all lists with a !, so there may not be as many as a file has room
// for.
func TestNegationsHaveABound(t *testing.T) {
	var b strings.Builder
	b.WriteString("default: drop\nrules:\n")
	for i := range maxNegated {
		fmt.Fprintf(&b, "  - {name: r%d, from: !10.%d.%d.1, action: allow}\n  - {name: again%d, from: !10.%d.%d.1, action: drop}\n", i, i/256, i%256, i, i/256, i%256)
	}
	mustLoad(t, b.String())
	_, err := Load("p.yaml", []byte(b.String()+"  - {name: more, from: !10.99.0.1, action: allow}\n"), lab)
	if err == nil || !strings.Contains(err.Error(), "more than 1000 different lists with !") {
		t.Errorf("%.300v", err)
	}
}
