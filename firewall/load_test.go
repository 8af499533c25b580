package firewall

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"sluice/firewall/fault"
)

// TestWhatToDo: an error offers what would be right here.
func TestWhatToDo(t *testing.T) {
	const rule = "rules:\n  - {name: a, action: drop, service: "
	for _, c := range []struct{ text, do string }{
		{rule + "tcp/23}", "add it to services under a name, for example telnet: {tcp: 23}"},
		{rule + "\"udp:7000\"}", "add it to services under a name, for example mine: {udp: 7000}"},
		{rule + "web}", "add it to services under a name, for example web: {tcp: 80}"},
		{rule + "23}", "add it to services under a name, for example telnet: {tcp: 23}"},
		{"services: {b: {tcp: 1}, a: {tcp: 2}}\n" + rule + "web}", "for example web: {tcp: 80}; there are a, b"},
		{"services: {a: {icmp: reply}}", "timestamp-reply, and any; codes are address-unreachable, admin-prohibited, beyond-scope, fragmentation-needed, host-prohibited, host-unreachable, " +
			"net-prohibited, net-unreachable, no-route, policy-fail, port-unreachable, protocol-unreachable, reassembly-timeout, reject-route, source-route-failed, ttl-exceeded"},
		{"services: {a: {icmpv6: reply}}", "reject-route, ttl-exceeded; or write numbers from 0 to 255, as 3 or 3/1"},
	} {
		_, err := Load("p.yaml", []byte("default: drop\n"+c.text), lab)
		var list fault.List
		if !errors.As(err, &list) || len(list) != 1 || !strings.HasSuffix(list[0].Do, c.do) {
			t.Errorf("%s: %v; want %q", c.text, err, c.do)
		}
	}
}

// Each wrong policy gives one error at a place, that says what is wrong and what to do.
func TestLoadErrors(t *testing.T) {
	const head = "default: drop\n"
	for _, c := range []struct{ text, place, says string }{
		{"", "1:1", "empty"},
		{"default: [", "1:10", "not YAML"},
		{"rules: []", "1:1", "no default"},
		{"default: deny", "1:10", "no default \"deny\""},
		{head + "rule: []", "2:1", "no key \"rule\""},
		{head + "---\ndefault: drop", "2:1", "second document"},
		{head + "rules: {}", "2:8", "must be a list"},
		{head + "rules:\n  - {action: allow}", "3:5", "no name"},
		{head + "rules:\n  - {name: a}", "3:5", "no action"},
		{head + "rules:\n  - {name: a b, action: drop}", "3:12", "cannot be the name"},
		{head + "rules:\n  - {name: a, action: pass}", "3:23", "no action \"pass\""},
		{head + "rules:\n  - {name: a, action: drop, form: client}", "3:29", "no key \"form\""},
		{head + "rules:\n  - {name: a, action: drop, from: clint}", "3:35", "\"clint\" is no guest"},
		{head + "rules:\n  - name: a\n    action: drop\n    to: [server, nobody]", "5:18", "\"nobody\" is no guest"},
		{head + "rules:\n  - {name: a, action: drop, from: 10.0.0.1/8}", "3:35", "bits behind its length"},
		{head + "rules:\n  - {name: a, action: drop, from: }", "3:35", "from is empty"},
		{head + "rules:\n  - {name: a, action: drop, service: web}", "3:38", "no service \"web\""},
		{head + "rules:\n  - {name: a, action: drop, direction: up}", "3:40", "no direction \"up\""},
		{head + "rules:\n  - {name: a, action: drop, applied-to: 10.0.0.1}", "3:41", "has no vNICs"},
		{head + "rules:\n  - {name: a, action: drop, log: maybe}", "3:34", "no log \"maybe\""},
		{head + "rules:\n  - {name: a, action: drop}\n  - {name: a, action: drop}", "4:5", "already at line 3"},
		{head + "rules:\n  - {name: a, action: drop, action: allow}", "3:29", "action twice"},
		{head + "groups: {client: [server]}", "2:10", "a guest or a segment already"},
		{head + "groups: {any: [server]}", "2:10", "a word of the policy's own"},
		{head + "groups: {a: [b], b: [c], c: [a]}", "2:30", "contains itself through a"},
		{head + "groups: {a: [a]}", "2:14", "contains itself through a"},
		{head + "services: {web: {tcp: 0}}", "2:23", "\"0\" is no port"},
		{head + "services: {web: {tcp: 65536}}", "2:23", "\"65536\" is no port"},
		{head + "services: {web: {tcp: [80, 90-70]}}", "2:28", "\"90-70\" is no port"},
		{head + "services: {web: {icmp: 8}}", "2:24", "different things"},
		{head + "services: {web: {icmpv4: packet-too-big}}", "2:26", "has no type"},
		{head + "services: {web: {icmpv4: 3/256}}", "2:26", "no ICMP type"},
		{head + "services: {web: {icmpv4: 3/5-4}}", "2:26", "no ICMP type"},
		{head + "services: {web: {icmpv4: echo/port-unreachable}}", "2:26", "no ICMP type"},
		{head + "services: {web: {icmp: destination-unreachable/1}}", "2:24", "different things"},
		{head + "services: {web: {icmpv6: protocol-unreachable}}", "2:26", "has no type"},
		{head + "services: {web: {icmp: knock}}", "2:24", "no ICMP type"},
		{head + "services: {web: {protocol: 256}}", "2:28", "no IP protocol"},
		{head + "services: {web: {sctp: 80}}", "2:18", "no key \"sctp\""},
		{head + "services: {web: {from-port: 80}}", "2:18", "stands alone"},
		{head + "services: {web: {icmp: echo, from-port: 80}}", "2:30", "TCP and UDP only"},
		{head + "services: {web: {tcp: 80, from-port: 0}}", "2:38", "\"0\" is no port"},
		{head + "services: {web: {udp: 80, flags: syn}}", "2:27", "TCP's only"},
		{head + "services: {web: {tcp: 80, flags: sin}}", "2:34", "no combination"},
		{head + "services: {web: {tcp: 80, flags: syn|ack}}", "2:34", "which flags are looked at"},
		{head + "services: {web: {tcp: 80, flags: syn/ack}}", "2:34", "no segment has"},
		{head + "services: {web: {tcp: 80, flags: syn/syn,ack}}", "2:42", "no key \"ack\""},
		{head + "rules:\n  - {name: a, action: drop, from: !any}", "3:35", "nobody is left"},
		{head + "rules:\n  - {name: a, action: drop, from: [lan, !nobody]}", "3:41", "\"nobody\" is no guest"},
		{head + "rules:\n  - {name: a, action: drop, applied-to: !client}", "3:41", "takes no !"},
		{head + "rules:\n  - {name: a, action: drop, service: !web}", "3:38", "no service"},
		{head + "groups: {a: !b, b: !a}", "2:20", "contains itself through !a"},
		{head + "services: {web: []}", "2:17", "the service says nothing"},
		{head + "services: &a {web: *a}", "2:11", "must be a mapping"},
		{head + "timeouts: {udp: 3s}", "2:12", "no key \"udp\""},
		{head + "timeouts: {udp-first: 3}", "2:23", "no timeout"},
		{head + "timeouts: {udp-first: 600h}", "2:23", "no timeout"},
		{head + "limits: {flows: 0}", "2:17", "cannot be"},
		{head + "limits: {per-source: {flow: 1}}", "2:23", "no key \"flow\""},
		{head + "limits: {per-source: {flows: 0}}", "2:30", "cannot be"},
		{head + "rules:\n  - {name: a, action: drop, log: {rate: 5}}", "3:41", "no rate"},
		{head + "rules:\n  - {name: a, action: drop, log: {rate: 101/second}}", "3:41", "no rate"},
		{head + "rules:\n  - {name: a, action: drop, log: {prefix: 'a\"b'}}", "3:43", "a log's prefix"},
		{head + "rules:\n  - {name: a, action: drop, log: {level: 1}}", "3:35", "no key \"level\""},
		{head + "midstream: 1", "2:12", "no midstream"},
		{head + "fail: shut", "2:7", "fail cannot be \"shut\""},
		{head + "fail: {hung: maybe}", "2:14", "fail cannot be \"maybe\""},
		{head + "fail: {ok: open}", "2:8", "fail has no key \"ok\""},
		{head + "helpers: [ftp, sip]", "2:16", "no helper \"sip\""},
		{head + "helpers: [ftp, tftp, ftp]", "2:22", "helpers has ftp twice"},
		{head + "helpers: {ftp: 21}", "2:10", "helper must be one plain value"},
		{head + "helpers: ", "2:9", "helpers is empty"},
		{head + "exclude: nobody", "2:10", "has no vNICs"},
		{head + "sections: [{rules: []}]", "2:12", "no proper name"},
		{head + "sections: [{name: a}]", "2:12", "has no rules"},
		{head + "sections: [{name: a, rules: []}, {name: a, rules: []}]", "2:34", "already"},
		{head + strings.Repeat("[", 40), "2:33", "nests deeper"},
	} {
		_, err := Load("p.yaml", []byte(c.text), lab)
		var e *fault.Fault
		if !errors.As(err, &e) {
			t.Errorf("%q: no error with a place: %v", c.text, err)
			continue
		}
		if !strings.HasPrefix(err.Error(), "p.yaml:"+c.place+": ") || !strings.Contains(e.Msg, c.says) {
			t.Errorf("%q: want %s: %s\n%v", c.text, c.place, c.says, err)
		}
	}
}

func TestLoadTellsSeveralErrors(t *testing.T) {
	_, err := Load("p.yaml", []byte("default: no\nrules:\n  - {name: a, action: no}\n  - {name: b, action: no}\n"), lab)
	var list fault.List
	if !errors.As(err, &list) || len(list) != 3 || list[2].Line != 4 || list[2].Source != "  - {name: b, action: no}" {
		t.Errorf("%v", err)
	}
}

// TestCostly reads policies of 256 KiB that somebody has made to cost time and memory. Each is refused, or read; the
// test's own time limit is the judge.
func TestCostly(t *testing.T) {
	const size = 256 << 10
	var many strings.Builder
	for i := range size / 2 / 14 {
		fmt.Fprintf(&many, "10.%d.%d.%d, ", i>>15&255, i>>7&255, i<<1&255)
	}
	big := "default: drop\ngroups:\n  a: [" + many.String() + "10.0.0.0]\n"
	for _, c := range []struct{ name, head, line, says string }{
		{"groups with a group in them", big, "  g%d: [a, lan]\n", "too long, once"},
		{"a group with another in it often", big + "  b: [a", ", a", "not YAML"},
		{"a group with another in it often, on lines", big + "  b:\n", "  - a\n", "too long, once"},
		{"groups with a group alone", big, "  g%d: [a]\n", ""},
		{"rules with a group alone", big + "rules:\n", "- {name: r%d, from: a, to: any, action: allow}\n", ""},
		{"rules with a group and more", big + "rules:\n", "- {name: r%d, from: [a, lan], to: any, action: allow}\n", "too long, once"},
		{"groups of nobody", "default: drop\ngroups:\n", "  g%d: nobody\n", "is no guest"},
		{"keys after question marks", "", "? a\n", "has a twice"},
	} {
		var b strings.Builder
		b.WriteString(c.head)
		for i := 0; b.Len() < size; i++ {
			if strings.Contains(c.line, "%d") {
				fmt.Fprintf(&b, c.line, i)
			} else {
				b.WriteString(c.line)
			}
		}
		_, err := Load("p.yaml", []byte(b.String()), lab)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %.300v, want %q", c.name, err, c.says)
		}
	}
}

func TestGenerationIsOfContent(t *testing.T) {
	a := mustCompile(t, mustLoad(t, reference), Fast)
	same := mustCompile(t, mustLoad(t, "# a comment\n"+reference), Push)
	tracks := mustCompile(t, mustLoad(t, reference), Off)
	other := mustCompile(t, mustLoad(t, strings.Replace(reference, "5201", "5202", 1)), Fast)
	if a.Generation() != same.Generation() || a.Generation() == tracks.Generation() || a.Generation() == other.Generation() {
		t.Error(a.Generation(), same.Generation(), tracks.Generation(), other.Generation())
	}
}

// manyRules is a policy whose rules are read in pieces; line 5 has the first.
func manyRules(n int) string {
	var b strings.Builder
	b.WriteString("services:\n  web: {tcp: 80}\ndefault: drop\nrules:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {name: r%d, from: %d.%d.%d.0/24, service: web, action: allow}\n", i, 10+i>>16, i>>8&255, i&255)
	}
	return b.String()
}

func TestManyRules(t *testing.T) {
	const n = 1000
	p := mustLoad(t, manyRules(n))
	if len(p.Rules) != n {
		t.Fatalf("%d rules", len(p.Rules))
	}
	for i, r := range p.Rules {
		if r.Name != fmt.Sprint("r", i) || r.Line != 5+i || r.Col != 5 {
			t.Fatalf("rule %d: %+v", i, r)
		}
	}
	for _, c := range []struct{ line, want string }{
		{"  - {name: r1, action: allow}\n", "p.yaml:1005:5: rule r1 is already at line 6"},
		{"  - {name: x, action: [allow}\n", "p.yaml:1005:29: not YAML"},
		{"  - {name: x, to: nobody, action: drop}\n", "p.yaml:1005:19: \"nobody\" is no guest"},
		{"  - {name: x, to: \"\n  - \", action: drop}\n", "p.yaml:1005:19: \" - \" is no guest"},
		{"limits: x\n", "p.yaml:1005:9: limits must be a mapping"},
	} {
		if _, err := Load("p.yaml", []byte(manyRules(n)+c.line), lab); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v", c.line, err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(manyRules(70)))
	f.Add([]byte(reference))
	f.Add([]byte("groups: {a: [b, 10.0.0.0/8], b: [client]}\nservices: {x: [{icmp: echo}, {protocol: gre, tcp: [1-3, any]}]}\ndefault: reject\nrules:\n- name: a\n  from: [a, \"::/0\"]\n  applied-to: lan\n  direction: in\n  action: allow\n  log: true\n"))
	f.Add([]byte("default: &a drop\nrules: *a\n"))
	f.Add([]byte("? - - -\n: {[}"))
	f.Fuzz(func(t *testing.T, src []byte) {
		p, err := Load("p.yaml", src, lab)
		if err != nil {
			var list fault.List
			if !errors.As(err, &list) || len(list) == 0 || list[0].Line < 1 || list[0].Col < 1 {
				t.Fatalf("an error without a place: %v", err)
			}
			return
		}
		if _, err := Compile(p, Fast); err != nil {
			t.Fatal(err)
		}
		if _, err := p.NFT(NFTOptions{}); err != nil {
			t.Fatal(err)
		}
		found, _ := p.lint(1 << 16)
		for _, f := range found {
			if f.Line < 1 || f.Col < 1 || f.Kind == "" || f.Detail == "" {
				t.Fatalf("%+v", f)
			}
		}
	})
}

// The policy that docs/policy.md shows is one.
func TestDocumentedPolicyLoads(t *testing.T) {
	page, err := os.ReadFile("../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	text, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("the page shows no policy")
	}
	if p := mustLoad(t, text); len(p.Rules) != 2 || len(p.Exclude) != 1 {
		t.Errorf("%+v", p)
	}
}
