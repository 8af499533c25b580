package firewall

import "testing"

// TestDiffBut: what is left free makes no difference, what lies beside it does, and its rules are called by their own
// places.
func TestDiffBut(t *testing.T) {
	load := func(text string) *Policy {
		t.Helper()
		p, err := Load("p", []byte(text), lab)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	const services = "services: {few: {tcp: 20-30}, one: {tcp: 23}, all: {tcp: 1-65535}}\n"
	a := load(services + "default: drop\nrules: [{name: web, from: client, to: server, service: one, action: allow}]")
	b := load(services + "default: drop\nrules: [{name: no, from: server, to: client, action: drop}, {name: few, from: client, to: server, service: few, action: allow}]")
	for _, c := range []struct {
		but  string
		want string
	}{
		{"{from: client, to: server, service: all}", ""},
		{"{from: client, to: server, service: few}", ""},
		{"{from: client, to: server, service: one}", "tcp/20 from 10.10.1.10 to 10.10.2.10"},
		{"{from: client}", ""},
		{"{from: server}", "tcp/20 from 10.10.1.10 to 10.10.2.10"},
	} {
		but := load(services + "default: drop\nrules: [" + c.but[:len(c.but)-1] + ", name: free, action: drop}]")
		got := DiffBut(a, b, but)
		switch {
		case got.Stopped || (c.want == "") != (len(got.Differences) == 0):
			t.Errorf("%s: %+v", c.but, got)
		case c.want != "":
			d := got.Differences[0]
			if d.Witness.String() != c.want || d.A.Rule != 0 || d.B.Rule != 2 || d.A.Action != RuleDrop || d.B.Action != RuleAllow {
				t.Errorf("%s: %s, %+v and %+v", c.but, d.Witness, d.A, d.B)
			}
		}
	}
	if got := DiffBut(a, b, nil); len(got.Differences) == 0 {
		t.Error("nothing is left free, and there is no difference")
	}
}
