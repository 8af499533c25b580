package enginetest

import (
	"testing"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

// testShare counts each frame of a guest once, as it was sent, on the side that it went to; and nobody else's.
func testShare(t *testing.T, bed Bed) {
	for _, c := range []struct {
		to   firewall.Placement
		slow int // of the frames below
	}{
		{firewall.Off, 0},
		{firewall.Fast, 0},
		{firewall.Slow, 3},    // what stays inside the segment does not go there
		{firewall.Tunnel, 4},  // all of it
		{firewall.Inspect, 3}, // what the engine drops does not
	} {
		t.Run(c.to.String(), func(t *testing.T) {
			r := bed.rig(t)
			r.policy(referencePolicy + "  - {name: inside, from: client, to: other, service: web, action: allow}\n")
			used := vswitch.Usage{Fast: 3 * time.Second, Slow: 2 * time.Second, SharedKernel: true}
			r.sw.SetMeter(func() vswitch.Usage { return used })
			syn := packet{proto: frame.ProtoTCP, sport: 4000, dport: 80, flags: frame.TCPSyn}
			r.client.send(r.client.to(r.server, false, syn).build()) // before the change: not counted
			r.server.next("SYN", isProto(frame.ProtoTCP, 80))
			r.place(c.to)
			used = vswitch.Usage{Fast: 5 * time.Second, Slow: 2500 * time.Millisecond, SharedKernel: true}

			long := r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 4000, dport: 5201, payload: make([]byte, 20*1400)}).build()
			long.Vnet().SetGSO(frame.GSOUDPL4, 1400, frame.MinLen+20+8)
			long.Vnet().SetChecksum(frame.MinLen+20, 6)
			frames := []*frame.Frame{
				r.client.to(r.server, false, packet{proto: frame.ProtoTCP, sport: 4001, dport: 80, flags: frame.TCPSyn}).build(),
				long, // one frame, though in tunnel it goes in 20 pieces
				r.client.to(r.other, false, packet{proto: frame.ProtoTCP, sport: 4002, dport: 80, flags: frame.TCPSyn}).build(),
				r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 9, dport: deniedPort}).build(),
			}
			var bytes uint64
			for _, f := range frames {
				bytes += uint64(f.Len)
				r.client.send(f)
			}
			s := r.settled()
			if s.Share.Frames != 4 || s.Share.Bytes != bytes || s.Share.Slow != uint64(c.slow) || s.FastShare != 1-float64(c.slow)/4 {
				t.Errorf("share %v of %+v, want %d of 4 frames and %d bytes on the slow side", s.FastShare, s.Share, c.slow, bytes)
			}
			if c.slow == 4 && s.Share.SlowBytes != bytes || c.slow == 0 && s.Share.SlowBytes != 0 {
				t.Errorf("%d bytes on the slow side", s.Share.SlowBytes)
			}
			if s.Share.FastCPU != 2 || s.Share.SlowCPU != 0.5 || !s.Share.SharedKernel {
				t.Errorf("CPU: %+v", s.Share)
			}
		})
	}
}
