package firewall

import (
	"fmt"
	"net/netip"
	"slices"

	"sluice/firewall/classifier"
	"sluice/firewall/document"
	"sluice/vnic/frame"
)

// Expectation is one verdict that a policy's test file expects, and what the policy says.
type Expectation struct {
	Line   int        `json:"line"`
	What   string     `json:"what"` // the flow, for people
	Expect RuleAction `json:"expect"`
	Got    RuleAction `json:"got"`
	Rule   string     `json:"rule"`  // that decided; default where none did
	Point  string     `json:"point"` // where: from-guest or to-guest
	Passed bool       `json:"passed"`
}

var expectationKeys = []string{"from", "to", "tcp", "udp", "icmp", "icmpv4", "icmpv6", "protocol", "from-port", "flags", "expect", "rule"}

// The bounds of a file of tests.
const (
	maxTests    = 1 << 20 // bytes
	maxVerdicts = 100_000
)

// Expect runs a file of expected verdicts against the policy: a list such as
//
//   - {from: client, to: server, tcp: 80, expect: allow, rule: web}
//   - {from: client, to: 10.10.2.99, icmp: echo, expect: drop}
//
// A guest stands for each of its addresses; every pair of one family is tried. The error is an fault.List, as Load's.
func (p *Policy) Expect(file string, src []byte) ([]Expectation, error) {
	l := &loader{Reader: document.NewReader(file, src), p: p}
	root := l.Parse("test file", "write - {from: client, to: server, tcp: 80, expect: allow}", maxTests)
	var out []Expectation
	if root != nil {
		for _, n := range l.Items(root, "the tests") {
			if out = append(out, l.expectations(n)...); len(out) > maxVerdicts {
				l.Fail(n, "try fewer addresses and ports in one file", "up to here, the tests ask for more than %d verdicts", maxVerdicts)
				break
			}
		}
	}
	if err := l.Err(); err != nil {
		return nil, err
	}
	return out, nil
}

// expectations tries one document.Entry of a test file.
func (l *loader) expectations(n *document.Node) (out []Expectation) {
	var from, to []netip.Addr
	var services classifier.ServiceSet
	var expect RuleAction
	given, rule := map[string]bool{}, ""
	var fromPort, flags *document.Entry
	for _, e := range l.Entries(n, "a test") {
		given[e.Name] = true
		switch e.Name {
		case "from":
			from = l.witnesses(e.Value, "from")
		case "to":
			to = l.witnesses(e.Value, "to")
		case "tcp", "udp", "icmp", "icmpv4", "icmpv6", "protocol":
			services = append(services, l.servicePart(e)...)
		case "from-port":
			fromPort = &e
		case "flags":
			flags = &e
		case "expect":
			expect = l.action(e.Value, "expect")
		case "rule":
			rule, _ = l.Word(e.Value, "rule")
		default:
			l.Unknown(e, "a test", expectationKeys...)
		}
	}
	line, _ := n.Place()
	switch {
	case !given["from"] || !given["to"] || !given["expect"] || !asks(given):
		l.Fail(n, "write for example {from: client, to: server, tcp: 80, expect: allow}", "a test needs from, to, a service and expect")
		return nil
	case l.Faulty():
		return nil
	}
	under := l.under(n, services.Normal(), fromPort, flags)
	for _, t := range tuples(from, to, services) {
		t = l.conditioned(t, &under)
		d := l.p.Evaluate(t)
		x := Expectation{Line: line, What: t.String(), Expect: expect, Got: d.Action, Rule: l.p.ruleName(d.Rule), Point: d.Point.Dir.String()}
		x.Passed = x.Got == x.Expect && (rule == "" || rule == x.Rule)
		out = append(out, x)
	}
	if len(out) == 0 {
		l.Fail(n, "name two ends that have IPv4, or IPv6, in common", "no packet fits this test")
	}
	return out
}

// conditioned gives a test's packet the source port and the flags that the test asks for; else usual ones, where the
// policy looks at them.
func (l *loader) conditioned(t Tuple, asked *services) Tuple {
	if len(asked.under) > 0 {
		c := &l.conditions[asked.under[0].number]
		if one, ok := l.p.example(c, t); ok {
			return one
		}
		return t.with(usualPort, c.Flags)
	}
	if l.p.classes.HasConditions() && (t.Proto == frame.ProtoTCP || t.Proto == frame.ProtoUDP) {
		return t.with(usualPort, frame.TCPSyn)
	}
	return t
}

// asks says whether a test names a service.
func asks(given map[string]bool) bool {
	return slices.ContainsFunc(serviceKeys, func(key string) bool { return given[key] })
}

// witnesses reads a guest's name or an address.
func (l *loader) witnesses(n *document.Node, what string) []netip.Addr {
	w, ok := l.Word(n, what)
	if !ok {
		return nil
	}
	for _, g := range l.p.inv.Guests {
		if g.Name == w {
			var out []netip.Addr
			for _, v := range g.VNICs {
				out = append(out, v.Addrs...)
			}
			return out
		}
	}
	a, err := netip.ParseAddr(w)
	if err != nil || a.Zone() != "" {
		l.Fail(n, "name a guest, or write an address", "%q is no guest and no address", w)
	}
	return []netip.Addr{a}
}

// tuples lists the first packets between two sets of addresses, one for each range of services that fits the family.
func tuples(from, to []netip.Addr, services classifier.ServiceSet) (out []Tuple) {
	for _, a := range from {
		for _, b := range to {
			for _, s := range services {
				if t, ok := tuple(a.Unmap(), b.Unmap(), s.Lo); ok {
					out = append(out, t)
				}
			}
		}
	}
	return out
}

// tuple makes the first packet that a service's number stands for; ok is false where the families do not fit.
func tuple(src, dst netip.Addr, service uint32) (t Tuple, ok bool) {
	proto := uint8(service >> 16)
	if src.Is4() != dst.Is4() || proto == frame.ProtoICMP && !src.Is4() || proto == frame.ProtoICMPv6 && src.Is4() {
		return t, false
	}
	t = Tuple{Proto: proto, Src: netip.AddrPortFrom(src, 0), Dst: netip.AddrPortFrom(dst, 0)}
	switch proto {
	case frame.ProtoTCP, frame.ProtoUDP:
		t.Dst = netip.AddrPortFrom(dst, uint16(service))
	case frame.ProtoICMP, frame.ProtoICMPv6:
		t.ICMPType, t.ICMPCode = uint8(service>>8), uint8(service)
	}
	return t, true
}

// String is the packet for people.
func (t Tuple) String() string { return t.Between(t.Src.Addr().String(), t.Dst.Addr().String()) }

// Between is String, with other names for the two ends.
func (t Tuple) Between(from, to string) string {
	what := ""
	switch t.Proto {
	case frame.ProtoTCP, frame.ProtoUDP:
		what = serviceName(t.Proto, t.Dst.Port())
		if t.NoSYN || t.TCPFlags != 0 {
			what += " with flags " + flagsText(t.flags())
		}
		if t.Src.Port() != 0 {
			return fmt.Sprintf("%s from %s port %d to %s", what, t.Src.Addr(), t.Src.Port(), t.Dst.Addr())
		}
	case frame.ProtoICMP:
		what = icmpName("icmp", t)
	case frame.ProtoICMPv6:
		what = icmpName("icmpv6", t)
	default:
		what = serviceName(t.Proto, 0)
	}
	return fmt.Sprintf("%s from %s to %s", what, from, to)
}

func icmpName(family string, t Tuple) string {
	if t.ICMPCode == 0 {
		return fmt.Sprintf("%s type %d", family, t.ICMPType)
	}
	return fmt.Sprintf("%s type %d code %d", family, t.ICMPType, t.ICMPCode)
}
