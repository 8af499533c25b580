package enginetest

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

// plain is a frame without IP: what a bridge does with MACs alone.
func plain(dst, src frame.MAC, mark byte) *frame.Frame {
	f := frame.New(60)
	frame.PutEth(f.Eth(), dst, src, 0x88b5) // IEEE 802 local experimental EtherType 1
	f.Eth()[frame.MinLen] = mark
	return f
}

func isPlain(k *frame.Key) bool { return k.EtherType == 0x88b5 }

// testLearning floods until a MAC is known, and not after.
func testLearning(t *testing.T, bed Bed) {
	r := bed.rig(t)
	third := r.addGuest(10, "third", 1, "10.10.1.12", "fd00:10:1::12")
	r.client.send(plain(r.other.port.MAC, r.client.port.MAC, 1))
	r.other.next("flooded frame", isPlain)
	third.next("flooded frame", isPlain)
	r.other.send(plain(r.client.port.MAC, r.other.port.MAC, 2))
	r.client.next("answer", isPlain)
	r.client.send(plain(r.other.port.MAC, r.client.port.MAC, 3))
	r.other.next("known frame", isPlain)
	s := r.balanced()
	third.none("a frame for somebody else", isPlain)
	r.server.none("a frame of another segment", isPlain)
	if s.Copies != 1 {
		t.Errorf("%d copies of one flood to two", s.Copies)
	}
}

// testMACLimit says that a guest with too many MACs harms only itself.
func testMACLimit(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.other.send(plain(broadcast, r.other.port.MAC, 0))
	r.balanced()
	for i := range 100 {
		r.client.send(plain(broadcast, frame.MAC{2, 1, 0, 0, 0, byte(i)}, 0))
	}
	s := r.balanced()
	if got := s.Dropped["learn-limit"]; got != 100-8 {
		t.Errorf("%d frames over the limit of 8 MACs were dropped", got)
	}
	third := r.addGuest(10, "third", 1, "10.10.1.12", "fd00:10:1::12")
	third.send(plain(r.other.port.MAC, third.port.MAC, 9))
	r.balanced()
	r.client.none("a frame for a MAC that was pushed out", func(k *frame.Key) bool { return isPlain(k) && k.DstMAC == r.other.port.MAC })
}

// testServicePorts says that the appliance's ports get no floods, and are listened to only in slow.
func testServicePorts(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(referencePolicy)
	r.client.send(plain(broadcast, r.client.port.MAC, 0))
	r.fw.nics[1].WriteBatch([]*frame.Frame{plain(r.client.port.MAC, gatewayMAC, 1)})
	s := r.balanced()
	for s.In < 2 {
		s = r.balanced()
	}
	for _, p := range s.Ports {
		if p.Name == "fw" && (p.OutFrames != 0 || p.MACs != 0) {
			t.Errorf("%+v", p)
		}
	}
	if s.Dropped["not-service"] != 1 {
		t.Errorf("dropped %v", s.Dropped)
	}
	r.place(firewall.Slow)
	r.fw.nics[1].WriteBatch([]*frame.Frame{arp(1, gatewayMAC, broadcast, frame.AddrFrom(lan4), addr("10.10.1.99"))})
	r.client.next("the appliance's question", func(k *frame.Key) bool { return k.Has(frame.KeyARP) && k.SrcMAC == gatewayMAC })
}

// testNoPretenders drops frames that claim to come from the gateway or from another guest, and reserved groups.
func testNoPretenders(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.client.send(plain(r.server.port.MAC, gatewayMAC, 0))
	r.client.send(plain(r.server.port.MAC, r.other.port.MAC, 0))
	r.client.send(plain(r.server.port.MAC, frame.MAC{2, 9}, 0)) // a guest behind a guest: flooded
	r.client.send(plain(frame.MAC{1, 0x80, 0xc2, 0, 0, 0}, r.client.port.MAC, 0))
	if d := r.balanced().Dropped; d["spoofguard"] != 2 || d["reserved"] != 1 || len(d) != 2 {
		t.Errorf("dropped %v", d)
	}
}

// testRemovePort takes a guest away under traffic. Others live on, and the books still balance.
func testRemovePort(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.client.send(plain(r.other.port.MAC, r.client.port.MAC, 0))
	r.other.next("frame", isPlain)
	events, stop := r.sw.Events()
	defer stop()
	if err := r.sw.RemovePort(context.Background(), portOther); err != nil {
		t.Fatal(err)
	}
	if ev := <-events; ev.Kind != "port-down" {
		t.Errorf("told %+v", ev)
	}
	r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, dport: 6}).build())
	r.server.next("packet", isProto(frame.ProtoUDP, 6))
	r.client.send(r.client.to(r.other, false, packet{proto: frame.ProtoUDP, dport: 6}).build())
	r.balanced()
	if err := r.sw.RemovePort(context.Background(), portOther); err == nil {
		t.Error("removed twice")
	}
	if err := r.sw.AddPort(context.Background(), vswitch.Port{ID: portClient, Segment: 1}, nil); err == nil {
		t.Error("added on a number that is taken")
	}
}

// testOrphans takes the appliance's port away in slow: the switch does not begin to route what nobody checks.
func testOrphans(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(referencePolicy)
	r.place(firewall.Slow)
	if err := r.sw.RemovePort(context.Background(), portLAN); err != nil {
		t.Fatal(err)
	}
	r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, dport: deniedPort}).build())
	if d := r.balanced().Dropped; d["failed"] != 1 {
		t.Errorf("dropped %v", d)
	}
}

// testBooks hammers the switch from every port with good frames, damaged ones and noise, while the placement changes.
func testBooks(t *testing.T, bed Bed) {
	const frames = 20000
	r := bed.rig(t)
	r.policy(referencePolicy)
	guests := []*guest{r.client, r.server, r.other}
	done := make(chan struct{})
	for i, g := range guests {
		go func() {
			defer func() { done <- struct{}{} }()
			random := rand.New(rand.NewPCG(7, uint64(i)))
			for range frames {
				g.send(damaged(random, g, guests))
			}
		}()
	}
	r.place(firewall.Fast)
	r.place(firewall.Slow)
	r.place(firewall.Off)
	for range guests {
		<-done
	}
	r.balanced()
}

// damaged is a frame from one guest to another with a few bytes changed, or pure noise.
func damaged(random *rand.Rand, g *guest, guests []*guest) *frame.Frame {
	p := packet{
		proto: []uint8{frame.ProtoTCP, frame.ProtoUDP, frame.ProtoICMP, frame.ProtoICMPv6, 47}[random.IntN(5)],
		sport: uint16(random.Uint32()), dport: []uint16{80, 22, 23, 5201}[random.IntN(4)], flags: uint8(random.Uint32()),
		icmp: uint8(random.Uint32()), ttl: uint8(random.Uint32()), payload: make([]byte, random.IntN(200)),
	}
	f := g.to(guests[random.IntN(len(guests))], random.IntN(2) == 0, p).build()
	b := f.Wire()
	switch random.IntN(4) {
	case 0:
		for i := range b {
			b[i] = byte(random.Uint32())
		}
	case 1:
		f.Len = random.IntN(f.Len)
	case 2:
		b[random.IntN(len(b))] = byte(random.Uint32())
	}
	return f
}

// evens waits until the switch has dealt with everything that the guests have sent, and the books balance: also where
// they began anew meanwhile. A last frame of each guest is watched for.
func (r *rig) evens() {
	r.t.Helper()
	var sights []vswitch.Sight
	for _, g := range r.guests {
		sights = append(sights, vswitch.Sight{At: g.port.Name + "/from-guest", Proto: "udp", Port: 9})
	}
	if err := r.sw.Watch(sights); err != nil {
		r.t.Fatal(err)
	}
	for _, g := range r.guests {
		g.send(g.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 9, dport: 9}).build())
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // a poll
		s, w := r.sw.Stats(), r.sw.Watched()
		var dropped uint64
		for _, n := range s.Dropped {
			dropped += n
		}
		came := !slices.ContainsFunc(w.Seen, func(n vswitch.Seen) bool { return n.Frames == 0 })
		if came && s.In+s.Copies == s.Out+dropped {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("all came: %v; %+v", came, s)
		}
	}
}

// storm sends from every guest, good frames and bad ones, until it is stopped.
func (r *rig) storm() (stop func()) {
	guests := []*guest{r.client, r.server, r.other}
	end := make(chan struct{})
	var ended sync.WaitGroup
	for i, g := range guests {
		ended.Go(func() {
			random := rand.New(rand.NewPCG(9, uint64(i)))
			for {
				select {
				case <-end:
					return
				default:
				}
				if i == 0 {
					g.send(g.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 5, dport: 5201}).build())
				} else {
					g.send(damaged(random, g, guests))
				}
			}
		})
	}
	return func() { close(end); ended.Wait() }
}

// testForget: under traffic from every port the switch forgets what it has counted and learnt, and the books balance
// ever after.
func testForget(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(referencePolicy)
	r.place(firewall.Fast)
	for _, g := range r.guests {
		g.counting.Store(true)
	}
	for range 40 {
		stop := r.storm()
		for before := r.sw.Stats().In; r.sw.Stats().In < before+300; {
			time.Sleep(time.Millisecond) // a poll
		}
		if err := r.sw.Forget(context.Background(), false); err != nil {
			t.Fatal(err)
		}
		stop()
		r.evens()
	}
	if len(r.sw.History()) != 1 {
		t.Errorf("history %+v", r.sw.History())
	}
	if err := r.sw.Forget(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	s := r.sw.Stats()
	for _, p := range s.Ports {
		if p.InFrames+p.InBytes+p.OutFrames+p.OutBytes+p.Copies+p.NICDrops > 0 || p.MACs > 0 || len(p.Dropped) > 0 {
			t.Errorf("port %+v", p)
		}
	}
	for _, u := range s.Rules {
		if u.Hits > 0 || !u.LastHit.IsZero() {
			t.Errorf("rule %+v", u)
		}
	}
	if s.In+s.Out+s.Copies+s.Share.Frames > 0 || len(s.Dropped) > 0 || len(r.sw.History()) > 0 {
		t.Errorf("%+v, history %+v", s, r.sw.History())
	}
	if err := r.sw.RemovePort(context.Background(), portOther); err != nil {
		t.Fatal(err)
	}
	if s := r.sw.Stats(); s.In != 0 {
		t.Errorf("with a port that has gone %d frames came in", s.In)
	}
}

// testWakes: a port's goroutine is woken for a frame that comes alone; more than one for a batch it never is.
func testWakes(t *testing.T, bed Bed) {
	r := bed.rig(t)
	const alone = 5
	before := r.balanced().Ports[1]
	for range alone {
		r.client.send(plain(r.other.port.MAC, r.client.port.MAC, 1))
		r.balanced()
	}
	p := r.balanced().Ports[1]
	if p.Name != "client" || p.Batches-before.Batches != alone || p.Wakes == before.Wakes || p.Wakes > p.Batches {
		t.Errorf("before %+v, after %d frames %+v", before, alone, p)
	}
	var many []*frame.Frame
	for range 100 {
		many = append(many, plain(r.other.port.MAC, r.client.port.MAC, 2))
	}
	n, err := r.client.nic.WriteBatch(many)
	if err != nil {
		t.Fatal(err)
	}
	r.client.sent.Add(uint64(n))
	if now := r.balanced().Ports[1]; now.Batches-p.Batches > uint64(n) || now.Wakes-p.Wakes > now.Batches-p.Batches {
		t.Errorf("for %d frames at once: %+v after %+v", n, now, p)
	}
}
