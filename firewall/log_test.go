package firewall

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const logged = "services: {web: {tcp: 80}}\ndefault: drop\nrules:\n  - {name: quiet, service: web, action: allow}\n  - {name: loud, action: reject, log: true}\n"

func TestLogTakesWhatLoggedRulesDecide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, mustCompile(t, mustLoad(t, logged), Fast))
		w.cx.Log = NewLog()
		for _, s := range []string{"client > server tcp 1 80 S", "client > server tcp 1 81 S", "client6 > server6 echo 1"} {
			w.send(s)
		}
		w.cx.Dry = true
		w.send("client > server tcp 1 82 S")
		var lines []string
		ctx, cancel := context.WithCancel(t.Context())
		go w.cx.Log.Run(ctx, func(n Note) {
			line := ""
			for _, a := range n.LogAttrs("client") {
				line += a.String() + " "
			}
			lines = append(lines, line)
		})
		time.Sleep(logEvery) // of the bubble's clock
		synctest.Wait()
		cancel()
		synctest.Wait()
		want := `rule=loud action=reject point=client/from-guest flow=tcp/81 from 10.10.1.10 to 10.10.2.10 suppressed=0 |` +
			`rule=loud action=reject point=client/from-guest flow=icmpv6 type 128 from fd00:10:1::10 to fd00:10:2::10 suppressed=0 `
		if got := strings.Join(lines, "|"); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

// TestLogIsBounded: a rule is held to its rate, whoever floods; what it loses is counted, and told with its next line;
// and another rule's notes do not suffer.
func TestLogIsBounded(t *testing.T) {
	text := strings.Replace(logged, "rules:", "rules:\n  - {name: udp, service: dns, action: drop, log: true}", 1)
	w := newWorld(t, mustCompile(t, mustLoad(t, strings.Replace(text, "services: {", "services: {dns: {udp: 53}, ", 1)), Fast))
	w.cx.Log = NewLog()
	notes := map[string][]Note{}
	drain := func() {
		clear(notes)
		w.cx.Log.Drain(func(n Note) { notes[n.Rule] = append(notes[n.Rule], n) })
	}
	for range 1000 {
		w.send("client > server tcp 1 81 S")
	}
	w.send("client > server udp 1 53")
	info := w.g.Rules(w.cx.Flows)
	if got := info[2]; got.Name != "loud" || got.Unlogged != 990 {
		t.Errorf("rule %s has %d that were not logged; want loud and 990", got.Name, got.Unlogged)
	}
	drain()
	if len(notes["loud"]) != logPerSecond || len(notes["udp"]) != 1 || notes["udp"][0].Suppressed != 0 {
		t.Errorf("%d notes of the flooded rule, %v of the other", len(notes["loud"]), notes["udp"])
	}
	w.cx.Now += 1e9
	w.send("client > server tcp 1 81 S")
	w.send("client > server tcp 1 81 S")
	drain()
	if n := notes["loud"]; len(n) != 2 || n[0].Suppressed != 990 || n[1].Suppressed != 0 {
		t.Errorf("after the flood: %v; want two notes, of which the first tells of 990", n)
	}
	f, k := parsePacket("client > server tcp 1 81 S").frame(t)
	w.cx.Eth = f.Eth()
	if n := testing.AllocsPerRun(100, func() { w.cx.Now += 1e9; w.g.Check(&w.cx, Point{client, FromGuest}, k) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	drain()
	if len(notes["loud"]) != logRoom {
		t.Errorf("%d notes without a reader; there is room for %d", len(notes["loud"]), logRoom)
	}
}

// TestLogManyWriters: notes of many forwarding loops at once come out once each and whole, or are counted.
func TestLogManyWriters(t *testing.T) {
	const writers, each = 4, 2000
	l := NewLog()
	var wg sync.WaitGroup
	var lost atomic.Int64
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if !l.put(&Note{At: int64(i), Service: uint32(w), Suppressed: uint64(i)}) {
					lost.Add(1)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	var got int64
	last := [writers]int64{-1, -1, -1, -1}
	read := func(n Note) {
		got++
		if n.At != int64(n.Suppressed) || n.At <= last[n.Service] {
			t.Errorf("%+v after %d", n, last[n.Service])
		}
		last[n.Service] = n.At
	}
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		l.Drain(read)
	}
	if got+lost.Load() != writers*each || got == 0 {
		t.Errorf("%d read and %d lost of %d", got, lost.Load(), writers*each)
	}
}

// TestLogPrefixAndRate: a rule may say what stands before its notes, and how many are taken; nft has both in a rule of
// its own, so that what is over the rate meets the verdict all the same.
func TestLogPrefixAndRate(t *testing.T) {
	p := mustLoad(t, strings.Replace(logged, "log: true", "log: {prefix: \"no way:\", rate: 3/minute}", 1))
	w := newWorld(t, mustCompile(t, p, Fast))
	w.cx.Log = NewLog()
	for range 100 {
		w.send("client > server tcp 1 81 S")
	}
	n := 0
	w.cx.Log.Drain(func(note Note) {
		n++
		if a := note.LogAttrs("client"); a[0].Key != "prefix" || a[0].Value.String() != "no way:" {
			t.Errorf("%v", a)
		}
	})
	if n != 3 {
		t.Errorf("%d notes, want 3", n)
	}
	s, err := p.NFT(NFTOptions{})
	if err != nil || !strings.Contains(s, "limit rate 3/minute burst 3 packets log prefix \"no way: \" \n\t\tmeta l4proto tcp counter reject") {
		t.Errorf("%v\n%s", err, s)
	}
}
