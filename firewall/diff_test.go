package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sluice/vnic/frame"
)

// TestDiff: each line is a change of a policy, and what it changes: the verdicts and rules of both sides, and a flow.
func TestDiff(t *testing.T) {
	const head = "services: {web: {tcp: 80}, ping: {icmp: echo}, high: {udp: 8000-8010}}\n"
	rules := func(r ...string) string { return head + "default: drop\nrules: [" + strings.Join(r, ", ") + "]" }
	const web = "{name: web, from: client, to: server, service: web, action: allow}"
	const deny = "{name: no, from: 10.10.1.0/24, to: dmz, action: drop}"
	const high = "{name: u, service: high, action: allow}"
	for _, test := range []struct {
		name, a, b string
		want       []string
	}{
		{"nothing", rules(web), rules(web), nil},
		{"a name", rules(web), rules(strings.Replace(web, "name: web", "name: www", 1)), nil},
		{"order that does not matter", rules(web, "{name: ping, service: ping, action: allow}"), rules("{name: ping, service: ping, action: allow}", web), nil},
		{"a rule twice", rules(web), rules(web, strings.Replace(web, "name: web", "name: again", 1)), nil},
		{"one rule less", rules(web), rules(), []string{"allow web, drop default: tcp/80 from 10.10.1.10 to 10.10.2.10"}},
		{"order that matters", rules(web, deny), rules(deny, web), []string{"allow web, drop no: tcp/80 from 10.10.1.10 to 10.10.2.10"}},
		{"an action", rules(web), rules(strings.Replace(web, "allow", "reject", 1)), []string{"allow web, reject web: tcp/80 from 10.10.1.10 to 10.10.2.10"}},
		{"one end only", rules(web), rules(strings.Replace(web, "action", "direction: in, action", 1)), []string{"allow web, drop default: tcp/80 from 10.10.1.10 to 10.10.2.10"}},
		{"one port of a range", rules(high), strings.Replace(rules(high), "8000-8010", "8000-8009", 1), []string{"allow u, drop default: udp/8010 from 10.10.1.10 to 10.10.1.11"}},
		{"another vNIC", rules("{name: w, service: web, applied-to: client, action: allow}"), rules("{name: w, service: web, applied-to: [client, server], action: allow}"),
			[]string{"drop default, allow w: tcp/80 from 10.10.1.10 to 10.10.2.10"}},
		{"an excluded vNIC", rules(), "exclude: [client, server]\n" + rules(), []string{
			"drop default, allow default: tcp/1 from 10.10.1.10 to 10.10.2.10", "drop default, allow default: protocol 7 from 10.10.1.10 to 10.10.2.10",
			"drop default, allow default: udp/1 from 10.10.1.10 to 10.10.2.10", "drop default, allow default: icmp type 0 from 10.10.1.10 to 10.10.2.10",
		}},
	} {
		a, b := mustLoad(t, test.a), mustLoad(t, test.b)
		c := Diff(a, b)
		var got []string
		for _, d := range c.Differences {
			got = append(got, fmt.Sprintf("%s %s, %s %s: %s", d.A.Action, a.ruleName(d.A.Rule), d.B.Action, b.ruleName(d.B.Rule), d.Witness))
		}
		if !slices.Equal(got, test.want) || c.Stopped {
			t.Errorf("%s: got %q, stopped %v; want %q", test.name, got, c.Stopped, test.want)
		}
	}
}

// TestDiffStops: a comparison that would take too long says that it has stopped.
func TestDiffStops(t *testing.T) {
	a, b := mustLoad(t, reference), mustLoad(t, strings.Replace(reference, "default: drop", "default: allow", 1))
	if c := diff(a, b, 10); !c.Stopped {
		t.Error("did not say so")
	}
}

// drawPolicy makes a policy out of few words, so that rules overlap.
func drawPolicy(t *rapid.T, label string) string {
	ends := rapid.SampledFrom([]string{"any", "client", "server", "lan", "dmz", "10.10.1.10/31", "10.10.2.128/25", "fd00:10:1::/64", "0.0.0.0/0", "2001:db8::5", "[client, server]"})
	services := rapid.SampledFrom([]string{"any", "web", "low", "ping", "all-tcp", "[web, ping]", "gre", "from", "acks", "[from, gre]"})
	var b strings.Builder
	b.WriteString("services: {web: {tcp: 80}, low: {tcp: 1-80, udp: 53}, ping: {icmp: echo}, all-tcp: {tcp: any}, gre: {protocol: gre}, from: [{tcp: 80, from-port: 1-1023}, {udp: 53, from-port: 53}], acks: {tcp: 1-80, flags: [ack/ack, \"syn/fin,syn,rst,ack\"]}}\n")
	fmt.Fprintf(&b, "default: %s\n", rapid.SampledFrom([]string{"drop", "drop", "drop", "allow"}).Draw(t, label+" default"))
	b.WriteString("rules:\n")
	for i := range rapid.IntRange(0, 5).Draw(t, label+" rules") {
		draw := func(g *rapid.Generator[string], what string) string {
			return g.Draw(t, fmt.Sprintf("%s %s %d", label, what, i))
		}
		fmt.Fprintf(&b, "  - {name: r%d, from: %s, to: %s, service: %s, direction: %s, action: %s%s}\n",
			i, draw(ends, "from"), draw(ends, "to"), draw(services, "service"),
			draw(rapid.SampledFrom([]string{"in", "out", "in-out"}), "direction"),
			draw(rapid.SampledFrom([]string{"allow", "drop", "reject"}), "action"),
			draw(rapid.SampledFrom([]string{"", "", ", applied-to: client", ", applied-to: [server, other]"}), "applied-to"))
	}
	return b.String()
}

// universe calls fn for every flow between some addresses on both sides of every boundary that drawPolicy can draw, at
// every vNIC that can send and receive it.
func universe(p *Policy, fn func(from, to frame.PortID, t Tuple)) {
	ends := addrs("10.10.1.9", "10.10.1.10", "10.10.1.11", "10.10.1.12", "10.10.2.10", "10.10.2.127", "10.10.2.128", "8.8.8.8",
		"fd00:10:1::10", "fd00:10:1::12", "fd00:10:2::10", "fd00:10:2::12", "2001:db8::5", "2001:db8::6")
	services := []Tuple{
		{Proto: 6}, {Proto: 6}, {Proto: 6}, {Proto: 17}, {Proto: 17}, {Proto: 1, ICMPType: 8}, {Proto: 1}, {Proto: 58, ICMPType: 128}, {Proto: 58},
		{Proto: 47}, {Proto: 2},
	}
	ports := []uint16{80, 79, 81, 53, 54, 0, 0, 0, 0, 0, 0}
	at := func(a netip.Addr) []frame.PortID {
		if port := p.PortOf(a); port != 0 {
			return []frame.PortID{port}
		}
		return []frame.PortID{0, client, server, other}
	}
	for _, src := range ends {
		for _, dst := range ends {
			for i, t := range services {
				if src.Is4() != dst.Is4() || t.Proto == 1 && !src.Is4() || t.Proto == 58 && src.Is4() {
					continue
				}
				t.Src, t.Dst = netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, ports[i])
				for _, from := range at(src) {
					for _, to := range at(dst) {
						if t.Proto != 6 && t.Proto != 17 {
							fn(from, to, t)
							continue
						}
						for _, port := range []uint16{1, 53, 1024} {
							fn(from, to, t.with(port, frame.TCPSyn))
						}
					}
				}
			}
		}
	}
}

// drawPair makes two policies: unrelated ones, or one and what an edit makes of it.
func drawPair(t *rapid.T) (a, b string) {
	a = drawPolicy(t, "a")
	if rapid.Bool().Draw(t, "unrelated") {
		return a, drawPolicy(t, "b")
	}
	lines := strings.Split(strings.TrimSpace(a), "\n")
	if len(lines) < 5 {
		return a, a
	}
	rules := lines[3:]
	i, j := rapid.IntRange(0, len(rules)-1).Draw(t, "i"), rapid.IntRange(0, len(rules)-1).Draw(t, "j")
	rules[i], rules[j] = rules[j], rules[i]
	return a, strings.Join(lines[:len(lines)-rapid.IntRange(0, 1).Draw(t, "less")], "\n")
}

// TestDiffIsExact: Diff names a pair of verdicts and rules exactly where some flow of a small universe has it, and its
// witness has it.
func TestDiffIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		aText, bText := drawPair(t)
		a, err := Load("a.yaml", []byte(aText), lab)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Load("b.yaml", []byte(bText), lab)
		if err != nil {
			t.Fatal(err)
		}
		want := map[outcome]string{}
		universe(a, func(from, to frame.PortID, f Tuple) {
			x, y := a.along(from, to, f), b.along(from, to, f)
			if x.Action != y.Action {
				want[outcomeOf(x, y, &f)] = fmt.Sprint(from, to, f)
			}
		})
		for _, d := range Diff(a, b).Differences {
			k := outcomeOf(d.A, d.B, &d.Witness)
			if _, there := want[k]; !there {
				t.Errorf("%v: no flow of the universe differs so; witness %v", k, d.Witness)
			}
			x, y := a.along(d.From, d.To, d.Witness), b.along(d.From, d.To, d.Witness)
			if x != d.A || y != d.B || x.Action == y.Action {
				t.Errorf("the witness %v has %v and %v; said were %v and %v", d.Witness, x, y, d.A, d.B)
			}
			delete(want, k)
		}
		for k, flow := range want {
			t.Errorf("%v: %s differs so, but was not found", k, flow)
		}
	})
}

func TestLongestRising(t *testing.T) {
	for _, test := range []struct{ in, want []int }{
		{nil, nil},
		{[]int{4}, []int{0}},
		{[]int{1, 2, 3}, []int{0, 1, 2}},
		{[]int{3, 2, 1}, []int{2}},
		{[]int{5, 1, 2, 0, 3}, []int{1, 2, 4}},
	} {
		if got := longestRising(test.in); !slices.Equal(got, test.want) {
			t.Errorf("%v: got %v; want %v", test.in, got, test.want)
		}
	}
}
