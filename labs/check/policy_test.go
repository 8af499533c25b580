package check

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sluice/firewall"
	"sluice/vnic/frame"
)

var inventory = &firewall.Inventory{Guests: []firewall.InvGuest{
	{Name: "client", VNICs: []firewall.InvVNIC{{Port: 1, Segment: 1, MAC: frame.MAC{2, 0, 0, 0, 0, 1}, Addrs: []netip.Addr{netip.MustParseAddr("10.0.1.1")}}}},
	{Name: "server", VNICs: []firewall.InvVNIC{{Port: 2, Segment: 1, MAC: frame.MAC{2, 0, 0, 0, 0, 2}, Addrs: []netip.Addr{netip.MustParseAddr("10.0.1.2"), netip.MustParseAddr("fd00::2")}}}},
}}

func policyOf(t *testing.T, text string) *firewall.Policy {
	t.Helper()
	p, err := firewall.Load("policy.yaml", []byte("services: {web: {tcp: 80}, few: {tcp: 80-90}, telnet: {tcp: 23}}\n"+text), inventory)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPolicy: what counts as a fault by the way of comparing, and what is said of it: the flow, the rule, and what is
// wanted.
func TestPolicy(t *testing.T) {
	const (
		wanted    = "default: drop\nrules: [{name: web, from: client, to: server, service: web, action: allow}]"
		wide      = "default: drop\nrules: [{name: few, from: client, to: server, service: few, action: allow}]"
		narrow    = "default: drop\n"
		aloud     = "default: drop\nrules: [{name: no, from: server, action: reject}, {name: web, from: client, to: server, service: web, action: allow}]"
		fails     = "default: drop\nfail: {hung: open}\nrules: [{name: web, from: client, to: server, service: web, action: allow}]"
		stateless = "default: drop\nrules: [{name: web, from: client, to: server, service: web, action: allow, stateless: true}]"
		late      = "default: drop\nrules: [{name: out, from: client, to: server, service: telnet, direction: out, action: allow}]"
		long      = "default: drop\nrules: [{name: a, from: client, to: server, service: telnet, action: drop}, {name: web, from: client, to: server, service: web, action: allow}]"
	)
	two, _ := ParseCondition("<= 1")
	free := policyOf(t, "default: drop\nrules: [{name: free, from: client, to: server, service: few, action: allow}]")
	for _, c := range []struct {
		what string
		c    Policy
		text string
		want string // in the reason; empty passes
		fact string
	}{
		{"the same", Policy{How: As}, wanted, "", ""},
		{"wide", Policy{How: As}, wide, "the policy allows tcp/81 from client to server, by rule few in line 3; it is to drop that", tooWide},
		{"narrow", Policy{How: As}, narrow, "the policy drops tcp/80 from client to server, by its default; it is to allow that", tooNarrow},
		{"aloud", Policy{How: As}, aloud, "the policy rejects ", otherNo},
		{"wide, at least", Policy{How: AtLeast}, wide, "", ""},
		{"narrow, at least", Policy{How: AtLeast}, narrow, "it is to allow that", tooNarrow},
		{"aloud, at least", Policy{How: AtLeast}, aloud, "", ""},
		{"wide, at most", Policy{How: AtMost}, wide, "it is to drop that", tooWide},
		{"narrow, at most", Policy{How: AtMost}, narrow, "", ""},
		{"aloud, at most", Policy{How: AtMost}, aloud, "", ""},
		{"wide, left free", Policy{How: As, But: free}, wide, "", ""},
		{"narrow, left free", Policy{How: As, But: free}, narrow, "", ""},
		{"aloud, others free", Policy{How: As, But: free}, aloud, "the policy rejects ", otherNo},
		{"fails otherwise", Policy{How: As, Fail: true}, fails, "of an appliance that is hung than it is to", ""},
		{"fails otherwise, and may", Policy{How: As}, fails, "", ""},
		{"in the middle", Policy{How: As}, "midstream: true\n" + wanted, "connections begin in their middle", ""},
		{"in the middle, at least", Policy{How: AtLeast}, "midstream: true\n" + wanted, "", ""},
		{"no windows", Policy{How: AtMost}, "tcp-windows: liberal\n" + wanted, "outside of their connection's windows", ""},
		{"a helper", Policy{How: AtMost}, "helpers: ftp\n" + wanted, "related to others (helpers: ftp)", ""},
		{"a helper, at least", Policy{How: AtLeast}, "helpers: ftp\n" + wanted, "", ""},
		{"few", Policy{How: As}, "limits: {per-source: {flows: 9}}\n" + wanted, "how many flows may be begun", ""},
		{"few, at most", Policy{How: AtMost}, "limits: {flows: 9}\n" + wanted, "", ""},
		{"impatient", Policy{How: As}, "timeouts: {tcp-established: 5s}\n" + wanted, "forgets a connection that is silent for 5s", forgets},
		{"patient", Policy{How: As}, "timeouts: {tcp-established: 5m}\n" + wanted, "", ""},
		{"without a memory", Policy{How: As}, stateless, "the policy does not remember tcp/80 from client to server: rule web in line 3 is stateless", forgets},
		{"without a memory, left free", Policy{How: As, But: free}, stateless, "", ""},
		{"ends late", Policy{Ends: true}, late, "the policy lets tcp/23 from client to server leave its sender, and drops it only at the receiver's vNIC", endsLate},
		{"ends late, and may", Policy{How: AtMost}, late, "", ""},
		{"ends at once", Policy{Ends: true}, wide, "", ""},
		{"long", Policy{How: As, Rules: &two}, long, "in 2 rules; there should be at most 1", ""},
	} {
		c.c.Wanted = policyOf(t, wanted)
		c.c.Guests = map[netip.Addr]string{netip.MustParseAddr("10.0.1.1"): "client", netip.MustParseAddr("10.0.1.2"): "server"}
		lab := &fakeLab{policy: policyOf(t, c.text)}
		r, err := Judge(t.Context(), lab, []Task{{ID: "t", Checks: []Check{{Kind: &c.c}}}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		got := r.Results[0]
		if got.Passed != (c.want == "") || !strings.Contains(got.Reason, c.want) || (c.fact != "" && !slices.Contains(got.Facts, c.fact)) {
			t.Errorf("%s: %v %q %v; want %q %s", c.what, got.Passed, got.Reason, got.Facts, c.want, c.fact)
		}
		if strings.Contains(c.want, "tcp/81") && got.Look != "sluice trace 'tcp from client to server port 81'" {
			t.Errorf("%s: look %q", c.what, got.Look)
		}
	}
}

// TestPolicyFacts: a hint may depend on what a comparison can find.
func TestPolicyFacts(t *testing.T) {
	task := Task{Checks: []Check{{Kind: &Policy{}}}}
	if got := task.Facts(); !slices.Equal(got, []string{endsLate, forgets, otherNo, tooNarrow, tooWide}) {
		t.Errorf("%v", got)
	}
}
