package firewall

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
)

const logged = "services: {web: {tcp: 80}}\ndefault: drop\nrules:\n  - {name: quiet, service: web, action: allow}\n  - {name: loud, action: reject, log: true}\n"

func TestLogTakesWhatLoggedRulesDecide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, mustCompile(t, mustLoad(t, logged), Fast))
		w.cx.Log = NewLog(10)
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

func TestLogIsBounded(t *testing.T) {
	w := newWorld(t, mustCompile(t, mustLoad(t, logged), Fast))
	w.cx.Log = NewLog(10)
	for range 1000 {
		w.send("client > server tcp 1 81 S")
	}
	if n := len(w.cx.Log.notes); n != 10 || w.cx.Log.Suppressed() != 990 {
		t.Errorf("%d notes, %d suppressed", n, w.cx.Log.Suppressed())
	}
	f, k := parsePacket("client > server tcp 1 81 S").frame(t)
	w.cx.Eth = f.Eth()
	if n := testing.AllocsPerRun(100, func() { w.cx.Now += 1e9; w.g.Check(&w.cx, Point{client, FromGuest}, k) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
