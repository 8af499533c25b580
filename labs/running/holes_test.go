package running_test

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"sluice/firewall"
	"sluice/labs"
	"sluice/labs/check"
	"sluice/labs/labfile"
)

// A hole is a policy that does what a lab's text asks for and something else beside it, which no port that is tried
// would show. Each is made here from the lab's solution by one change, for every lab that asks for a policy; what is
// right and written otherwise is made the same way.

// hole is a change: A may begin something with B in the lab, by SERVICE, and B may begin nothing with A.
type hole struct {
	what     string
	services string // of a service x
	first    string // a rule before all others
	last     string // a rule after all others
	top      string // another key of the policy
	right    bool   // it makes no difference
	stateful bool   // not in a lab whose filter has no memory
	rules    bool   // it has a rule more, which a lab may count
}

var holes = []hole{
	{what: "a port between those tried", services: "tcp: 8123", last: "from: A, to: B, service: x, action: allow"},
	{what: "datagrams back", services: "udp: 53", last: "from: B, to: A, service: x, action: allow"},
	{what: "a whole protocol", services: "protocol: gre", last: "from: A, to: B, service: x, action: allow"},
	{what: "another protocol back", services: "protocol: sctp", last: "from: B, to: A, service: x, action: allow"},
	{what: "another kind of ICMP", services: "icmp: time-exceeded", last: "from: A, to: B, service: x, action: allow"},
	{what: "pings back, in IPv6", services: "icmpv6: 128", last: "from: B, to: A, service: x, action: allow"},
	{what: "one port refused aloud", services: "tcp: 113", first: "from: A, to: B, service: x, action: reject"},
	{what: "whoever comes from port 22", services: "tcp: 22, from-port: 22", last: "from: B, to: A, service: x, action: allow"},
	{what: "only who asks from high ports", services: "SERVICE, from-port: 1-1023", first: "from: A, to: B, service: x, action: drop"},
	{what: "IPv4 only", services: "SERVICE", first: "from: A, to: \"fd00::/16\", service: x, action: drop"},
	{what: "established without a state", services: "tcp: any, flags: ack/ack", first: "from: B, to: A, service: x, action: allow, stateless: true"},
	{what: "one direction without a state", services: "SERVICE", first: "from: A, to: B, service: x, action: allow, stateless: true", stateful: true},
	{what: "answers denied without a state", first: "from: B, to: A, action: drop, stateless: true"},
	{what: "another machine of the segment", last: "from: 10.10.1.77, to: B, action: allow"},
	{what: "who comes from outside", last: "from: 192.0.2.0/24, to: B, action: allow"},
	{what: "groups", last: "from: any, to: 224.0.0.0/4, action: allow"},
	{what: "all of it", first: "from: any, to: any, action: allow"},
	{what: "a guest that is left out", top: "exclude: [B]"},
	{what: "connections begin in the middle", top: "midstream: true"},
	{what: "a helper that opens ports", top: "helpers: [tftp]"},
	{what: "no windows", top: "tcp-windows: liberal"},
	{what: "five flows", top: "limits: {flows: 5}"},
	{what: "three in a second for each source", top: "limits: {per-source: {new-per-second: 3}}"},
	{what: "a second's silence", top: "timeouts: {tcp-established: 1s}"},
	{what: "the rest is denied by a rule", last: "action: drop", right: true, rules: true},
	{what: "what is denied anyway, first", services: "tcp: 113", first: "from: A, to: B, service: x, action: drop", right: true, rules: true},
	{what: "a patient policy", top: "timeouts: {tcp-established: 1h}", right: true},
}

// asked are the labs that ask for a policy: who may begin what with whom.
var asked = map[string]struct{ a, b, service string }{
	"stateless-filter": {"client", "server", "tcp: 7777"}, "fast-vs-slow": {"client", "server", "udp: 5201"},
	"stateful-filter": {"client", "server", "udp: 7777"}, "blind-spot": {"payroll", "web", "tcp: 80"},
	"micro-segmentation": {"app", "db", "tcp: 7777"}, "push": {"client", "server", "tcp: 7777"},
	"when-it-breaks": {"client", "printer", "tcp: 80"}, "live-migration": {"visitor", "server", "tcp: 80"},
}

func TestHoles(t *testing.T) {
	for _, name := range labs.BuiltinNames() {
		l, err := labfile.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if !asksForPolicy(l) {
			continue
		}
		who, known := asked[l.Name]
		if !known {
			t.Errorf("%s asks for a policy: say above who may begin what there", l.Name)
			continue
		}
		text, err := fs.ReadFile(l.Files, "solution/policy.yaml")
		if err == nil {
			text, err = l.Fill("policy.yaml", text)
		}
		if err != nil {
			t.Fatal(err)
		}
		stateless := strings.Contains(string(text), "stateless: true")
		for _, h := range holes {
			if stateless && h.stateful || strings.HasPrefix(h.top, "timeouts:") && strings.Contains(string(text), "timeouts:") {
				continue
			}
			changed := strings.NewReplacer("A,", who.a+",", "B,", who.b+",", "[B]", "["+who.b+"]", "SERVICE", who.service).Replace
			work := h.in(string(text), changed, stateless)
			p, err := firewall.Load(l.Name, []byte(work), l.Inventory())
			if err != nil {
				t.Fatalf("%s, %s: %v\n%s", l.Name, h.what, err, work)
			}
			why := faultOf(l, p, h.rules)
			if (why == "") != h.right {
				t.Errorf("%s, %s: %q\n%s", l.Name, h.what, why, work)
			}
		}
	}
}

// in writes the changed policy.
func (h hole) in(text string, changed func(string) string, stateless bool) string {
	rule := func(body string) string {
		if stateless && !strings.Contains(body, "stateless") {
			body += ", stateless: true"
		}
		return fmt.Sprintf("  - {name: extra, %s}\n", changed(body))
	}
	if h.services != "" {
		text = strings.Replace(text, "services:\n", "services:\n  x: {"+changed(h.services)+"}\n", 1)
	}
	if h.first != "" {
		text = strings.Replace(text, "\nrules:\n", "\nrules:\n"+rule(h.first), 1)
	}
	if h.last != "" {
		at := strings.LastIndex(text, "\n  - {") + 1
		at += strings.Index(text[at:], "\n") + 1
		text = text[:at] + rule(h.last) + text[at:]
	}
	return changed(h.top) + "\n" + text
}

// faultOf is what the first check of a policy that does not hold says; with any number of rules, if need be.
func faultOf(l *labfile.Lab, p *firewall.Policy, anyRules bool) string {
	for _, task := range l.Tasks {
		for _, c := range task.Checks {
			if k, ok := c.Kind.(*check.Policy); ok {
				k := *k
				if anyRules {
					k.Rules = nil
				}
				if f := k.Compare(p); !f.Passed {
					return f.Reason
				}
			}
		}
	}
	return ""
}
