package firewall

import (
	"fmt"
	"testing"
	"time"

	"sluice/vnic/frame"
)

const perSource = "default: allow\nlimits: {per-source: {flows: 3}}\n"

// TestLimitsPerSource: each source address may hold so many flows, whoever else holds some; what ends makes room.
func TestLimitsPerSource(t *testing.T) {
	w := newWorld(t, mustCompile(t, mustLoad(t, perSource), Fast))
	send := func(packet, want string) {
		t.Helper()
		if got := w.send(packet); got != want {
			t.Errorf("%s: %s, want %s", packet, got, want)
		}
	}
	for port := range 5 {
		for _, from := range []string{"client", "other"} {
			want := "pass"
			if port >= 3 {
				want = "state-limit from-guest"
			}
			send(fmt.Sprintf("%s > server udp %d 53", from, port+1), want)
		}
	}
	send("server > client udp 53 1", "pass")   // an answer begins nothing
	send("client6 > server6 udp 1 53", "pass") // each address is a source
	w.cx.Now += int64(2 * time.Minute)         // what is over makes room, once it is swept out
	for range expireCalls {
		w.cx.Flows.Expire(w.cx.Now)
	}
	send("client > server udp 9 53", "pass")
	w.cx.Flows.Clear()
	for port := range 3 {
		send(fmt.Sprintf("client > server udp %d 53", port+1), "pass")
	}
	send("client > server udp 4 53", "state-limit from-guest")
	// Another policy that limits nobody: its flows are on no account, and those of before leave theirs as they go on.
	limited, free := w.g, mustCompile(t, mustLoad(t, "default: allow\n"), Fast)
	w.g = free
	for port := range 6 {
		send(fmt.Sprintf("client > server udp %d 53", port+1), "pass")
	}
	if n := w.held("client"); n != 0 {
		t.Errorf("%d flows are on the account of a source that is not limited", n)
	}
	w.g = limited
	send("client > server udp 1 53", "pass") // it lives on, and counts again
	if n := w.held("client"); n != 1 {
		t.Errorf("%d flows, want 1", n)
	}
	w.cx.Flows.Clear()
	for _, name := range []string{"client", "other", "server"} {
		if n := w.held(name); n != 0 {
			t.Errorf("%d flows of %s are left on its account", n, name)
		}
	}
}

// held is how many flows are on a source's account.
func (w *world) held(name string) int {
	a := frame.AddrFrom(guestAddr(name))
	_, bucket := w.cx.Flows.sources.Load().bucket(&a)
	for i := range bucket {
		if bucket[i].addr == a {
			return int(bucket[i].flows)
		}
	}
	return 0
}

func TestRatePerSource(t *testing.T) {
	w := newWorld(t, mustCompile(t, mustLoad(t, "default: allow\nlimits: {per-source: {new-per-second: 20}}\n"), Fast))
	begun := func(from string) (n int) {
		for port := range 50 {
			if w.send(fmt.Sprintf("%s > server udp %d 53", from, w.cx.Now/1e8%600*100+int64(port)+1)) == "pass" {
				n++
			}
		}
		return n
	}
	if c, o := begun("client"), begun("other"); c != 2 || o != 2 {
		t.Errorf("at once %d and %d, want a tenth of a second's", c, o)
	}
	w.cx.Now += 1e8
	if c := begun("client"); c != 2 {
		t.Errorf("a tenth of a second later %d", c)
	}
}

// TestSourcesAreBounded: more sources than there is room for are refused, and nothing grows.
func TestSourcesAreBounded(t *testing.T) {
	s, l := &sources{seeds: drawSeeds()}, &SourceLimits{Flows: 1}
	a, refused := frame.Addr{10: 0xff, 11: 0xff, 12: 10}, 0
	for i := range 100_000 {
		a[13], a[14], a[15] = byte(i>>16), byte(i>>8), byte(i)
		if !s.begin(&a, l, 1) {
			refused++
		}
	}
	if refused < 100_000-sourceParts*sourceBuckets*sourceWays || refused == 100_000 {
		t.Errorf("%d of 100,000 sources refused", refused)
	}
}
