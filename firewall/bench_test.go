package firewall

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/firewall/classifier"
	"sluice/vnic/frame"
)

// ruleSizes are the numbers of rules that are measured; docs/bench.md holds the table.
var ruleSizes = []int{10, 1000, 10000, 100000}

// randomRules are rules as a large policy has them: hosts and subnets of many lengths, most of them to one service,
// some with ranges.
func randomRules(n int, r *rand.Rand) []Rule {
	rules := make([]Rule, n)
	for i := range rules {
		proto := []uint8{frame.ProtoTCP, frame.ProtoUDP}[r.IntN(2)]
		lo := uint16(r.IntN(60000) + 1)
		rules[i] = Rule{
			Name: fmt.Sprint("r", i), Action: RuleAllow, Direction: "in-out",
			match: classifier.Match{
				From: randomSet(r), To: randomSet(r), Dirs: bothDirs,
				Services: classifier.ServiceSet{classifier.PortRange(proto, lo, lo+uint16(r.IntN(2)*r.IntN(100)))},
			},
		}
	}
	return rules
}

func randomSet(r *rand.Rand) classifier.AddrSet {
	if r.IntN(20) == 0 {
		return classifier.AnyAddr
	}
	if r.IntN(4) == 0 {
		a := [16]byte{0xfd, 7: byte(r.IntN(200)), 14: byte(r.IntN(256)), 15: byte(r.IntN(256))}
		return classifier.PrefixSet(netip.PrefixFrom(netip.AddrFrom16(a), []int{64, 64, 120, 128, 128}[r.IntN(5)]))
	}
	a := [4]byte{10, byte(r.IntN(200)), byte(r.IntN(256)), byte(r.IntN(256))}
	return classifier.PrefixSet(netip.PrefixFrom(netip.AddrFrom4(a), []int{16, 20, 24, 24, 28, 32, 32, 32, 32, 32}[r.IntN(10)]))
}

// reportCPU makes a benchmark also say what processor time it took: on a busy machine that is the figure to trust. What
// skip runs is not counted.
func reportCPU(b *testing.B) (skip func(func())) {
	runtime.LockOSThread()
	start := cpuTime(b)
	b.Cleanup(func() {
		b.ReportMetric(float64(cpuTime(b)-start)/float64(b.N), "cpu-ns/op")
		runtime.UnlockOSThread()
	})
	return func(f func()) {
		before := cpuTime(b)
		f()
		start += cpuTime(b) - before
	}
}

// cpuTime is the thread's processor time in ns.
func cpuTime(b *testing.B) int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return t.Nano()
}

func policyOf(rules []Rule) *Policy {
	p := &Policy{Default: RuleDrop, Rules: rules, inv: lab}
	p.finish()
	return p
}

// keysFor draws packets; three of four are within some rule.
func keysFor(rules []Rule, n int, r *rand.Rand) []frame.Key {
	keys := make([]frame.Key, n)
	for i := range keys {
		k := &keys[i]
		rule := &rules[r.IntN(len(rules))]
		from, to := rule.match.From[0], rule.match.To[0]
		if rule.match.From.IsAny() {
			from = classifier.AllIPv4
		}
		if rule.match.To.IsAny() {
			to = classifier.AllIPv4
		}
		k.Src, k.Dst = from.Lo, to.Lo
		for j := 12; j < 16; j++ {
			k.Src[j] |= byte(r.Uint32()) & (from.Hi[j] ^ from.Lo[j])
			k.Dst[j] |= byte(r.Uint32()) & (to.Hi[j] ^ to.Lo[j])
		}
		k.Proto, k.DstPort = uint8(rule.match.Services[0].Lo>>16), uint16(rule.match.Services[0].Lo)
		if r.IntN(4) == 0 {
			k.DstPort = uint16(r.Uint32())
		}
		k.SrcPort, k.TCPFlags, k.L3Len = uint16(r.Uint32()), frame.TCPSyn, 60
		k.Flags = frame.KeyIPv4 | frame.KeyL4
	}
	return keys
}

// The first packet of a flow: the rules are asked, and the flow is put into the table, of which the last few thousand
// flows are warm.
func BenchmarkFirstPacket(b *testing.B)     { benchmarkFirst(b, warmKeys) }
func BenchmarkFirstPacketCold(b *testing.B) { benchmarkFirst(b, coldKeys) }

func benchmarkFirst(b *testing.B, packets int) {
	const flows = 1 << 12
	for _, n := range ruleSizes {
		b.Run(fmt.Sprint("rules=", n), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			rules := randomRules(n, r)
			g, _ := Compile(policyOf(rules), Fast)
			keys := keysFor(rules, packets, r)
			cx := &Context{Flows: mustFlows(FlowsConfig{PerPort: 1 << 20})}
			b.ReportAllocs()
			skip := reportCPU(b)
			i := 0
			for b.Loop() {
				if i%flows == 0 {
					skip(func() { cx.Flows.Clear() })
				}
				k := &keys[i%packets]
				k.SrcPort++
				g.Check(cx, Point{1, FromGuest}, k)
				i++
			}
		})
	}
}

// warmKeys is how many different packets take turns: few enough that what they meet stays in the processor's cache.
// Benchmarks called Cold have more than fit.
const (
	warmKeys = 1 << 8
	coldKeys = 1 << 14
)

func BenchmarkRules(b *testing.B)     { benchmarkRules(b, warmKeys) }
func BenchmarkRulesCold(b *testing.B) { benchmarkRules(b, coldKeys) }

func benchmarkRules(b *testing.B, packets int) {
	for _, n := range ruleSizes {
		b.Run(fmt.Sprint("rules=", n), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			rules := randomRules(n, r)
			p := policyOf(rules)
			keys := keysFor(rules, packets, r)
			b.ReportAllocs()
			reportCPU(b)
			i := 0
			for b.Loop() {
				k := &keys[i%packets]
				p.decide(Point{1, FromGuest}, classifier.PacketOf(k))
				i++
			}
		})
	}
}

func BenchmarkKnownFlow(b *testing.B) {
	for _, n := range []int{1, 1000, 100000} {
		b.Run(fmt.Sprint("flows=", n), func(b *testing.B) {
			g, _ := Compile(policyOf([]Rule{{Name: "a", Action: RuleAllow, match: anything}}), Fast)
			r := rand.New(rand.NewPCG(1, 2))
			cx := &Context{Flows: mustFlows(FlowsConfig{PerPort: 1 << 20})}
			keys := keysFor(randomRules(1000, r), n, r)
			for i := range keys {
				k := &keys[i]
				k.Proto = frame.ProtoUDP
				g.Check(cx, Point{1, FromGuest}, k)
				reply := frame.Key{Src: k.Dst, Dst: k.Src, SrcPort: k.DstPort, DstPort: k.SrcPort, Proto: k.Proto, Flags: k.Flags}
				g.Check(cx, Point{2, FromGuest}, &reply)
			}
			b.ReportAllocs()
			reportCPU(b)
			i := 0
			for b.Loop() {
				g.Check(cx, Point{1, FromGuest}, &keys[i])
				if i++; i == n {
					i = 0
				}
			}
		})
	}
}

// What the program is made of, once the policy has been read.
func BenchmarkCompile(b *testing.B) {
	for _, n := range ruleSizes {
		b.Run(fmt.Sprint("rules=", n), func(b *testing.B) {
			rules := randomRules(n, rand.New(rand.NewPCG(1, 2)))
			reportCPU(b)
			for b.Loop() {
				_, _ = Compile(policyOf(rules), Fast)
			}
		})
	}
}

// From the file's bytes to the program.
func BenchmarkLoad(b *testing.B) {
	for _, n := range ruleSizes {
		b.Run(fmt.Sprint("rules=", n), func(b *testing.B) {
			src := []byte(manyRules(n))
			reportCPU(b)
			for b.Loop() {
				p, err := Load("policy.yaml", src, lab)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = Compile(p, Fast)
			}
		})
	}
}

func BenchmarkLint(b *testing.B) {
	for _, n := range ruleSizes {
		b.Run(fmt.Sprint("rules=", n), func(b *testing.B) {
			p := policyOf(randomRules(n, rand.New(rand.NewPCG(1, 2))))
			reportCPU(b)
			for b.Loop() {
				if _, complete := p.Lint(); !complete {
					b.Fatal("not complete")
				}
			}
		})
	}
}

// What a flow costs in memory, of a full table: the process's growth, by the kernel's account.
func BenchmarkFlowMemory(b *testing.B) {
	const flows = 1_000_000
	b.Run(fmt.Sprint("flows=", flows), func(b *testing.B) {
		g, _ := Compile(policyOf([]Rule{{Name: "a", Action: RuleAllow, match: anything}}), Fast)
		before := resident(b)
		cx := &Context{Flows: mustFlows(FlowsConfig{PerPort: 1 << 20})}
		k := frame.Key{
			Proto: frame.ProtoUDP, Flags: frame.KeyIPv4 | frame.KeyL4, L3Len: 60, Src: classifier.AllIPv4.Lo, Dst: classifier.AllIPv4.Lo,
		}
		for i := range flows {
			k.Src[14], k.Src[15], k.SrcPort = byte(i>>8), byte(i), uint16(i>>4)
			g.Check(cx, Point{1, FromGuest}, &k)
		}
		if n := cx.Flows.Len(); n != flows {
			b.Fatalf("%d flows", n)
		}
		grown := resident(b) - before
		measured = append(measured, cx.Flows) // its memory, given back later, would be missed in the next run's figure
		for b.Loop() {
			runtime.KeepAlive(cx) // it is measured once
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(grown)/flows, "B/flow")
	})
}

// measured keeps the tables of BenchmarkFlowMemory.
var measured []*Flows

// resident is the process's memory in bytes.
func resident(b *testing.B) int64 {
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// A frame of a known flow, from a guest whose vNIC is guarded.
func BenchmarkGuarded(b *testing.B) {
	inv := &Inventory{Segments: lab.Segments, Guests: append([]InvGuest{}, lab.Guests...)}
	v := inv.Guests[0].VNICs[0]
	v.Guarded = true
	inv.Guests[0].VNICs = []InvVNIC{v}
	p := &Policy{Default: RuleAllow, inv: inv}
	p.finish()
	g, _ := Compile(p, Fast)
	cx := &Context{Flows: mustFlows(FlowsConfig{})}
	k := frame.Key{
		Src: frame.AddrFrom(v.Addrs[0]), Dst: frame.AddrFrom(lab.Guests[1].VNICs[0].Addrs[0]), SrcMAC: v.MAC, SrcPort: 1, DstPort: 2,
		Proto: frame.ProtoUDP, Flags: frame.KeyIPv4 | frame.KeyL4, L3Len: 60,
	}
	reply := frame.Key{Src: k.Dst, Dst: k.Src, SrcPort: 2, DstPort: 1, Proto: k.Proto, Flags: k.Flags}
	g.Check(cx, Point{client, FromGuest}, &k)
	g.Check(cx, Point{server, FromGuest}, &reply)
	b.ReportAllocs()
	reportCPU(b)
	for b.Loop() {
		if g.Check(cx, Point{client, FromGuest}, &k).Action != Pass {
			b.Fatal("dropped")
		}
	}
}
