package firewall

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sluice/vnic/frame"
)

// shake is a handshake whose client sends bytes from 1001 and whose server sends them from 5001; their windows are
// shifted by 2 and 3 bits.
const shake = "client > server tcp 4000 80 S seq=1000 len=0 win=1000 scale=2 sackok=1; " +
	"server > client tcp 80 4000 SA seq=5000 ack=1001 len=0 win=1000 scale=3 sackok=1; " +
	"client > server tcp 4000 80 A seq=1001 ack=5001 len=0 win=1000"

// What is inside a flow's windows, and what is not. Each session follows on shake.
func TestWindows(t *testing.T) {
	const c, s = "client > server tcp 4000 80 ", "server > client tcp 80 4000 "
	for _, x := range []struct{ name, session, want string }{
		{"data in order", c + "A seq=1001 ack=5001 len=100; " + s + "A seq=5001 ack=1101 len=100", "pass; pass"},
		{"a hole is no matter", c + "A seq=2001 ack=5001 len=100", "pass"},
		{"a retransmission", c + "A seq=1001 ack=5001 len=100; " + c + "A seq=1001 ack=5001 len=100", "pass; pass"},
		{"a super-frame is one long segment", c + "A seq=1001 ack=5001 len=1000; " + s + "A seq=5001 ack=2001 len=0", "pass; pass"},
		{"within the window once it is scaled", c + "A seq=2001 ack=5001 len=10 win=1000; " + s + "A seq=5001 ack=1001 len=0 win=1000; " + c + "A seq=9001 ack=5001 len=10", "pass; pass; pass"},
		{"beyond the scaled window", s + "A seq=5001 ack=1001 len=0 win=1000; " + c + "A seq=17003 ack=5001 len=10", "pass; window from-guest"},
		{"far beyond", c + "A seq=100001 ack=5001 len=10", "window from-guest"},
		{"long before", c + "A seq=1001 ack=5001 len=1000; " + s + "A seq=5001 ack=2001 len=0; " + c + "A seq=4294900000 ack=5001 len=10", "pass; pass; pass"},
		{"an ACK of what was not sent", s + "A seq=5001 ack=2001 len=0", "window from-guest"},
		{"a stale ACK", c + "A seq=1001 ack=4900 len=0", "pass"},
		{"as stale as an ACK may be", c + "A seq=1001 ack=4294906297 len=200; " + s + "A seq=5001 ack=1201 len=0", "pass; pass"},
		{"a very stale ACK passes and changes nothing", c + "A seq=1001 ack=4294906296 len=200; " + s + "A seq=5001 ack=1201 len=0", "pass; window from-guest"},
		{"a SACK of what was not sent", s + "A seq=5001 ack=1001 len=0 sack=2001", "window from-guest"},
		{"a SACK of what was sent", c + "A seq=1501 ack=5001 len=100; " + s + "A seq=5001 ack=1001 len=0 sack=1601", "pass; pass"},
		{"zero window and its probe", s + "A seq=5001 ack=1001 len=0 win=0; " + c + "A seq=1001 ack=5001 len=1", "pass; pass"},
		{"FIN outside", c + "FA seq=100001 ack=5001 len=0; " + c + "A seq=1001 ack=5001 len=10", "window from-guest; pass"},
		{"RST from before", s + "A seq=5001 ack=1001 len=100; " + c + "A seq=1001 ack=5101 len=0; " + s + "R seq=5001 len=0; " + s + "A seq=5101 ack=1001 len=10", "pass; pass; window from-guest; pass"},
		{"RST exactly", s + "R seq=5001 len=0; " + c + "SA seq=1 ack=1 len=0", "pass; state-mismatch from-guest"},
		{"RST within the window ends nothing", s + "R seq=5501 len=0; " + s + "A seq=5001 ack=1001 len=10; " + c + "A seq=1001 ack=5011 len=10", "pass; pass; pass"},
		{"RST within the window leaves the flow", s + "R seq=5501 len=0; " + s + "R seq=900000 len=0", "pass; window from-guest"},
		{"RST right behind one's own data ends the flow", s + "A seq=5001 ack=1001 len=100; " + s + "R seq=5101 len=0; " + s + "R seq=900000 len=0", "pass; pass; pass"},
		{"not so after a false one", s + "A seq=5001 ack=1001 len=100; " + c + "R seq=900000 len=0; " + s + "R seq=5101 len=0; " + s + "R seq=900000 len=0", "pass; window from-guest; pass; window from-guest"},
		{"RST far outside", s + "R seq=900000 len=0", "window from-guest"},
		{"begun again", c + "S seq=9000000 len=0 win=500 scale=1; " + s + "SA seq=7000000 ack=9000001 len=0 win=500 scale=1; " + c + "A seq=9000001 ack=7000001 len=0", "pass; pass; pass"},
		{"begun again with another scale", c + "S seq=9000000 len=0 win=500 scale=4; " + s + "SA seq=7000000 ack=9000001 len=0 win=500 scale=1; " + c + "A seq=9000001 ack=7000001 len=0 win=500; " + s + "A seq=7005000 ack=9000001 len=10", "pass; pass; pass; pass"},
		{"begun again, answered wrongly", c + "S seq=9000000 len=0; " + s + "SA seq=7000000 ack=9000002 len=0; " + c + "A seq=9000001 ack=7000001 len=0", "pass; pass; window from-guest"},
		{"a fragmented segment's length is not known", c + "A seq=1001 ack=5001 len=8 first; " + s + "A seq=5001 ack=9001 len=0", "pass; pass"},
	} {
		for _, liberal := range []bool{false, true} {
			text := reference
			if liberal {
				text += "tcp-windows: liberal\n"
			}
			w := newWorld(t, mustCompile(t, mustLoad(t, text), Fast))
			for _, p := range strings.Split(shake, "; ") {
				if got := w.send(p); got != "pass" {
					t.Fatalf("handshake: %s: %s", p, got)
				}
			}
			var got, want []string
			for i, p := range strings.Split(x.session, "; ") {
				got = append(got, w.send(p))
				expect := strings.Split(x.want, "; ")[i]
				if liberal && expect == "window from-guest" && x.name != "RST from before" {
					expect = "pass"
				}
				want = append(want, expect)
			}
			if a, b := strings.Join(got, "; "), strings.Join(want, "; "); a != b {
				t.Errorf("%s, liberal %v: %s\n got %s\nwant %s", x.name, liberal, x.session, a, b)
			}
		}
	}
}

// A dry check leaves no trace in a flow's windows.
func TestWindowsDry(t *testing.T) {
	w := newWorld(t, mustCompile(t, mustLoad(t, reference), Fast))
	for _, p := range strings.Split(shake, "; ") {
		w.send(p)
	}
	snapshot := func() (f flow, p progress) {
		w.cx.Flows.all(func(_ *shard, e *entry) { f, p = e.flow, e.progress })
		return f, p
	}
	f, p := snapshot()
	w.cx.Dry = true
	for _, s := range []string{
		"client > server tcp 4000 80 A seq=1001 ack=5001 len=100", "server > client tcp 80 4000 FA seq=5001 ack=1001", "client > server tcp 4000 80 S seq=1 len=0",
		"server > client tcp 80 4000 R seq=5001", "client > server tcp 4000 80 A seq=99999999 ack=5001", "client > server tcp 4000 80 A seq=1001 ack=5001 first",
	} {
		w.send(s)
		if f2, p2 := snapshot(); f2 != f || p2 != p {
			t.Errorf("%s: a dry check changed %+v %+v to %+v %+v", s, f, p, f2, p2)
		}
	}
}

// A window is shifted only where both sides have said a scale.
func TestScaleNeedsBoth(t *testing.T) {
	for _, c := range []struct{ answer, want string }{{"scale=3", "pass"}, {"sackok=1", "window from-guest"}} {
		w := newWorld(t, mustCompile(t, mustLoad(t, reference), Fast))
		for _, p := range []string{
			"client > server tcp 4000 80 S seq=1000 len=0 win=1000 scale=2", "server > client tcp 80 4000 SA seq=5000 ack=1001 len=0 win=1000 " + c.answer,
			"client > server tcp 4000 80 A seq=1001 ack=5001 len=0 win=1000",
		} {
			w.send(p)
		}
		if got := w.send("server > client tcp 80 4000 A seq=8000 ack=1001 len=10"); got != c.want {
			t.Errorf("answered with %s: %s, want %s", c.answer, got, c.want)
		}
	}
}

// The short way says and does what the long one does, or nothing.
func TestFollowIsStep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := func(name string) uint32 {
			near := rapid.Uint32Range(0, 200000).Draw(t, name)
			return rapid.SampledFrom([]uint32{near, near - 100000, near + 1<<31, near * 20000}).Draw(t, name+" at")
		}
		var f flow
		var p progress
		f.state, f.flags = tcpEstablished, rapid.SampledFrom([]uint8{flowReplied, flowReplied | flowAssured}).Draw(t, "flags")
		for i := range p.side {
			p.side[i] = window{end: number("end"), maxEnd: number("maxEnd"), maxWin: number("maxWin"), maxAck: number("maxAck")}
			p.options[i] = rapid.Uint8().Draw(t, "options") | windowAcked
		}
		options := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 5, 8, 10}), 0, 24).Draw(t, "header options")
		k := frame.Key{TCPFlags: frame.TCPAck, Seq: number("seq"), Ack: number("ack"), Window: uint16(number("win")), PayloadLen: rapid.Uint32Range(0, 60000).Draw(t, "len"), Payload: uint16(20 + len(options))}
		eth := append(make([]byte, 20), options...)
		reply := rapid.Bool().Draw(t, "reply")
		e := entry{flow: f, progress: p}
		dir := uint8(0)
		if reply {
			dir = 1
		}
		if !e.follow(&k, eth, dir) {
			if e.flow != f || e.progress != p {
				t.Fatalf("said no, and changed %+v to %+v", p, e.progress)
			}
			return
		}
		g := (&Program{policy: &Policy{}}).segment(&Context{Eth: eth}, &k, reply)
		long := tcp{f.state, f.flags, p}
		if v := long.step(&g); v != tcpFits || long.state != e.state || long.flags != e.flags || long.progress != e.progress {
			t.Fatalf("step says %v\nand makes %+v\nfollow    %+v", v, long.progress, e.progress)
		}
	})
}

// A flow that was carried, or picked up in its middle, is not held to windows that nobody knows; nor is one that broke
// them in off.
func TestWindowsUnknown(t *testing.T) {
	p := mustLoad(t, reference)
	w := newWorld(t, mustCompile(t, p, Fast))
	r := FlowRecord{Proto: frame.ProtoTCP, Src: addrPort(frame.AddrFrom(guestAddr("client")), 4000), Dst: addrPort(frame.AddrFrom(guestAddr("server")), 80), State: "established", Replied: true, Timeout: 60}
	w.cx.Flows.Import(w.cx.Now, []FlowRecord{r})
	for _, s := range []string{"client > server tcp 4000 80 A seq=1 ack=900000", "server > client tcp 80 4000 A seq=5 ack=77777777", "client > server tcp 4000 80 A seq=12345678 ack=1"} {
		if got := w.send(s); got != "pass" {
			t.Errorf("carried: %s: %s", s, got)
		}
	}
	w = newWorld(t, mustCompile(t, mustLoad(t, reference+"midstream: true\n"), Fast))
	for _, s := range []string{"client > server tcp 4000 80 A seq=1000 ack=5000 win=1000", "server > client tcp 80 4000 A seq=5000 ack=1001", "server > client tcp 80 4000 A seq=900000 ack=1001"} {
		if got := w.send(s); got != "pass" {
			t.Errorf("picked up: %s: %s", s, got)
		}
	}
	w = newWorld(t, mustCompile(t, p, Off))
	for _, s := range strings.Split(shake+"; client > server tcp 4000 80 A seq=99999 ack=5001", "; ") {
		w.send(s)
	}
	w.g = mustCompile(t, p, Fast)
	if got := w.send("server > client tcp 80 4000 A seq=5001 ack=100000"); got != "pass" {
		t.Errorf("after off: %s", got)
	}
}

// A drop by the window is explained in numbers.
func TestWindowsExplained(t *testing.T) {
	w := newWorld(t, mustCompile(t, mustLoad(t, reference), Fast))
	for _, p := range strings.Split(shake, "; ") {
		w.send(p)
	}
	var told []string
	w.cx.Rec = func(s Step) { told = append(told, s.What+": "+s.Detail) }
	w.send("server > client tcp 80 4000 A seq=6001 ack=1002 len=7")
	const want = "window: 7 bytes from 6001 on, acknowledging up to 1002; its side has sent up to 5001 and may send up to 9001, the other has sent up to 1001"
	if !slices.Contains(told, want) {
		t.Errorf("told %q", told)
	}
}

// Nothing that TCP does allocates.
func TestWindowsAllocateNothing(t *testing.T) {
	w := newWorld(t, mustCompile(t, mustLoad(t, reference), Fast))
	for _, p := range strings.Split(shake, "; ") {
		w.send(p)
	}
	for _, p := range []string{
		"client > server tcp 4000 80 A seq=1001 ack=5001 len=100", "client > server tcp 4000 80 A seq=1001 ack=5001 len=100 sack=5001", "client > server tcp 4000 80 A seq=99999 ack=5001",
		"client > server tcp 4000 80 S seq=1000 scale=3 sackok=1", "client > server tcp 4001 80 S seq=1000 scale=3 sackok=1", "client > server tcp 4000 80 A seq=1001 ack=5001 first",
	} {
		f, k := parsePacket(p).frame(t)
		w.cx.Eth = f.Eth()
		if n := testing.AllocsPerRun(100, func() { w.g.Check(&w.cx, Point{client, FromGuest}, k) }); n != 0 {
			t.Errorf("%s: %v allocations", p, n)
		}
	}
}

// What an option says that is cut, or no option at all, is read like Linux reads it.
func TestTCPOptions(t *testing.T) {
	for _, c := range []struct {
		name    string
		options []byte
		flags   uint8
		sack    uint32
	}{
		{"none", nil, 0, 100},
		{"scale and SACK", []byte{3, 3, 7, 4, 2, 0}, windowScaled | windowSACK | 7, 100},
		{"too large a scale", []byte{3, 3, 200}, windowScaled | 14, 100},
		{"after padding", []byte{1, 1, 4, 2}, windowSACK, 100},
		{"after the end", []byte{0, 4, 2}, 0, 100},
		{"of another length", []byte{3, 4, 7, 7, 4, 2}, windowSACK, 100},
		{"cut", []byte{3, 3}, 0, 100},
		{"length 0", []byte{9, 0, 4, 2}, 0, 100},
		{"a kind alone", []byte{4}, 0, 100},
		{"blocks", []byte{5, 18, 0, 0, 0, 0, 0, 0, 0, 200, 0, 0, 0, 0, 0, 0, 1, 0}, 0, 256},
		{"a block below", []byte{5, 10, 0, 0, 0, 0, 0, 0, 0, 50}, 0, 100},
		{"half a block", []byte{5, 6, 0, 0, 1, 0}, 0, 100},
		{"no block", []byte{5, 2}, 0, 100},
	} {
		if got := handshakeOptions(c.options); got != c.flags {
			t.Errorf("%s: flags %#x, want %#x", c.name, got, c.flags)
		}
		if got := highestSACK(c.options, 100); got != c.sack {
			t.Errorf("%s: SACK %d, want %d", c.name, got, c.sack)
		}
	}
}

// Counters stay at their top, and know more than 32 bits of bytes.
func TestCountersAtTheirTop(t *testing.T) {
	var p progress
	p.set([2]uint64{1 << 40, 5}, [2]uint64{1<<32 - 1, 1 << 50})
	p.add(0, 10)
	p.add(1, 10)
	if p.frames != [2]uint32{1<<32 - 1, 6} || p.bytes(0) != 1<<32+9 || p.bytes(1) != 1<<40-1 {
		t.Errorf("%v frames, %d and %d bytes", p.frames, p.bytes(0), p.bytes(1))
	}
}

// BenchmarkKnownTCP is data and acknowledgements of established connections, with a timestamp in each segment.
func BenchmarkKnownTCP(b *testing.B) {
	w := newWorld(b, mustCompile(b, mustLoad(b, reference), Fast))
	for _, p := range strings.Split(shake, "; ") {
		w.send(p)
	}
	f, data := parsePacket("client > server tcp 4000 80 A seq=1001 ack=5001 len=1000").frame(b)
	_, ack := parsePacket("server > client tcp 80 4000 A seq=5001 ack=1001 len=0 win=1000").frame(b)
	w.cx.Eth = f.Eth()
	b.ReportAllocs()
	reportCPU(b)
	for b.Loop() {
		if v := w.g.Check(&w.cx, Point{client, FromGuest}, data); v.Action != Pass {
			b.Fatal(v)
		}
		data.Seq += 1000
		ack.Ack += 1000
		if v := w.g.Check(&w.cx, Point{server, FromGuest}, ack); v.Action != Pass {
			b.Fatal(v)
		}
	}
}
