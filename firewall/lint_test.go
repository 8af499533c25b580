package firewall

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sluice/firewall/classifier"
	"sluice/firewall/classifier/draw"
	"sluice/vnic/frame"
)

func TestLint(t *testing.T) {
	for _, c := range []struct {
		rules string
		want  []string // kind, line, rule before it, and part of the witness
	}{
		{"- {name: a, from: client, to: server, service: web, action: allow}", nil},
		{"- {name: a, from: lan, action: drop}\n- {name: b, from: client, service: web, action: allow}", []string{"shadowed 6 a tcp/80 from 10.10.1.10"}},
		{"- {name: a, from: 10.0.0.0/25, action: drop}\n- {name: b, from: 10.0.0.128/25, action: drop}\n- {name: c, from: 10.0.0.0/24, action: drop}",
			[]string{"unreachable 7 b tcp/80 from 10.0.0.0"}},
		{"- {name: a, from: 10.0.0.0/25, action: drop}\n- {name: b, from: 10.0.0.129/32, action: drop}\n- {name: c, from: 10.0.0.0/24, action: drop}", nil},
		{"- {name: a, service: web, direction: out, action: drop}\n- {name: b, service: web, direction: in, action: drop}\n- {name: c, service: web, action: drop}",
			[]string{"unreachable 7 b tcp/80"}},
		{"- {name: a, from: lan, to: any, action: drop}\n- {name: b, from: any, to: server, action: allow}", []string{"contradictory 6 a tcp/80 from 10.10.1.10 to 10.10.2.10"}},
		{"- {name: a, from: lan, to: any, action: drop}\n- {name: b, from: any, to: server, action: reject}", nil},
		{"- {name: a, from: client, action: drop}\n- {name: b, from: lan, action: allow}", nil}, // an exception
		{"- {name: z, from: lan, to: server, action: drop}\n- {name: a, from: lan, to: any, action: drop}\n- {name: b, from: any, to: server, action: allow}",
			nil}, // where they overlap, z decides
		{"- {name: a, from: 10.0.0.0/8, to: \"fd00::/8\", action: drop}", []string{"empty 5  "}},
		{"- {name: a, from: 10.0.0.0/8, service: six, action: drop}", []string{"empty 5  "}},
		{"- {name: a, from: none, action: drop}", []string{"empty 5  "}},
		{"- {name: a, from: client, to: any, action: allow}\n- {name: b, from: any, to: client, action: drop}", nil}, // they meet only where client talks to itself
		{"- {name: a, from: client, to: client, action: drop}", []string{"empty 5  "}},
		{"- {name: a, from: [192.0.2.0/24, 0.0.0.0/8], to: any, action: drop}\n- {name: b, from: any, to: server, action: allow}", nil}, // nobody has such an address
		{"- {name: a, from: !client, to: server, action: drop}\n- {name: b, from: lan, to: server, action: allow}", []string{"contradictory 6 a tcp/80 from 10.10.1.11 to 10.10.2.10"}},
		{"- {name: a, from: !client, action: drop}\n- {name: b, from: client, action: drop}\n- {name: c, action: allow}", []string{"unreachable 7 b tcp/80 from 10.10.1"}},
		{"- {name: a, from: client, to: server, applied-to: [server], direction: out, action: drop}", []string{"unreachable 5  "}},
	} {
		p := mustLoad(t, "groups: {none: [], unused: [client]}\nservices: {web: {tcp: 80}, six: {icmpv6: 1}, idle: {udp: 1}}\ndefault: drop\nrules:\n"+c.rules+"\n")
		found, complete := p.Lint()
		var got []string
		for _, f := range found {
			if !strings.HasPrefix(f.Kind, "unused-") {
				got = append(got, fmt.Sprintf("%s %d %s %s", f.Kind, f.Line, f.Other, f.Witness))
			}
		}
		if !complete || !slices.EqualFunc(got, c.want, strings.HasPrefix) {
			t.Errorf("%s:\n%q, want %q", c.rules, got, c.want)
		}
	}
}

func TestLintUnused(t *testing.T) {
	found, _ := mustLoad(t, "groups: {a: [client], b: [a], c: [b]}\nservices: {d: {tcp: 80}, e: {tcp: 81}}\ndefault: drop\nrules: [{name: r, from: b, service: e, action: drop}]\n").Lint()
	if len(found) != 2 || found[0].Kind != LintUnusedGroup || found[0].Col != 31 || found[1].Kind != LintUnusedService || found[1].Line != 2 {
		t.Errorf("%+v", found)
	}
}

func TestNeverHit(t *testing.T) {
	p := mustLoad(t, reference)
	hits := map[string]uint64{p.Rules[0].Name: 3}
	found := p.NeverHit(hits, "since Monday")
	if len(found) != len(p.Rules)-1 || found[0].Rule != p.Rules[1].Name || found[0].Line != p.Rules[1].Line || !strings.Contains(found[0].Detail, "since Monday") {
		t.Errorf("%+v", found)
	}
}

// Lint's work is bounded, and it says so.
func TestLintBound(t *testing.T) {
	var b strings.Builder
	b.WriteString("default: drop\nrules:\n")
	for i := range 3000 {
		fmt.Fprintf(&b, "- {name: r%d, from: [10.0.0.%d, 10.0.1.0/24], to: [10.0.2.%d, 10.0.1.0/24], action: %s}\n", i, i%256, i/256, []string{"allow", "drop"}[i&1])
	}
	p := mustLoad(t, b.String())
	if _, complete := p.lint(10_000); complete {
		t.Error("3,000 rules that all overlap are compared in 10,000 steps")
	}
}

// never says whether no flow of a grid meets a rule first.
func never(p *Policy, rule uint32, addrs []frame.Addr, services []uint32) bool {
	for _, src := range addrs {
		for _, dst := range addrs {
			for _, service := range services {
				t, ok := witness(src, dst, service, service+1)
				if !ok || src.IsIPv4() != dst.IsIPv4() || src == dst {
					continue
				}
				for dir, end := range []frame.Addr{src, dst} {
					ports := []frame.PortID{p.PortOf(end.IP())}
					if ports[0] == 0 {
						ports = append(ports, everyPort(p)...)
					}
					for _, port := range ports {
						for _, first := range packets(p, t) {
							matches := func(r Rule) bool { return r.match.Matches(port, uint8(dir), first.packet()) }
							if slices.IndexFunc(p.Rules, matches) == int(rule) {
								return false
							}
						}
					}
				}
			}
		}
	}
	return true
}

// packets are a flow's first packets as rules can be asked about them, with several source ports and flags.
func packets(p *Policy, t Tuple) (out []firstPacket) {
	conditional := func(r Rule) bool { return r.match.Parts != nil }
	if t.Proto != frame.ProtoTCP && t.Proto != frame.ProtoUDP || !slices.ContainsFunc(p.Rules, conditional) {
		return []firstPacket{t.first()}
	}
	for _, port := range []uint16{0, 1, 2, 1023, 1024, 1025, 0xffff} {
		for _, flags := range []uint8{2, 0xea} {
			if one := t.with(port, flags); p.asks(&one) {
				packet := one.first()
				packet.more = classifier.MoreOf(port, flags)
				out = append(out, packet)
			}
		}
	}
	return out
}

func everyPort(p *Policy) (ports []frame.PortID) {
	for _, g := range p.inv.Guests {
		for _, v := range g.VNICs {
			ports = append(ports, v.Port)
		}
	}
	return ports
}

// portServices are ranges of what has ports.
var portServices = []classifier.ServiceRange{
	classifier.ProtoRange(6), classifier.PortRange(6, 1, 80), classifier.PortRange(6, 80, 80), classifier.PortRange(17, 53, 53),
}

// partServices are ranges as policies can say them.
var partServices = []classifier.ServiceRange{
	classifier.ProtoRange(6), classifier.PortRange(6, 1, 80), classifier.PortRange(6, 80, 80), classifier.PortRange(6, 81, 0xffff),
	classifier.ProtoRange(17), classifier.PortRange(17, 53, 53), classifier.ProtoRange(47),
	classifier.ProtoRange(1), classifier.TypeRange(1, 8), classifier.TypeRange(58, 128), classifier.ProtoRange(58),
}

// Whether a rule is ever reached is exact: every boundary is tried, at every point.
func TestLintEqualsTrying(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		matches := rapid.SliceOfN(draw.Match(), 1, 6).Draw(t, "rules")
		rules := make([]Rule, len(matches))
		addrs, services := []frame.Addr{classifier.AllIPv4.Lo, {}}, []uint32{}
		for i := range rules {
			rules[i].Name, rules[i].match = fmt.Sprint(i), matches[i]
			m := &rules[i].match
			m.Ports = slices.DeleteFunc(m.Ports, func(p frame.PortID) bool { return p > other })
			if m.Parts != nil {
				m.Services = nil
			}
			for n := range m.Parts {
				part := &m.Parts[n]
				part.Services = classifier.ServiceSet{rapid.SampledFrom(portServices).Draw(t, "service")}
				if part.Services[0].Lo>>16 != 6 {
					part.Mask, part.Flags = 0, 0
				}
				m.Services = append(m.Services, part.Services...)
				services = append(services, part.Services[0].Lo, part.Services[0].Hi+1)
			}
			if m.Parts != nil {
				m.Services = m.Services.Normal()
			} else if !m.Services.IsAny() {
				m.Services = rapid.SliceOfN(rapid.SampledFrom(partServices), 1, 3).Draw(t, "services")
				m.Services = m.Services.Normal()
			}
			for _, r := range slices.Concat(m.From, m.To) {
				addrs = append(addrs, r.Lo, r.Lo.Next(), r.Hi.Next(), r.Hi.Next().Next())
			}
			for _, r := range m.Services {
				services = append(services, r.Lo, r.Hi+1)
			}
		}
		for _, g := range lab.Guests {
			for _, v := range g.VNICs {
				for _, a := range v.Addrs {
					addrs = append(addrs, frame.AddrFrom(a))
				}
			}
		}
		for _, proto := range []uint8{0, 1, 2, 6, 7, 17, 18, 58, 59} {
			services = append(services, classifier.ProtoRange(proto).Lo)
		}
		slices.SortFunc(addrs, frame.Addr.Compare)
		addrs = slices.Compact(addrs)
		slices.Sort(services)
		services = slices.DeleteFunc(slices.Compact(services), func(s uint32) bool { return s > classifier.LastService })
		p := policyOf(rules)
		found, complete := p.Lint()
		for i := range rules {
			said := slices.ContainsFunc(found, func(f Finding) bool {
				return f.Rule == rules[i].Name && (f.Kind == LintShadowed || f.Kind == LintUnreachable || f.Kind == LintEmpty)
			})
			if is := never(p, uint32(i), addrs, services); !complete || said != is {
				t.Fatalf("rule %d is never reached: %v; lint says %+v", i, is, found)
			}
		}
	})
}
