package enginetest

import (
	"strings"
	"testing"

	"sluice/firewall"
)

const wordsPolicy = `
services:
  begins: {tcp: any, flags: syn/syn|ack}
  answers: {tcp: any, from-port: 80, flags: ack/syn|ack}
  synack: {tcp: any, flags: syn|ack/syn|ack}
  low: {tcp: 443, from-port: 1-1023}
  gone: {icmp: host-unreachable}
  filtered: {icmpv4: 3/13, icmpv6: 1/1}
  stamp: {icmp: timestamp}
  hello: {protocol: vrrp}
default: drop
rules:
  - {name: gone, service: gone, action: allow, stateless: true}
  - {name: filtered, service: filtered, action: reject, stateless: true}
  - {name: back, from: server, to: client, service: answers, action: allow, stateless: true}
  - {name: odd, from: server, to: client, service: synack, action: drop, stateless: true}
  - {name: low, from: client, service: low, action: reject}
  - {name: begins, from: client, service: begins, action: allow}
  - {name: stamp, from: client, service: stamp, action: allow}
  - {name: hello, from: client, service: hello, action: allow}
`

// testTraceWords traces what the language of policies can tell apart, where the engine enforces and where the appliance
// does.
func testTraceWords(t *testing.T, bed Bed) {
	cases := []struct{ what, verdict, rule, reason string }{
		{"tcp from client to server port 443", "pass", "begins", ""},
		{"tcp from client to server port 443 flags syn", "pass", "begins", ""},
		{"tcp from client from-port 1023 to server port 443", "reject", "low", "reject"},
		{"tcp from client to server port 443 from-port 1024", "pass", "begins", ""},
		{"tcp from client to server port 443 flags ack", "drop", "", "state-mismatch"},
		{"tcp from client to server port 443 flags none", "drop", "", "state-mismatch"},
		{"tcp from server port 80 to client port 40000 flags ack", "pass", "back", ""},
		{"tcp from server port 80 to client port 40000 flags ack|psh", "pass", "back", ""},
		{"tcp from server port 80 to client port 40000 flags SYN,ACK", "drop", "odd", "rule"},
		{"icmp from server to client type host-unreachable", "pass", "gone", ""},
		{"icmp from server to client type destination-unreachable/host-unreachable", "pass", "gone", ""},
		{"icmp from server to fd00:10:1::10 type host-unreachable", "pass", "gone", ""},
		{"icmp from server to client type 3/13", "reject", "filtered", "reject"},
		{"icmp from server to fd00:10:1::10 type 1/1", "reject", "filtered", "reject"},
		{"icmp from server to client type port-unreachable", "drop", "", "state-mismatch"},
		{"icmp from client to server type timestamp", "pass", "stamp", ""},
		{"icmp from client to server type echo-reply", "drop", "", "state-mismatch"},
		{"icmp from client to server", "drop", "default", "default"},
		{"vrrp from client to server", "pass", "hello", ""},
		{"112 from client to server", "pass", "hello", ""},
		{"ospf from client to server", "drop", "default", "default"},
	}
	for _, p := range []firewall.Placement{firewall.Fast, firewall.Slow, firewall.Tunnel} {
		r := bed.rig(t)
		r.policy(wordsPolicy)
		r.place(p)
		for _, c := range cases {
			res, err := r.trace(c.what)
			if err != nil {
				t.Fatal(err)
			}
			if res.Verdict != c.verdict || res.Rule != c.rule || res.Reason != c.reason {
				t.Errorf("%s, %s: verdict %q, rule %q, reason %q; want %+v\n%+v", p, c.what, res.Verdict, res.Rule, res.Reason, c, res.Steps)
			}
		}
	}
}

// testTraceLegs traces what a guest with two legs sends: as its kernel would, or from the leg that is named.
func testTraceLegs(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.addGuest(portOther+10, "router/0", 1, "10.10.1.20", "fd00:10:1::20")
	r.addGuest(portOther+11, "router/1", 2, "10.10.2.20", "fd00:10:2::20")
	for _, c := range []struct{ what, from string }{
		{"icmp from router to client", "10.10.1.20"},
		{"icmp from router to server", "10.10.2.20"},
		{"icmp from router to 192.0.2.1", "10.10.1.20"},
		{"icmp from router/0 to server", "10.10.1.20"},
		{"icmp from router/1 to client", "10.10.2.20"},
		{"icmp from router/eth1 to client", "10.10.2.20"},
		{"icmp from client/eth0 to router/eth1", "10.10.1.10"},
		{"icmp from router/1 to fd00:10:1::10", "fd00:10:2::20"},
	} {
		res, err := r.trace(c.what)
		if err != nil || len(res.Steps) == 0 || !strings.Contains(res.Steps[0].Detail, "from "+c.from) {
			t.Errorf("%s: %v, %+v; want it from %s", c.what, err, res.Steps, c.from)
		}
	}
	for what, says := range map[string]string{
		"icmp from router/2 to client": "router has router/0, router/1", "icmp from client/eth1 to server": "client has client", "icmp from nobody/0 to server": `no guest "nobody/0" with an address: client`,
		"icmp from clint to server": `no guest "clint" with an address; did you mean client?`,
	} {
		if _, err := r.trace(what); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want that %s", what, err, says)
		}
	}
}

// testTraceNowhere: the rule that let a packet pass is not named as why it went nowhere.
func testTraceNowhere(t *testing.T, bed Bed) {
	for _, to := range []firewall.Placement{firewall.Off, firewall.Fast, firewall.Slow} {
		r := bed.rig(t)
		r.policy("default: allow\n")
		r.place(to)
		for _, dst := range []string{"10.10.2.77", "fd00:10:2::77", "10.10.2.255", "192.0.2.1"} {
			got, err := r.trace("udp from client to " + dst + " port 9")
			if err != nil || got.Verdict != "drop" || got.Rule != "" {
				t.Errorf("%s: %s: %v, %s by rule %q, %s; want a drop by no rule", to, dst, err, got.Verdict, got.Rule, got.Reason)
			}
		}
	}
}
