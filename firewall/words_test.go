package firewall

import (
	"strings"
	"testing"
)

// Each word of a service, and packets that it matches and does not match; nft must be able to say it (difftest applies it).
func TestServiceWords(t *testing.T) {
	for _, c := range []struct {
		service   string
		yes, no   []Tuple
		rendering string
	}{
		{"{protocol: [sctp, ospf, vrrp, igmp]}", protos(132, 89, 112, 2), protos(6, 17, 47, 133), "meta l4proto 112 "},
		{"{icmpv4: 3/1}", icmps(1, 3, 1), icmps(1, 3, 0, 3, 2, 8, 1), "icmp type 3 icmp code { 1 } "},
		{"{icmpv4: [3/1-3, 3/13, 8]}", icmps(1, 3, 1, 3, 3, 3, 13, 8, 0, 8, 9), icmps(1, 3, 0, 3, 4, 7, 0), "icmp type 3 icmp code { 1-3, 13 } "},
		{"{icmp: host-unreachable}", icmps(1, 3, 1), icmps(1, 3, 3), "icmpv6 type 1 icmpv6 code { 3 } "},
		{"{icmp: destination-unreachable/port-unreachable}", icmps(58, 1, 4), icmps(58, 1, 0, 3, 4), "icmp type 3 icmp code { 3 } "},
		{"{icmpv6: [1/0-255, 2]}", icmps(58, 1, 0, 1, 255, 2, 7), icmps(58, 0, 0, 3, 0), "icmpv6 type { 1-2 } "},
	} {
		p := mustLoad(t, "services: {s: "+c.service+"}\ndefault: drop\nrules:\n  - {name: r, service: s, action: allow}\n")
		for _, f := range c.yes {
			if d := p.Evaluate(f); d.Action != RuleAllow {
				t.Errorf("%s does not match %v", c.service, f)
			}
		}
		for _, f := range c.no {
			if d := p.Evaluate(f); d.Action == RuleAllow {
				t.Errorf("%s matches %v", c.service, f)
			}
		}
		if s, err := p.NFT(NFTOptions{}); err != nil || !strings.Contains(s, c.rendering) {
			t.Errorf("%s: %v: no %q in\n%s", c.service, err, c.rendering, s)
		}
	}
}

// protos are flows from client to server of some protocols.
func protos(numbers ...uint8) (out []Tuple) {
	for _, n := range numbers {
		out = append(out, Tuple{Proto: n, Src: portless("10.10.1.10"), Dst: portless("10.10.2.10")})
	}
	return out
}

// icmps are messages from client to server, by type and code.
func icmps(proto uint8, typesAndCodes ...uint8) (out []Tuple) {
	for i := 0; i < len(typesAndCodes); i += 2 {
		f := Tuple{Proto: proto, Src: portless("10.10.1.10"), Dst: portless("10.10.2.10"), ICMPType: typesAndCodes[i], ICMPCode: typesAndCodes[i+1]}
		if proto == 58 {
			f.Src, f.Dst = portless("fd00:10:1::10"), portless("fd00:10:2::10")
		}
		out = append(out, f)
	}
	return out
}
