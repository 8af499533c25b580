package enginetest

import (
	"bytes"
	"context"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

var steering = []firewall.Placement{firewall.Tunnel, firewall.Inspect}

// testSteered sends what is allowed and what is not through the appliance, between segments and inside one.
func testSteered(t *testing.T, bed Bed) {
	for _, to := range steering {
		t.Run(to.String(), func(t *testing.T) {
			r := bed.rig(t)
			r.policy(referencePolicy + "  - {name: inside, from: client, to: other, service: web, action: allow}\n")
			r.place(to)
			r.client.send(arp(1, r.client.port.MAC, broadcast, r.client.addr(false), frame.AddrFrom(lan4)))
			r.client.next("answer of the gateway", func(k *frame.Key) bool { return k.Has(frame.KeyARP) && k.ARPOp == 2 })
			for _, v6 := range []bool{false, true} {
				syn := packet{proto: frame.ProtoTCP, sport: 4000, dport: 80, flags: frame.TCPSyn}
				r.client.send(r.client.to(r.server, v6, syn).build())
				_, k := r.server.next("SYN", isProto(frame.ProtoTCP, 80))
				if k.TTL != 63 {
					t.Errorf("TTL %d at the server: the way has one hop", k.TTL)
				}
				r.server.send(r.server.to(r.client, v6, packet{proto: frame.ProtoTCP, sport: 80, dport: 4000, flags: frame.TCPSyn | frame.TCPAck, ack: 1}).build())
				r.client.next("SYN ACK", isProto(frame.ProtoTCP, 4000))
				r.client.send(r.client.to(r.other, v6, syn).build())
				r.other.next("SYN inside the segment", isProto(frame.ProtoTCP, 80))
				r.client.send(r.client.to(r.server, v6, packet{proto: frame.ProtoUDP, sport: 9, dport: deniedPort}).build())
				r.client.send(r.client.to(r.other, v6, packet{proto: frame.ProtoUDP, sport: 9, dport: deniedPort}).build())
			}
			s := r.settled()
			r.server.none("a denied frame", isProto(frame.ProtoUDP, deniedPort))
			r.other.none("a denied frame", isProto(frame.ProtoUDP, deniedPort))
			if s.FastShare > 0.5 || to == firewall.Tunnel && s.FastShare != 0 {
				t.Errorf("fast share %v", s.FastShare)
			}
			if to == firewall.Inspect && s.Dropped["default"] != 4 {
				t.Errorf("dropped %v", s.Dropped)
			}
		})
	}
}

// testDeniedNeverSteered says that what the engine denies where a frame would arrive never meets the inspector.
func testDeniedNeverSteered(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy("default: allow\nrules:\n  - {name: shut, from: any, to: server, direction: in, applied-to: [server], action: drop}\n")
	r.place(firewall.Inspect)
	for range 10 {
		r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 9, dport: 53}).build())
	}
	if s := r.settled(); s.Dropped["rule"] != 10 {
		t.Errorf("dropped %v", s.Dropped)
	}
	if r.fw.forwards != 0 {
		t.Errorf("the inspector has seen %d denied frames", r.fw.forwards)
	}
}

// testSteeredWhole sends frames that stand for many packets. Nothing is lost for its size, and what can stay whole
// does.
func testSteeredWhole(t *testing.T, bed Bed) {
	const size = 1400
	for _, to := range steering {
		for _, c := range []struct {
			name    string
			proto   uint8
			payload int
			frames  map[firewall.Placement]int
		}{
			{"TCP", frame.ProtoTCP, 60000, map[firewall.Placement]int{firewall.Tunnel: 1, firewall.Inspect: 1}},
			{"the longest TCP", frame.ProtoTCP, 65535 - 40, map[firewall.Placement]int{firewall.Tunnel: 47, firewall.Inspect: 47}},
			{"UDP", frame.ProtoUDP, 20 * size, map[firewall.Placement]int{firewall.Tunnel: 20, firewall.Inspect: 1}},
		} {
			r := bed.rig(t)
			r.policy("default: allow\n")
			r.place(to)
			r.client.send(r.client.to(r.server, false, packet{proto: c.proto, sport: 4000, dport: 80, flags: frame.TCPSyn}).build())
			r.server.next("first packet", isProto(c.proto, 80))
			r.server.send(r.server.to(r.client, false, packet{proto: c.proto, sport: 80, dport: 4000, flags: frame.TCPSyn | frame.TCPAck, ack: 1}).build())
			r.client.next("answer", isProto(c.proto, 4000))
			payload := make([]byte, c.payload)
			for i := range payload {
				payload[i] = byte(i * 7)
			}
			f := r.client.to(r.server, false, packet{proto: c.proto, sport: 4000, dport: 80, flags: frame.TCPAck, seq: 1, payload: payload}).build()
			kind := map[uint8]uint8{frame.ProtoTCP: frame.GSOTCPv4, frame.ProtoUDP: frame.GSOUDPL4}[c.proto]
			var k frame.Key
			if reason := frame.Parse(f, &k); reason != frame.ReasonNone {
				t.Fatal(reason)
			}
			f.Vnet().SetGSO(kind, size, int(k.Payload))
			f.Vnet().SetChecksum(int(k.L4), map[uint8]int{frame.ProtoTCP: 16, frame.ProtoUDP: 6}[c.proto])
			r.client.send(f)
			var got []byte
			for n := 0; len(got) < len(payload); n++ {
				if n >= c.frames[to] {
					t.Errorf("%s, %s: more than %d frames", to, c.name, n)
				}
				f, k := r.server.next(to.String()+" "+c.name+" piece", isProto(c.proto, 80))
				got = append(got, f.Eth()[k.Payload:int(k.Payload)+int(k.PayloadLen)]...)
				if whole := c.frames[to] == 1; whole != k.Has(frame.KeyGSO) || whole && (f.Vnet().GSOSize() < 1300 || f.Vnet().GSOSize() > 1460) {
					t.Errorf("%s, %s: GSO %v, size %d", to, c.name, k.Has(frame.KeyGSO), f.Vnet().GSOSize())
				}
			}
			if !bytes.Equal(got, payload) {
				t.Errorf("%s, %s: the payload has changed", to, c.name)
			}
			r.settled()
		}
	}
}

// testReturns lets the appliance give back what it may not. Each is dropped by a reason of its own.
func testReturns(t *testing.T, bed Bed) {
	for _, c := range []struct {
		name   string
		to     firewall.Placement
		forge  func(r *rig, f *frame.Frame) // what is about to come back
		twice  bool
		reason string
		comes  bool
	}{
		{"as it should", firewall.Inspect, func(*rig, *frame.Frame) {}, false, "", true},
		{"twice, with a ticket", firewall.Inspect, func(*rig, *frame.Frame) {}, true, "replayed", true},
		{"twice, without", firewall.Tunnel, func(*rig, *frame.Frame) {}, true, "replayed", true},
		{"in another session", firewall.Tunnel, func(_ *rig, f *frame.Frame) { f.Eth()[vniAt]++ }, false, "not-steered", false},
		{"of a port that is not there", firewall.Tunnel, func(_ *rig, f *frame.Frame) { f.Eth()[vniAt+2] = 99 }, false, "not-steered", false},
		{"of a service port", firewall.Tunnel, func(_ *rig, f *frame.Frame) { f.Eth()[vniAt+2] = byte(portLAN) }, false, "not-steered", false},
		{"as the probe's", firewall.Tunnel, func(_ *rig, f *frame.Frame) { f.Eth()[vniAt+2] = 0 }, false, "not-steered", false},
		{"of another guest", firewall.Inspect, func(_ *rig, f *frame.Frame) { f.Eth()[vniAt+2] = byte(portOther) }, false, "not-steered", false},
		{"without a verdict", firewall.Inspect, func(_ *rig, f *frame.Frame) { f.Eth()[ticketAt+19] = 0 }, false, "not-steered", false},
		{"with a number to come", firewall.Inspect, func(_ *rig, f *frame.Frame) { f.Eth()[ticketAt] = 1 }, false, "not-steered", false},
		{"without its ticket", firewall.Inspect, func(_ *rig, f *frame.Frame) {
			f.Unwrap(&switchOuter, &frame.Ticket{})
			f.Wrap(&farOuter, frame.NewVNI(1, portClient, true), nil, 1)
		}, false, "not-steered", false},
		{"from elsewhere", firewall.Tunnel, func(_ *rig, f *frame.Frame) {
			f.Eth()[frame.MinLen+12]++
			frame.SetIPv4Checksum(f.Eth()[frame.MinLen:])
		}, false, "not-steered", false},
		{"with a virtio_net_hdr that lies", firewall.Inspect, func(_ *rig, f *frame.Frame) { f.Eth()[ticketAt+20] = frame.VnetNeedsCsum }, false, "bad-vnet", false},
	} {
		r := bed.rig(t)
		r.policy(referencePolicy)
		r.place(c.to)
		r.fw.returned = func(f *frame.Frame) {
			if c.twice {
				r.fw.steer.WriteBatch([]*frame.Frame{f})
			}
			c.forge(r, f)
		}
		r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 7, dport: 5201}).build())
		if c.comes {
			r.server.next(c.name, isProto(frame.ProtoUDP, 5201))
		}
		if c.reason != "" {
			r.drops(c.reason, 1)
		}
		r.server.none(c.name, isProto(frame.ProtoUDP, 5201))
	}
}

// Where the VNI and the ticket are in a steered frame, by its outer headers without options.
const (
	vniAt    = frame.MinLen + 20 + 8 + 4
	ticketAt = frame.MinLen + 20 + 8 + 8 + 4
)

// testOldSession gives a frame back after the placement that it was steered in: while the old way drains it passes, and
// later never.
func testOldSession(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(referencePolicy)
	r.place(firewall.Tunnel)
	kept := &frame.Frame{}
	seen := make(chan bool, 10)
	r.fw.returned = func(f *frame.Frame) { kept.CopyFrom(f); f.Eth()[vniAt+1] ^= 0x7f; seen <- true }
	r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 7, dport: 5201}).build())
	<-seen
	r.place(firewall.Fast)
	r.fw.steer.WriteBatch([]*frame.Frame{kept})
	r.drops("not-service", 1)
	r.fw.returned = nil
	r.place(firewall.Tunnel)
	r.fw.steer.WriteBatch([]*frame.Frame{kept})
	r.drops("not-steered", 2) // the one that was forged, and the old one
	r.server.none("a frame of an old session", isProto(frame.ProtoUDP, 5201))
}

// drops waits until so many frames have been dropped for a reason.
func (r *rig) drops(reason string, n uint64) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); r.settled().Dropped[reason] != n; {
		if time.Now().After(deadline) {
			r.t.Fatalf("dropped %v, want %d %s", r.sw.Stats().Dropped, n, reason)
		}
	}
}

// testSteerNewPort adds a guest while frames are steered.
func testSteerNewPort(t *testing.T, bed Bed) {
	for _, to := range steering {
		r := bed.rig(t)
		r.policy("default: allow\n")
		r.place(to)
		third := r.addGuest(20, "third", 1, "10.10.1.20", "fd00:10:1::20")
		third.send(third.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 7, dport: 7}).build())
		r.server.next("packet of the new guest", isProto(frame.ProtoUDP, 7))
	}
}

// testSteerWithoutPort takes the steer port away: nothing passes that nobody has looked at.
func testSteerWithoutPort(t *testing.T, bed Bed) {
	for _, to := range steering {
		r := bed.rig(t)
		r.policy(referencePolicy)
		r.place(to)
		if err := r.sw.RemovePort(context.Background(), portSteer); err != nil {
			t.Fatal(err)
		}
		r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 7, dport: 5201}).build())
		if s := r.settled(); s.Dropped["failed"] != 1 {
			t.Errorf("%s: dropped %v", to, s.Dropped)
		}
		if _, err := r.sw.Place(context.Background(), to, vswitch.PlaceOptions{}); err == nil {
			t.Errorf("%s: placed without a steer port", to)
		}
	}
}

// testAllPairsUnderLoad changes from each placement to each under load: nothing is lost, leaked or doubled, and the
// connection lives.
func testAllPairsUnderLoad(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(referencePolicy)
	r.place(firewall.Fast)
	s := r.startStream()
	all := []firewall.Placement{firewall.Fast, firewall.Slow, firewall.Tunnel, firewall.Push, firewall.Inspect}
	observed := 0
	for _, from := range all {
		for _, to := range all {
			r.place(from)
			rec := r.place(to)
			observed += rec.Observed
			if rec.Overflow || rec.Duplicated > 0 || rec.Lost > 0 || rec.Leaked > 0 {
				t.Errorf("%+v", rec)
			}
		}
	}
	if o := s.end(); o != (outcome{}) {
		t.Errorf("%+v; dropped %v", o, r.sw.Stats().Dropped)
	}
	if observed == 0 {
		t.Error("the receipts have seen no frame")
	}
	r.settled()
}

// testInspectorVerdicts lets the inspector give each of its verdicts about a frame in a connection.
func testInspectorVerdicts(t *testing.T, bed Bed) {
	for _, c := range []struct {
		verdict        frame.Verdict
		comes, goesOn  bool // the frame arrives; later ones do
		reset, steered bool // both ends are told; later frames are still steered
	}{
		{frame.VerdictPass, true, true, false, true},
		{frame.VerdictClean, true, true, false, false},
		{frame.VerdictDrop, false, true, false, true},
		{frame.VerdictReset, false, false, true, false},
		{frame.VerdictQuarantine, false, false, false, false},
	} {
		for _, v6 := range []bool{false, true} {
			r := bed.rig(t)
			r.policy(referencePolicy)
			r.fw.judge = func(eth []byte) frame.Verdict {
				if bytes.Contains(eth, []byte("evil")) {
					return c.verdict
				}
				return frame.VerdictPass
			}
			r.place(firewall.Inspect)
			r.shakeHands(4000, v6)
			say := func(seq uint32, text string) {
				r.client.send(r.client.to(r.server, v6, packet{
					proto: frame.ProtoTCP, sport: 4000, dport: 80, flags: frame.TCPAck, seq: seq, ack: 1, payload: []byte(text),
				}).build())
			}
			say(1, "evil")
			arrived := func(seq uint32) (yes bool) {
				r.settled()
				r.server.none("", func(k *frame.Key) bool { yes = yes || k.Seq == seq && k.PayloadLen > 0; return false })
				return yes
			}
			if c.reset {
				rst := func(k *frame.Key) bool { return k.Proto == frame.ProtoTCP && k.TCPFlags&frame.TCPRst != 0 }
				if _, k := r.server.next("reset", rst); k.Seq != 1 || k.SrcPort != 4000 {
					t.Errorf("verdict %d: the server is reset with %d, from port %d", c.verdict, k.Seq, k.SrcPort)
				}
				if _, k := r.client.next("reset", rst); k.Seq != 1 || k.SrcPort != 80 {
					t.Errorf("verdict %d: the client is reset with %d, from port %d", c.verdict, k.Seq, k.SrcPort)
				}
			} else if got := arrived(1); got != c.comes {
				t.Errorf("verdict %d: the frame arrives: %v", c.verdict, got)
			}
			before := r.fw.seen()
			say(5, "good")
			if got := arrived(5); got != c.goesOn {
				t.Errorf("verdict %d: a later frame arrives: %v", c.verdict, got)
			}
			if got := r.fw.seen() > before; got != c.steered {
				t.Errorf("verdict %d: a later frame is steered: %v", c.verdict, got)
			}
		}
	}
}
