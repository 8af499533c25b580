package user_test

import (
	"net/netip"
	"strings"
	"testing"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

// TestWatch says what is counted at which point in which placement, of one SYN that the policy denies.
func TestWatch(t *testing.T) {
	server := netip.MustParseAddr("10.10.2.10")
	sights := []vswitch.Sight{
		{At: "client/from-guest", Proto: "tcp", Port: 23},
		{At: "client/from-guest", Proto: "tcp", Port: 24},
		{At: "client/from-guest", Proto: "udp", Port: 23},
		{At: "client/to-guest", Proto: "tcp", Port: 23},
		{At: "fw/to-guest", Proto: "tcp", Port: 23, To: []netip.Addr{server}},
		{At: "fw/to-guest", From: []netip.Addr{server}},
		{At: "server/to-guest", Proto: "tcp"},
	}
	for _, c := range []struct {
		to      firewall.Placement
		want    [7]uint64 // frames, by sight
		verdict string    // at the client
	}{
		{firewall.Fast, [7]uint64{1, 0, 0, 0, 0, 0, 0}, "drop"},
		{firewall.Slow, [7]uint64{1, 0, 0, 0, 1, 0, 0}, "pass"},
		{firewall.Tunnel, [7]uint64{1, 0, 0, 0, 1, 0, 0}, "steer"},
		{firewall.Off, [7]uint64{1, 0, 0, 0, 0, 0, 1}, "pass"},
	} {
		r := newRig(t)
		r.policy(referencePolicy)
		r.place(c.to)
		if err := r.sw.Watch(sights); err != nil {
			t.Fatal(err)
		}
		r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoTCP, sport: 4000, dport: 23, flags: frame.TCPSyn}).build())
		r.balanced()
		w := r.sw.Watched()
		for i, n := range c.want {
			if w.Seen[i].Frames != n {
				t.Errorf("%s: %+v saw %d frames, want %d", c.to, sights[i], w.Seen[i].Frames, n)
			}
		}
		if len(w.Frames) == 0 || w.Frames[0].Point != "client/from-guest" || w.Frames[0].Verdict != c.verdict || w.Frames[0].Dst.Port() != 23 {
			t.Errorf("%s: %+v", c.to, w.Frames)
		}
		if err := r.sw.Watch(nil); err != nil || len(r.sw.Watched().Seen) != 0 {
			t.Errorf("the watch goes on: %v", err)
		}
	}
}

// TestWatchRefuses says which sights are none, and that a watch that is refused leaves the one before.
func TestWatchRefuses(t *testing.T) {
	r := newRig(t)
	if err := r.sw.Watch([]vswitch.Sight{{At: "client/from-guest"}}); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]string{
		"": "an insertion point is", "client": "an insertion point is", "client/from-guest/x": "an insertion point is", "nobody/to-guest": `no port "nobody"`,
	} {
		if err := r.sw.Watch([]vswitch.Sight{{At: at}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", at, err, want)
		}
	}
	if err := r.sw.Watch(make([]vswitch.Sight, 1000)); err == nil {
		t.Error("a thousand sights are taken")
	}
	if n := len(r.sw.Watched().Seen); n != 1 {
		t.Errorf("the earlier watch has %d sights", n)
	}
}
