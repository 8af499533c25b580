package enginetest

import (
	"bytes"
	"net/netip"
	"testing"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

// testWatch says what is counted at which point in which placement, of one SYN that the policy denies.
func testWatch(t *testing.T, bed Bed) {
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
		r := bed.rig(t)
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

// testWatchKeeps says what is kept of the frames themselves: their first bytes as they came to the point, of so many at
// each, and how many more there were.
func testWatchKeeps(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(referencePolicy)
	r.place(firewall.Fast)
	if err := r.sw.Watch([]vswitch.Sight{{At: "client/from-guest", Proto: "udp", Port: 5201}, {At: "client/from-guest", Port: 5201}, {At: "server/to-guest", Proto: "udp"}}); err != nil {
		t.Fatal(err)
	}
	const sent = 300
	short := r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 5, dport: 5201, payload: []byte("first")}).build()
	long := r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 5, dport: 5201, payload: make([]byte, 1000)}).build()
	for i := range sent {
		f := long
		if i == 0 {
			f = short
		}
		before := append([]byte(nil), f.Eth()...)
		r.client.send(f)
		if i%64 == 0 {
			r.balanced()
		}
		if !bytes.Equal(before, f.Eth()) {
			t.Fatal("the frame has changed")
		}
	}
	r.balanced()
	w := r.sw.Watched()
	kept := map[string][]vswitch.SeenFrame{}
	for _, f := range w.Frames {
		kept[f.Point] = append(kept[f.Point], f)
	}
	for _, point := range []string{"client/from-guest", "server/to-guest"} {
		got := kept[point]
		if len(got) != 256 {
			t.Fatalf("%d frames of %s are kept", len(got), point)
		}
		if f := got[1]; f.Bytes != long.Len || len(f.Data) != vswitch.MaxSeenBytes {
			t.Errorf("%s: of %d bytes %d are kept", point, f.Bytes, len(f.Data))
		}
	}
	if got := kept["client/from-guest"][0]; !bytes.Equal(got.Data, short.Eth()) {
		t.Errorf("kept % x\nsent % x", got.Data, short.Eth())
	}
	if got := kept["server/to-guest"][0]; got.Data[14+8] != short.Eth()[14+8]-1 || len(got.Data) != short.Len { // it was routed: its TTL says so
		t.Errorf("kept % x\nsent % x", got.Data, short.Eth())
	}
	if len(w.Missed) != 2 || w.Missed[0] != (vswitch.Missed{Point: "client/from-guest", Frames: sent - 256}) || w.Missed[1].Frames != sent-256 {
		t.Errorf("missed %+v", w.Missed)
	}
}
