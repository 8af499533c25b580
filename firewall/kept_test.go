package firewall

import (
	"math/rand/v2"
	"testing"

	"sluice/vnic/frame"
)

// TestKept keeps flows: those that are alive and allowed, in both directions, until they end.
func TestKept(t *testing.T) {
	w := newWorld(t, mustCompile(t, mustLoad(t, reference), Off))
	for _, s := range []string{
		"client > server tcp 4000 80 S", "server > client tcp 80 4000 SA", "client > server tcp 4000 80 A",
		"client6 > server6 udp 9 5201", "client > server echo 7",
		"client > server tcp 4001 23 S",                                   // denied
		"client > server tcp 4002 80 S", "server > client tcp 80 4002 RA", // over
	} {
		w.send(s)
	}
	flows := w.cx.Flows
	mark := flows.Mark()
	if n := flows.Keep(w.cx.Now, w.g, 0); n != 3 || flows.KeptLen() != 3 {
		t.Fatalf("kept %d, %d", n, flows.KeptLen())
	}
	w.send("client > server tcp 4003 80 S")
	if n := flows.Keep(w.cx.Now, w.g, mark); n != 1 || flows.KeptLen() != 4 {
		t.Fatalf("kept %d more, %d in all", n, flows.KeptLen())
	}
	for s, want := range map[string]bool{
		"client > server tcp 4000 80 A": true, "server > client tcp 80 4000 A": true, "server6 > client6 udp 5201 9": true,
		"server > client echo-reply 7": true, "client > server echo 7": true, "client > server tcp 4003 80 S": true,
		"client > server tcp 4001 23 S": false, "client > server tcp 4002 80 S": false, "client > server tcp 4004 80 S": false,
		"server > client echo 7": false, "client6 > server6 udp 5201 9": false,
	} {
		f, k := parsePacket(s).frame(t)
		if got := flows.Kept(k, f.Eth(), false); got != want {
			t.Errorf("%s: kept %v", s, got)
		}
	}
	f, reset := parsePacket("server > client tcp 80 4003 RA").frame(t)
	w.send("server > client tcp 80 4003 RA")
	if flows.Kept(reset, f.Eth(), false) || !flows.Kept(reset, f.Eth(), true) {
		t.Error("after its end a flow is kept for what is late, and for nothing else")
	}
	w.send("client > server tcp 4003 80 S") // begins anew
	if flows.Kept(reset, f.Eth(), true) || flows.KeptLen() != 3 {
		t.Errorf("a flow that has begun anew is kept; %d in all", flows.KeptLen())
	}
	if !flows.KeepsAny(w.cx.Now) || flows.KeepsAny(w.cx.Now+1e15) {
		t.Error("flows are kept until their time is over")
	}
	if flows.Release(); flows.KeptLen() != 0 || flows.KeepsAny(w.cx.Now) {
		t.Error("not released")
	}
}

// BenchmarkKept is what a frame costs more while flows are kept.
func BenchmarkKept(b *testing.B) {
	g, _ := Compile(policyOf([]Rule{{Name: "a", Action: RuleAllow, match: anything}}), Fast)
	r := rand.New(rand.NewPCG(1, 2))
	cx := &Context{Flows: mustFlows(FlowsConfig{PerPort: 1 << 20})}
	keys := keysFor(randomRules(1000, r), 1000, r)
	for i := range keys {
		keys[i].Proto = frame.ProtoUDP
		g.Check(cx, Point{1, FromGuest}, &keys[i])
	}
	if n := cx.Flows.Keep(cx.Now, g, 0); n == 0 {
		b.Fatal("nothing is kept")
	}
	b.ReportAllocs()
	reportCPU(b)
	i := 0
	for b.Loop() {
		if !cx.Flows.Kept(&keys[i], nil, false) {
			b.Fatal("not kept")
		}
		if i++; i == len(keys) {
			i = 0
		}
	}
}
