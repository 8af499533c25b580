package enginetest

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

const helpedPolicy = `
services: {ftp: {tcp: 21}}
default: drop
tcp-windows: liberal
helpers: ftp
rules:
  - {name: ftp, from: client, to: server, service: ftp, action: allow}
`

// ftpData is the data connection of active FTP: no rule allows it.
var ftpData = packet{proto: frame.ProtoTCP, sport: 20, dport: 4000}

// expects has the appliance know that the data connection comes, as a helper does that has read of it; and the server
// begins it.
func (r *rig) expects() {
	r.t.Helper()
	at := func(g *guest, port uint16) netip.AddrPort { return netip.AddrPortFrom(g.addr(false).IP(), port) }
	data := fakeFlow{frame.ProtoTCP, at(r.server, ftpData.sport), at(r.client, ftpData.dport)}
	r.fw.mu.Lock()
	r.fw.flows[data], r.fw.related[data] = true, true
	r.fw.mu.Unlock()
	first := ftpData
	first.flags, first.seq = frame.TCPSyn, 1
	r.server.send(r.server.to(r.client, false, first).build())
	r.client.next("SYN from port 20", isFTPData)
}

func isFTPData(k *frame.Key) bool { return k.Proto == frame.ProtoTCP && k.SrcPort == ftpData.sport }

// dataPasses says whether a later segment of the data connection reaches the client.
func (r *rig) dataPasses() bool {
	r.t.Helper()
	later := ftpData
	later.flags, later.seq, later.ack = frame.TCPAck, 2, 1
	before := r.settled().Ports[portClient].OutFrames
	r.server.send(r.server.to(r.client, false, later).build())
	return r.settled().Ports[portClient].OutFrames > before
}

// testRelatedFlows: what only a helper of the appliance let in lives on while its conntrack decides, and is no leak;
// where the rules decide alone, it is cut, and the receipt says so.
func testRelatedFlows(t *testing.T, bed Bed) {
	for _, c := range []struct {
		to    firewall.Placement
		lives bool
		cut   int
	}{
		{firewall.Slow, true, 0}, {firewall.Tunnel, true, 0}, {firewall.Off, true, 0},
		{firewall.Fast, false, 1}, {firewall.Push, false, 1}, {firewall.Inspect, false, 1},
	} {
		for _, how := range []vswitch.Handover{vswitch.Carry, vswitch.Keep} {
			t.Run(c.to.String()+" "+string(how), func(t *testing.T) {
				t.Parallel()
				r := bed.rig(t)
				r.policy(helpedPolicy)
				r.place(firewall.Slow)
				r.expects()
				rec, err := r.sw.Place(context.Background(), c.to, vswitch.PlaceOptions{Handover: how})
				if err != nil {
					t.Fatal(err)
				}
				if rec.FlowsCut != c.cut || rec.Leaked != 0 {
					t.Errorf("%d cut, %d leaked; want %d and none", rec.FlowsCut, rec.Leaked, c.cut)
				}
				if got := r.dataPasses(); got != c.lives {
					t.Errorf("the data connection lives: %v", got)
				}
			})
		}
	}
}

// testRelatedFlowsAndPolicy: they end with the policy that let their helper read, not with every other.
func testRelatedFlowsAndPolicy(t *testing.T, bed Bed) {
	for _, c := range []struct {
		what, from, to string
		cut            int
	}{
		{"another rule", "rules:\n", "rules:\n  - {name: web, service: web, action: allow}\n", 0},
		{"no helper", "helpers: ftp\n", "", 1},
		{"no connection to read", "service: ftp", "service: web", 1},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			r := bed.rig(t)
			r.policy(helpedPolicy)
			r.place(firewall.Slow)
			r.expects()
			text := strings.Replace(strings.Replace(helpedPolicy, c.from, c.to, 1), "{ftp:", "{web: {tcp: 80}, ftp:", 1)
			p, err := firewall.Load("p.yaml", []byte(text), r.inv)
			if err != nil {
				t.Fatal(err)
			}
			r.fw.next(p)
			got, err := r.sw.SetPolicy(context.Background(), p)
			if err != nil || got.FlowsCut != c.cut {
				t.Errorf("%d flows cut, %v; want %d", got.FlowsCut, err, c.cut)
			}
			if r.dataPasses() != (c.cut == 0) {
				t.Errorf("the data connection lives: %v", c.cut > 0)
			}
		})
	}
}

// testRelatedFlowsAreForgotten: what an earlier time in slow has left is not there when slow comes again.
func testRelatedFlowsAreForgotten(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(helpedPolicy)
	r.place(firewall.Slow)
	r.expects()
	r.place(firewall.Fast)
	r.place(firewall.Slow)
	if r.dataPasses() {
		t.Error("the data connection lives again")
	}
}

// testTraceHelpers: a trace says who reads, and what a packet that the rules deny may be in slow.
func testTraceHelpers(t *testing.T, bed Bed) {
	const announced = "tcp from server from-port 20 to client port 4000"
	for _, c := range []struct {
		to         firewall.Placement
		what, says string
		verdict    string
	}{
		{to: firewall.Slow, what: "tcp from client to server port 21", verdict: "pass", says: "ftp reads this connection"},
		{to: firewall.Slow, what: announced, verdict: "drop",
			says: "if it was announced in a connection that ftp reads, it passes all the same"},
		{to: firewall.Fast, what: "tcp from client to server port 21", verdict: "pass"},
		{to: firewall.Fast, what: announced, verdict: "drop", says: "in fast nobody reads what ftp announces"},
		{to: firewall.Tunnel, what: "tcp from client to server port 21", verdict: "pass"},
		{to: firewall.Tunnel, what: announced, verdict: "drop", says: "in tunnel nobody reads what ftp announces"},
		{to: firewall.Fast, what: "udp from server to client port 4000", verdict: "drop"},
		{to: firewall.Off, what: "tcp from server from-port 20 to client port 4000", verdict: "pass"},
	} {
		r := bed.rig(t)
		r.policy(helpedPolicy)
		r.place(c.to)
		res, err := r.trace(c.what)
		if err != nil {
			t.Fatal(err)
		}
		said := ""
		for _, s := range res.Steps {
			if s.What == "helper" {
				said += s.Detail
			}
		}
		if res.Verdict != c.verdict || !strings.HasPrefix(said, c.says) || c.says == "" && said != "" {
			t.Errorf("%s, %s: %s, %q; want %s, %q", c.to, c.what, res.Verdict, said, c.verdict, c.says)
		}
	}
}
