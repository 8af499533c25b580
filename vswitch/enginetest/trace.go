package enginetest

import (
	"strings"
	"testing"

	"sluice/firewall"
	"sluice/vswitch"
)

// trace asks for the walk of a packet, in the words of a user.
func (r *rig) trace(words string) (vswitch.TraceResult, error) {
	r.t.Helper()
	req, err := vswitch.ParseTrace(words)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.sw.Trace(req)
}

// traced is what a trace says in a placement, under the reference policy.
type traced struct {
	to                    firewall.Placement
	what                  string
	verdict, rule, reason string
	step                  string // part of the detail of some step
}

// testTrace says what traces say, and that they change nothing.
func testTrace(t *testing.T, bed Bed) {
	rigs := map[firewall.Placement]*rig{} // a trace changes nothing: one is enough for each placement
	for _, c := range []traced{
		{firewall.Off, "tcp from client to server port 23", "pass", "", "", "delivered to server"},
		{firewall.Fast, "tcp from client to server port 80", "pass", "web", "", "10.10.2.10 is on dmz"},
		{firewall.Fast, "tcp from client to fd00:10:2::10 port 80", "pass", "web", "", "fd00:10:2::10 is on dmz"},
		{firewall.Fast, "icmp from client to server", "pass", "ping", "", "the gateway's neighbour 10.10.2.10 has"},
		{firewall.Fast, "tcp from client to server port 23", "drop", "default", "default", "10.10.1.10"},
		{firewall.Fast, "tcp from 10.10.1.10 from port 99 to server port 22", "reject", "shy", "reject", "port 99"},
		{firewall.Fast, "tcp from client port 98 to server port 22", "reject", "shy", "reject", "10.10.1.10 port 98 to 10.10.2.10 port 22"},
		{firewall.Off, "icmp from client to 10.10.1.1", "answered", "", "own-gateway", "the gateway answers"},
		{firewall.Off, "icmp from client to fd00:10:2::1", "answered", "", "own-gateway", "the gateway answers"},
		{firewall.Off, "udp from client to 10.10.1.1 port 9", "answered", "", "own-gateway", "the gateway answers"},
		{firewall.Off, "tcp from client to 10.10.1.1 port 9", "drop", "", "own-gateway", "does not answer it"},
		{firewall.Slow, "icmp from client to 10.10.1.1", "drop", "default", "default", "nftables"},
		{firewall.Fast, "udp from client to other port 9", "drop", "default", "default", "10.10.1.11"},
		{firewall.Slow, "tcp from client to server port 80", "pass", "web", "", "delivered to server"},
		{firewall.Slow, "tcp from client to server port 23", "drop", "default", "default", "nftables"},
		{firewall.Slow, "tcp from client to server port 22", "reject", "shy", "reject", "nftables"},
		{firewall.Slow, "udp from client to other port 9", "pass", "", "", "never sees it"},
		{firewall.Tunnel, "tcp from client to server port 80", "pass", "web", "", "nftables"},
		{firewall.Tunnel, "tcp from client to server port 80", "pass", "web", "", "in session 1"},
		{firewall.Tunnel, "tcp from client to server port 80", "pass", "web", "", "delivered to server"},
		{firewall.Tunnel, "tcp from client to server port 23", "drop", "default", "default", "nftables"},
		{firewall.Tunnel, "tcp from client to server port 22", "reject", "shy", "reject", "nftables"},
		{firewall.Tunnel, "udp from client to other port 9", "drop", "default", "default", "nftables"},
		{firewall.Inspect, "tcp from client to server port 80", "pass", "web", "", "inspector"},
		{firewall.Inspect, "tcp from client to server port 80", "pass", "web", "", "delivered to server"},
		{firewall.Inspect, "tcp from client to server port 23", "drop", "default", "default", "10.10.1.10"},
		{firewall.Inspect, "tcp from client to server port 22", "reject", "shy", "reject", "reject"},
		{firewall.Off, "udp from client to 192.0.2.1 port 9", "drop", "", "no-route", "no-route"},
	} {
		r := rigs[c.to]
		if r == nil {
			r = bed.rig(t)
			r.policy(referencePolicy)
			r.place(c.to)
			rigs[c.to] = r
		}
		before := r.sw.Stats()
		res, err := r.trace(c.what)
		if err != nil {
			t.Fatal(err)
		}
		c.compare(t, res)
		if after := r.sw.Stats(); after.Ports[portClient].InFrames != before.Ports[portClient].InFrames || after.Flows != before.Flows {
			t.Errorf("%s, %s: a trace has changed the switch", c.to, c.what)
		}
	}
}

func (c traced) compare(t *testing.T, res vswitch.TraceResult) {
	t.Helper()
	if res.Verdict != c.verdict || res.Rule != c.rule || res.Reason != c.reason {
		t.Errorf("%s, %s: verdict %q, rule %q, reason %q", c.to, c.what, res.Verdict, res.Rule, res.Reason)
	}
	crosses := c.to == firewall.Tunnel || c.to == firewall.Slow && !strings.Contains(c.what, "other") ||
		c.to == firewall.Inspect && c.verdict == "pass"
	if res.Crosses != crosses {
		t.Errorf("%s, %s: crosses the appliance is %v", c.to, c.what, res.Crosses)
	}
	text := ""
	for _, s := range res.Steps {
		text += s.Point + " " + s.What + ": " + s.Detail + "\n"
	}
	if !strings.Contains(text, c.step) {
		t.Errorf("%s, %s: no step says %q:\n%s", c.to, c.what, c.step, text)
	}
}

// testTraceFlood names everybody whom a frame reaches: all of the segment until the switch has heard of the MAC.
func testTraceFlood(t *testing.T, bed Bed) {
	r := bed.rig(t)
	third := r.addGuest(portOther+10, "third", 1, "10.10.1.12", "fd00:10:1::12")
	r.place(firewall.Off)
	for _, want := range []string{"other third", "third"} {
		res, err := r.sw.Trace(vswitch.TraceRequest{Proto: "icmp", From: "client", To: "third"})
		if got := strings.Join(res.Reaches, " "); err != nil || got != want {
			t.Errorf("it reaches %q, want %q: %v", got, want, err)
		}
		third.send(plain(r.client.port.MAC, third.port.MAC, 0))
		r.balanced()
	}
}

// testParseTraceErrors says what is refused.
func testParseTraceErrors(t *testing.T, bed Bed) {
	for _, s := range []string{
		"", "tcp", "tcp from client", "tcp from client to server", "tcp from client to server port", "icmp from a to b port 3",
		"tcp from a to b port 0", "tcp from a to b port 65536", "sctp from a to b port 3", "tcp by a to b port 3", "from a to b",
		"tcp from a port 3 to b", "tcp to b from a port 3", "tcp from a to b port 3 port 4", "tcp from a to b from c port 3", "tcp port 3 from a to b port 4",
		"udp from a to b port 3 flags syn", "tcp from a to b port 3 flags sin", "tcp from a to b port 3 type echo", "icmp from a to b type nonsense",
		"icmp from a to b flags syn", "tcp from a to b port 3 flags syn flags ack", "nonsense from a to b", "256 from a to b", "6 from a to b",
		"ipv6-icmp from a to b", "icmpv6 from a to b", "43 from a to b", "gre from a to b port 3",
	} {
		if r, err := vswitch.ParseTrace(s); err == nil {
			t.Errorf("%q is %+v", s, r)
		}
	}
	r := bed.rig(t)
	for _, s := range []string{"icmp from nobody to server", "icmp from 192.0.2.1 to server", "icmp from client to nobody"} {
		if res, err := r.trace(s); err == nil {
			t.Errorf("%q is %+v", s, res)
		}
	}
}
