package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sluice/firewall/classifier"
)

// Each word of a service, and packets that it matches and does not match; nft must be able to say it (difftest applies
// it).
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
		{"{tcp: 80, from-port: [53, 1024-65535]}", ports(6, 53, 80, 1024, 80, 65535, 80), ports(6, 52, 80, 1023, 80, 53, 81), "tcp dport { 80 } tcp sport { 53, 1024-65535 } "},
		{"[{udp: any, from-port: 123}, {tcp: 80}]", append(ports(17, 123, 1), ports(6, 1, 80)...), ports(17, 124, 1), "meta l4proto 17 udp sport { 123 } "},
		{"{tcp: any, flags: syn/syn|ack}", ports(6, 1, 1), ports(17, 1, 1), "meta l4proto 6 tcp flags & (syn|ack) == syn "},
		{"{tcp: 80, from-port: 9, flags: [none/ack, cwr]}", ports(6, 9, 80), ports(6, 8, 80), "tcp dport { 80 } tcp sport { 9 } tcp flags & (ack) == 0x0 "},
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

// ports are flows from client to server, by source and destination port.
func ports(proto uint8, pairs ...uint16) (out []Tuple) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, Tuple{
			Proto: proto, Src: netip.AddrPortFrom(portless("10.10.1.10").Addr(), pairs[i]), Dst: netip.AddrPortFrom(portless("10.10.2.10").Addr(), pairs[i+1]),
		})
	}
	return out
}

// TestConditionsAlongTheWay: rules with conditions decide about first packets, once for both points; a flow that goes
// on is judged by its source port, and as if a SYN had begun it. A stateless rule looks at each segment's flags.
func TestConditionsAlongTheWay(t *testing.T) {
	const services = "services: {admin: {tcp: 22, from-port: 1-1023}, begins: {tcp: any, flags: syn/syn|ack}, blank: {tcp: any, flags: none/all}, echoes: {udp: 7, from-port: 7}}\n"
	const rules = "  - {name: b, service: begins, action: allow}\n  - {name: u, service: echoes, action: drop}\n  - {name: rest, service: any, action: allow}\n"
	w := newWorld(t, mustCompile(t, mustLoad(t, services+"default: drop\nrules:\n  - {name: a, service: admin, action: drop}\n"+rules), Fast))
	for _, c := range []struct{ packet, want string }{
		{"client > server tcp 1000 22 S", "rule from-guest"},
		{"client > server tcp 1024 22 S", "pass"},
		{"server > client tcp 22 1024 SA", "pass"},
		{"client > server tcp 1024 22 A seq=2", "pass"},
		{"client > server udp 7 7", "rule from-guest"},
		{"client > server udp 8 7", "pass"},
		{"server > client udp 7 8", "pass"},
	} {
		if got := w.send(c.packet); got != c.want {
			t.Errorf("%s: %s, want %s", c.packet, got, c.want)
		}
	}
	// Another policy, under which the flow from port 1024 is denied by its source port.
	denied := mustLoad(t, strings.Replace(services, "1-1023", "1024", 1)+"default: drop\nrules:\n  - {name: a, service: admin, action: drop}\n"+rules)
	w.g = mustCompile(t, denied, Fast)
	if got := w.send("client > server tcp 1024 22 A seq=2"); got != "revoked from-guest" {
		t.Errorf("a flow that the new policy denies by its source port: %s", got)
	}
	if got := w.send("server > client udp 7 8"); got != "pass" {
		t.Errorf("a flow that both allow: %s", got)
	}
	stateless := "default: drop\nrules:\n  - {name: n, service: blank, stateless: true, action: reject}\n  - {name: s, service: begins, stateless: true, action: allow}\n"
	w = newWorld(t, mustCompile(t, mustLoad(t, services+stateless), Fast))
	for _, c := range []struct{ packet, want string }{
		{"client > server tcp 1000 80 S", "pass"},
		{"client > server tcp 1000 80 -", "reject from-guest"},
		{"client > server tcp 1000 80 SA", "state-mismatch from-guest"},
		{"client > server tcp 1000 80 A", "state-mismatch from-guest"},
	} {
		if got := w.send(c.packet); got != c.want {
			t.Errorf("stateless: %s: %s, want %s", c.packet, got, c.want)
		}
	}
}

// TestConditionsHaveABound: which conditions hold is one number of 64 bits.
func TestConditionsHaveABound(t *testing.T) {
	var b strings.Builder
	b.WriteString("default: drop\nservices:\n")
	for i := range classifier.MaxConditions {
		fmt.Fprintf(&b, "  s%d: {tcp: 80, from-port: %d}\n", i, i+1)
	}
	p := mustLoad(t, b.String()+"  again: {udp: 80, from-port: 5}\nrules:\n  - {name: r, service: [s0, s62], action: allow}\n")
	for port, want := range map[uint16]RuleAction{1: RuleAllow, 2: RuleDrop, 63: RuleAllow} {
		if got := p.Evaluate(ports(6, port, 80)[0]).Action; got != want {
			t.Errorf("from port %d: %s", port, got)
		}
	}
	_, err := Load("p.yaml", []byte(b.String()+"  more: {tcp: 80, from-port: 64}\n"), lab)
	if err == nil || !strings.Contains(err.Error(), "more than 63 different combinations") {
		t.Error(err)
	}
}

// TestConditionsInFindings: tests, lint and diff speak of source ports and flags where they matter.
func TestConditionsInFindings(t *testing.T) {
	const services = "services: {low: {tcp: 22, from-port: 1-1023}, ssh: {tcp: 22}, acks: {tcp: any, flags: ack}, quiet: {tcp: 22, flags: syn/syn|ack}}\n"
	p := mustLoad(t, services+`default: drop
rules:
  - {name: low, from: client, to: server, service: low, action: allow}
  - {name: lower, from: client, to: server, service: low, direction: in, action: drop}
  - {name: acks, from: client, to: server, service: acks, action: allow}
  - {name: quiet, from: any, to: server, service: quiet, action: allow}
  - {name: ssh, from: client, to: any, service: ssh, action: drop}
`)
	found, _ := p.Lint()
	var got []string
	for _, f := range found {
		got = append(got, strings.TrimSpace(fmt.Sprint(f.Kind, " ", f.Rule, " ", f.Other, " ", f.Witness)))
	}
	want := []string{
		"shadowed lower low tcp/22 from 10.10.1.10 port 1 to 10.10.2.10", "empty acks", "contradictory ssh quiet tcp/22 from 10.10.1.10 port 49152 to 10.10.2.10",
	}
	if !slices.Equal(got, want) {
		t.Errorf("lint: %q", got)
	}
	tests, err := p.Expect("t.yaml", []byte("- {from: client, to: 10.10.2.10, tcp: 22, from-port: 7-9, expect: allow, rule: low}\n"+
		"- {from: client, to: 10.10.2.10, tcp: 22, expect: allow, rule: quiet}\n- {from: client, to: 10.10.2.10, tcp: 22, flags: ack/syn|ack, expect: drop}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range tests {
		if !x.Passed {
			t.Errorf("test: %+v", x)
		}
	}
	other := mustLoad(t, services+"default: drop\nrules:\n  - {name: low, from: client, to: server, service: ssh, action: allow}\n")
	low := mustLoad(t, services+"default: drop\nrules:\n  - {name: low, from: client, to: server, service: low, action: allow}\n")
	if c := Diff(low, other); len(c.Differences) != 1 || c.Differences[0].Witness.String() != "tcp/22 from 10.10.1.10 port 49152 to 10.10.2.10" {
		t.Errorf("diff: %+v", c)
	}
}
