package firewall

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice/vnic/frame"
)

// mustFlows makes a table for a test.
func mustFlows(c FlowsConfig) *Flows {
	f, err := NewFlows(c)
	if err != nil {
		panic(err)
	}
	return f
}

// TestNoRoomForFlows says that a table for which there are no addresses is an error, and that nothing is left of it.
func TestNoRoomForFlows(t *testing.T) {
	if f, err := NewFlows(FlowsConfig{Max: 1 << 45}); err == nil || f != nil {
		t.Errorf("made: %v", err)
	}
}

// Flows go from one table to another and back without a change, once, and only those that the policy allows.
func TestExportImport(t *testing.T) {
	p := mustLoad(t, reference)
	w := newWorld(t, mustCompile(t, p, Off))
	for _, s := range []string{
		"client > server tcp 4000 80 S", "server > client tcp 80 4000 SA", "client > server tcp 4000 80 A",
		"client6 > server6 udp 9 5201", "server6 > client6 udp 5201 9", "client > server echo 7",
		"client > server tcp 4001 23 S",                                   // denied
		"client > server tcp 4002 80 S", "server > client tcp 80 4002 RA", // over
	} {
		w.send(s)
	}
	recs := w.cx.Flows.Export(w.cx.Now, w.g, 0)
	if len(recs) != 3 {
		t.Fatalf("exported %+v", recs)
	}
	to := newWorld(t, mustCompile(t, p, Fast))
	if n, _ := to.cx.Flows.Import(to.cx.Now, recs); n != 3 {
		t.Errorf("imported %d", n)
	}
	if n, _ := to.cx.Flows.Import(to.cx.Now, recs); n != 0 {
		t.Errorf("imported %d again", n)
	}
	for _, s := range []string{"server > client tcp 80 4000 A", "server6 > client6 udp 5201 9", "server > client echo-reply 7"} {
		if got := to.send(s); got != "pass" {
			t.Errorf("%s: %s", s, got)
		}
	}
	for _, r := range to.cx.Flows.Export(to.cx.Now, to.g, 0) {
		i := slices.IndexFunc(recs, func(q FlowRecord) bool { return q.Src == r.Src && q.Dst == r.Dst && q.Proto == r.Proto })
		if i < 0 {
			t.Errorf("came out of nowhere: %+v", r)
		}
	}
}

// TestKnows says that the table knows a flow in both directions until it expires, and none that a segment in the middle
// of a connection would have begun, though a placement in which the engine enforces nothing lets it pass.
func TestKnows(t *testing.T) {
	w := newWorld(t, mustCompile(t, mustLoad(t, reference), Slow))
	w.send("client > server tcp 4000 80 S")
	if got := w.send("client > server tcp 4001 80 A"); got != "pass" {
		t.Fatal(got)
	}
	client, server := frame.AddrFrom(guestAddr("client")), frame.AddrFrom(guestAddr("server"))
	knows := func(port uint16) [2]bool {
		forth := Tuple{Proto: frame.ProtoTCP, Src: addrPort(client, port), Dst: addrPort(server, 80)}
		back := Tuple{Proto: frame.ProtoTCP, Src: forth.Dst, Dst: forth.Src}
		return [2]bool{w.cx.Flows.Knows(w.cx.Now, forth), w.cx.Flows.Knows(w.cx.Now, back)}
	}
	if a, b := knows(4000), knows(4001); a != [2]bool{true, true} || b != [2]bool{} {
		t.Errorf("the flow that began: %v; the other: %v", a, b)
	}
	w.cx.Now += int64(time.Hour)
	if a := knows(4000); a != [2]bool{} {
		t.Errorf("expired: %v", a)
	}
}

func TestExportSinceMark(t *testing.T) {
	w := newWorld(t, mustCompile(t, mustLoad(t, reference), Fast))
	w.send("client > server tcp 4000 80 S")
	w.send("client > server udp 4000 5201")
	mark := w.cx.Flows.Mark()
	if recs := w.cx.Flows.Export(w.cx.Now, w.g, mark); len(recs) != 0 {
		t.Errorf("nothing changed, but %+v", recs)
	}
	w.send("server > client tcp 80 4000 SA")
	w.send("client > server tcp 4002 80 S")
	if recs := w.cx.Flows.Export(w.cx.Now, w.g, mark); len(recs) != 2 {
		t.Errorf("since the mark: %+v", recs)
	}
}

func TestImportKeepsTimeLeft(t *testing.T) {
	w := newWorld(t, mustCompile(t, mustLoad(t, reference), Fast))
	r := FlowRecord{Proto: frame.ProtoUDP, Src: addrPort(frame.AddrFrom(guestAddr("client")), 1), Dst: addrPort(frame.AddrFrom(guestAddr("server")), 5201), Timeout: 10, Replied: true}
	w.cx.Flows.Import(w.cx.Now, []FlowRecord{r})
	w.cx.Now += int64(11 * time.Second)
	if got := w.send("server > client udp 5201 1"); got != "default from-guest" {
		t.Error(got)
	}
}

// A port that floods the table is refused at its share, and others still begin flows.
func TestFloodDoesNotStarveOthers(t *testing.T) {
	text := "default: allow\n"
	w := newWorld(t, mustCompile(t, mustLoad(t, text), Fast))
	w.cx.Flows = mustFlows(FlowsConfig{Max: 4096, PerPort: 1000})
	_, k := parsePacket("client > server tcp 1 80 S").frame(t)
	for i := range 20000 {
		k.SrcPort, k.DstPort = uint16(i), uint16(i>>16)+80
		w.g.Check(&w.cx, Point{client, FromGuest}, k)
	}
	if n := w.cx.Flows.PortLen(client); n > 1000 || n < 900 {
		t.Errorf("the flooding port holds %d flows", n)
	}
	checkTable(t, w.cx.Flows)
	for i := range 500 {
		_, k := parsePacket("other > server udp 1 80").frame(t)
		k.SrcPort = uint16(i)
		if v := w.g.Check(&w.cx, Point{other, FromGuest}, k); v.Action != Pass {
			t.Fatalf("flow %d of another port: %v", i, v.Reason)
		}
	}
}

// A full table gives what it has to whoever holds less.
func TestFullTableIsShared(t *testing.T) {
	w := newWorld(t, mustCompile(t, mustLoad(t, "default: allow\n"), Fast))
	w.cx.Flows = mustFlows(FlowsConfig{Max: 4096, PerPort: 4096})
	fill := func(port frame.PortID, n int, replied bool) (passed int) {
		_, k := parsePacket("client > server udp 1 80").frame(t)
		k.Src[15] = byte(port)
		for i := range n {
			k.SrcPort = uint16(i)
			if w.g.Check(&w.cx, Point{port, FromGuest}, k).Action != Pass {
				continue
			}
			passed++
			if r := *k; replied {
				r.Src, r.Dst, r.SrcPort, r.DstPort = k.Dst, k.Src, k.DstPort, k.SrcPort
				w.g.Check(&w.cx, Point{server, FromGuest}, &r)
			}
		}
		return passed
	}
	fill(client, 20000, true)
	if n := fill(other, 1000, true); n != 1000 {
		t.Errorf("%d of 1000 flows begun beside a port that holds everything", n)
	}
	if n := w.cx.Flows.Len(); n > 4096 || n < 4000 {
		t.Errorf("%d flows in a table of 4096", n)
	}
	checkTable(t, w.cx.Flows)
	if n := w.cx.Flows.Clear(); n < 4000 || w.cx.Flows.Len() != 0 {
		t.Errorf("cleared %d, %d left", n, w.cx.Flows.Len())
	}
	if n := fill(client, 3000, false); n != 3000 {
		t.Errorf("%d of 3000 flows begun in a table that was cleared", n)
	}
	checkTable(t, w.cx.Flows)
}

// Whatever comes, the table's counts agree with its content, and every flow in it is found.
func TestTableConsistent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := mustFlows(FlowsConfig{Max: 4096, PerPort: 200, Shared: rapid.Bool().Draw(t, "shared")})
		p := &Policy{Default: RuleAllow, inv: lab}
		p.finish()
		g, _ := Compile(p, Fast)
		cx := Context{Now: 1e15, Flows: f}
		for range rapid.IntRange(1, 300).Draw(t, "frames") {
			k := frame.Key{Flags: frame.KeyIPv4 | frame.KeyL4, Proto: rapid.SampledFrom([]uint8{6, 17}).Draw(t, "proto")}
			k.Src[15], k.Dst[15] = rapid.Byte().Draw(t, "src"), rapid.Byte().Draw(t, "dst")
			k.SrcPort = rapid.Uint16Range(0, 3).Draw(t, "port")
			k.TCPFlags = rapid.Byte().Draw(t, "flags")
			cx.Now += rapid.Int64Range(0, 1e10).Draw(t, "time")
			g.Check(&cx, Point{frame.PortID(rapid.IntRange(0, 3).Draw(t, "vnic")), Dir(rapid.IntRange(0, 1).Draw(t, "dir"))}, &k)
			if rapid.IntRange(0, 9).Draw(t, "expire") == 0 {
				f.Expire(cx.Now)
			}
		}
		checkTable(t, f)
	})
}

// checkTable says whether a table's counts agree with its content, and every flow in it is found.
func checkTable(t interface{ Fatalf(string, ...any) }, f *Flows) {
	n, ports := 0, map[frame.PortID]int{}
	f.all(func(s *shard, e *entry) {
		n++
		ports[e.owner]++
		if h := f.seeds.hash(&e.flowID); f.find(f.bucket(s, h), &e.flowID, h) != e || f.shard(h) != s {
			t.Fatalf("a flow that cannot be found")
		}
	})
	for p := range frame.PortID(8) {
		if f.PortLen(p) != ports[p] {
			t.Fatalf("port %d: counted %d, held %d", p, f.PortLen(p), ports[p])
		}
	}
	if n != f.Len() {
		t.Fatalf("counted %d, held %d", f.Len(), n)
	}
}

// Ports' goroutines check at once, while flows are listed, carried, expired and judged again.
func TestConcurrent(t *testing.T) {
	p := mustLoad(t, reference)
	programs := []*Program{mustCompile(t, p, Fast), mustCompile(t, p, Off)}
	flows := mustFlows(FlowsConfig{Max: 4096, PerPort: 2000})
	_, k := parsePacket("client > server udp 1 5201").frame(t)
	var checks, others sync.WaitGroup
	var done atomic.Bool
	for worker := range 4 {
		checks.Go(func() {
			cx, k := Context{Now: 1e15, Flows: flows}, *k
			for i := range 5000 {
				k.SrcPort = uint16(i * (worker%2 + 1))
				cx.Now += 1e6
				programs[i/1000%2].Check(&cx, Point{frame.PortID(worker/2 + 1), Dir(worker % 2)}, &k)
			}
		})
	}
	others.Go(func() {
		for !done.Load() {
			flows.Import(1e15, flows.Export(1e15, programs[0], 0))
			flows.Expire(1e15 + 3e9)
			flows.Revalidate(programs[0])
			flows.Each(1e15, programs[0], func(FlowRecord) bool { return true })
		}
	})
	checks.Wait()
	done.Store(true)
	others.Wait()
	checkTable(t, flows)
}

// The table holds a million flows.
func TestMillionFlows(t *testing.T) {
	const million = 1_000_000
	w := newWorld(t, mustCompile(t, mustLoad(t, "default: allow\n"), Fast))
	w.cx.Flows = mustFlows(FlowsConfig{Max: million, PerPort: million})
	_, k := parsePacket("client > server udp 1 80").frame(t)
	for i := range million {
		k.SrcPort, k.DstPort = uint16(i), uint16(i>>16)
		if v := w.g.Check(&w.cx, Point{client, FromGuest}, k); v.Action != Pass {
			t.Fatalf("flow %d: %v", i, v.Reason)
		}
	}
	if n := w.cx.Flows.Len(); n != million {
		t.Errorf("%d flows", n)
	}
	k.DstPort = 65535 // one more, in place of one that was never answered
	if v := w.g.Check(&w.cx, Point{client, FromGuest}, k); v.Action != Pass || w.cx.Flows.PortLen(client) != million {
		t.Errorf("one more: %+v, the port holds %d", v, w.cx.Flows.PortLen(client))
	}
}

// Ports that follow each other are spread over all shards, whatever the seeds are.
func TestHashSpreadsPorts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	_, k := parsePacket("client > server udp 1 80").frame(t)
	const ports, tries = 1024, 2000
	for range tries {
		var seeds Seeds
		for i := range seeds {
			seeds[i] = r.Uint64()
		}
		var n [shardCount]int
		for i := range ports {
			k.SrcPort = uint16(40000 + i)
			id, _ := identify(k)
			n[shardOf(seeds.hash(&id))]++
		}
		if most := slices.Max(n[:]); most > 4*ports/shardCount {
			t.Fatalf("%d of %d flows in one of %d shards, with seeds %x", most, ports, shardCount, seeds)
		}
	}
}
