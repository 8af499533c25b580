package firewall

import "testing"

const memoryServices = `services:
  web: {tcp: 80}
  any-tcp: {tcp: any}
  back: {tcp: any, from-port: 80}
  other-back: {tcp: any, from-port: 81}
  back-high: {tcp: 32768-60999, from-port: 1-100}
  established: {tcp: any, flags: ack/ack}
  begins: {tcp: any, flags: syn/syn|ack}
  xmas: {tcp: any, flags: fin|psh|urg/fin|psh|urg}
  datagrams-back: {udp: any, from-port: 53}
  names: {udp: 53}
  ping: {icmp: echo}
  pong: {icmp: echo-reply}
  pong4: {icmpv4: echo-reply}
  gone: {icmp: time-exceeded}
  gre: {protocol: gre}
`

// TestForgets: a stateless rule matters where it is about packets of a flow that is allowed and to be remembered, in
// either direction.
func TestForgets(t *testing.T) {
	load := func(rules string) *Policy {
		t.Helper()
		p, err := Load("p", []byte(memoryServices+"default: drop\nrules: ["+rules+"]"), lab)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	const wanted = "{name: ask, from: client, to: server, service: [web, names, ping, gre], action: allow}"
	const tcp, udp, echo, gre = "tcp/80 from 10.10.1.10 to 10.10.2.10", "udp/53 from 10.10.1.10 to 10.10.2.10", "icmp type 8 from 10.10.1.10 to 10.10.2.10", "gre from 10.10.1.10 to 10.10.2.10"
	for _, c := range []struct{ rule, want string }{
		{"from: client, to: server, service: web, action: allow", tcp},
		{"from: client, to: server, service: web, action: drop", tcp},
		{"from: client, to: server, service: web, direction: in, applied-to: client, action: allow", tcp}, // wherever it is applied
		{"from: server, to: client, service: back, action: drop", tcp},
		{"from: server, to: client, service: back-high, action: allow", "tcp/80 from 10.10.1.10 port 49152 to 10.10.2.10"},
		{"from: server, to: client, service: established, action: drop", tcp},
		{"from: client, to: server, service: established, action: drop", tcp},
		{"from: server, to: client, service: datagrams-back, action: allow", udp},
		{"from: server, to: client, service: pong, action: allow", echo},
		{"from: server, to: client, service: gre, action: drop", gre},
		{"from: server, to: any, action: drop", tcp},
		{"from: server, to: client, service: other-back, action: drop", ""},
		{"from: server, to: client, service: web, action: drop", "tcp/80 from 10.10.1.10 port 80 to 10.10.2.10"}, // an answer to who asks from 80
		{"from: server, to: client, service: xmas, action: drop", ""},
		{"from: server, to: client, service: ping, action: drop", ""},
		{"from: server, to: client, service: gone, action: drop", ""},
		{"from: other, to: server, service: web, action: reject", ""},
	} {
		p := load("{name: x, " + c.rule + ", stateless: true}, " + wanted)
		got, stopped := p.Forgets(load(wanted), nil)
		switch {
		case stopped:
			t.Errorf("%s: stopped", c.rule)
		case (got == nil) != (c.want == ""):
			t.Errorf("%s: %v, want %q", c.rule, got, c.want)
		case got != nil && got.Witness.String() != c.want:
			t.Errorf("%s: %s, want %s", c.rule, got.Witness, c.want)
		}
		if got, _ := p.Forgets(load("{name: all, action: allow, stateless: true}"), nil); got != nil {
			t.Errorf("%s: %v, though no memory is asked for", c.rule, got)
		}
		if got, _ := p.Forgets(load(wanted), load("{name: free, from: client, to: server, action: allow}")); got != nil {
			t.Errorf("%s: %v, though that is left free", c.rule, got)
		}
	}
}

// TestEndsLate: what is denied at the receiver alone is found, with the rule that denies it there.
func TestEndsLate(t *testing.T) {
	for _, c := range []struct {
		rules string
		late  bool
	}{
		{"{name: web, from: client, to: server, service: web, action: allow}", false},
		{"{name: web, from: client, to: server, service: web, direction: out, action: allow}", true},
		{"{name: shut, direction: in, action: drop}, {name: all, action: allow}", true},
		{"{name: shut, direction: out, action: drop}, {name: all, action: allow}", false},
	} {
		p, err := Load("p", []byte(memoryServices+"default: drop\nrules: ["+c.rules+"]"), lab)
		if err != nil {
			t.Fatal(err)
		}
		got, stopped := p.EndsLate()
		if stopped || (got != nil) != c.late || got != nil && got.A.Point.Dir != ToGuest {
			t.Errorf("%s: %+v; want %v", c.rules, got, c.late)
		}
	}
}
