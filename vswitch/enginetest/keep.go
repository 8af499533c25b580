package enginetest

import (
	"context"
	"testing"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

var everywhere = []firewall.Placement{firewall.Off, firewall.Fast, firewall.Slow, firewall.Tunnel, firewall.Push, firewall.Inspect}

// pairs runs a test for each pair of two different placements, side by side.
func pairs(t *testing.T, froms, tos []firewall.Placement, test func(t *testing.T, from, to firewall.Placement)) {
	for _, from := range froms {
		for _, to := range tos {
			if from != to {
				t.Run(from.String()+" to "+to.String(), func(t *testing.T) {
					t.Parallel()
					test(t, from, to)
				})
			}
		}
	}
}

func (r *rig) keep(to firewall.Placement) vswitch.Receipt {
	r.t.Helper()
	return r.placeBy(to, vswitch.Keep)
}

// connect opens a connection from the client's port to the server's web, and sends a byte.
func (r *rig) connect(port uint16) {
	r.t.Helper()
	r.shakeHands(port, false)
	r.says(port, 1)
}

// shakeHands opens a connection from the client's port to the server's web.
func (r *rig) shakeHands(port uint16, v6 bool) {
	r.t.Helper()
	r.client.send(r.client.to(r.server, v6, packet{proto: frame.ProtoTCP, sport: port, dport: 80, flags: frame.TCPSyn}).build())
	r.server.next("SYN", func(k *frame.Key) bool { return k.SrcPort == port && k.TCPFlags == frame.TCPSyn })
	answer := packet{proto: frame.ProtoTCP, sport: 80, dport: port, flags: frame.TCPSyn | frame.TCPAck, ack: 1}
	r.server.send(r.server.to(r.client, v6, answer).build())
	r.client.next("SYN ACK", isProto(frame.ProtoTCP, port))
}

// says sends a byte on a connection, and waits until it has arrived.
func (r *rig) says(port uint16, seq uint32) {
	r.t.Helper()
	r.client.send(r.client.to(r.server, false, packet{
		proto: frame.ProtoTCP, sport: port, dport: 80, flags: frame.TCPAck, seq: seq, ack: 1, payload: []byte("x"),
	}).build())
	r.server.next("byte", func(k *frame.Key) bool { return k.SrcPort == port && k.Seq == seq && k.PayloadLen > 0 })
}

// hangUp resets a connection.
func (r *rig) hangUp(port uint16) {
	r.t.Helper()
	r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoTCP, sport: port, dport: 80, flags: frame.TCPRst, seq: 1}).build())
	r.server.next("reset", func(k *frame.Key) bool { return k.SrcPort == port && k.TCPFlags == frame.TCPRst })
}

// visits says whether something makes frames meet the appliance.
func (r *rig) visits(do func()) bool {
	r.t.Helper()
	r.settled()
	before := r.fw.seen()
	do()
	r.settled()
	return r.fw.seen() > before
}

// notKept waits until no flow is kept any more.
func (r *rig) notKept() {
	r.t.Helper()
	r.waits("no flow is kept", func(st vswitch.Status) bool { return st.Kept == nil })
}

// testKeep changes from each placement to each. The connection that was there stays on its way, another takes the new
// one, and once the first has ended nothing is left of the old way.
func testKeep(t *testing.T, bed Bed) {
	pairs(t, everywhere, everywhere, func(t *testing.T, from, to firewall.Placement) {
		r := bed.rig(t)
		r.policy(referencePolicy)
		r.place(from)
		r.connect(1000)
		r.connect(1001)
		rec := r.keep(to)
		if rec.FlowsKept != 2 || rec.FlowsCarried != 0 || rec.Lost+rec.Leaked+rec.Duplicated != 0 {
			t.Errorf("%+v", rec)
		}
		if got := r.visits(func() { r.says(1000, 2) }); got != from.Visits() {
			t.Errorf("the old connection meets the appliance: %v", got)
		}
		if got := r.visits(func() { r.connect(2000) }); got != to.Visits() {
			t.Errorf("a new connection meets the appliance: %v", got)
		}
		if got := r.visits(func() { r.says(1000, 3) }); got != from.Visits() {
			t.Errorf("later the old connection meets the appliance: %v", got)
		}
		r.tracesKept(from)
		r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoTCP, sport: 3000, dport: deniedPort, flags: frame.TCPSyn}).build())
		r.settled()
		if to.Enforces() {
			r.server.none("a denied frame", isProto(frame.ProtoTCP, deniedPort))
		}
		r.hangUp(1000)
		if got := r.visits(func() { r.connect(1000) }); got != to.Visits() {
			t.Errorf("the old connection, begun anew, meets the appliance: %v", got)
		}
		if got := r.visits(func() { r.says(1001, 2) }); got != from.Visits() {
			t.Errorf("the other old connection meets the appliance: %v", got)
		}
		r.hangUp(1001)
		r.notKept()
		r.says(2000, 2)
		r.settled()
	})
}

// tracesKept asks for the way of the connection that is kept, and of a new one.
func (r *rig) tracesKept(from firewall.Placement) {
	r.t.Helper()
	if k := r.sw.Status().Kept; k == nil || k.Flows != 2 || k.Placement.Visits() != from.Visits() {
		r.t.Fatalf("kept: %+v", k)
	}
	kept := 0
	for _, f := range r.sw.Flows() {
		if f.Kept {
			kept++
		}
		if f.Kept != (f.Src.Port() < 2000) {
			r.t.Errorf("flow from port %d: kept %v", f.Src.Port(), f.Kept)
		}
	}
	if kept != 2 {
		r.t.Errorf("%d flows say that they are kept", kept)
	}
	tr, err := r.sw.Trace(vswitch.TraceRequest{
		Frame: r.client.to(r.server, false, packet{proto: frame.ProtoTCP, sport: 1000, dport: 80, flags: frame.TCPAck, seq: 4, ack: 1}).build().Eth(), At: "client",
	})
	if err != nil || tr.Verdict != "pass" || tr.Crosses != from.Visits() || tr.Steps[0].What != "kept" {
		r.t.Errorf("traced %+v, %v", tr, err)
	}
}

// testKeepUnderLoad keeps under load: nothing is lost or leaked, whatever way it goes, and a change that carries ends
// what was kept.
func testKeepUnderLoad(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(referencePolicy)
	r.place(firewall.Fast)
	s := r.startStream()
	for _, from := range everywhere[1:] {
		for _, to := range everywhere[1:] {
			if from == to {
				continue
			}
			for _, rec := range []vswitch.Receipt{r.place(from), r.keep(to)} {
				if rec.Overflow || rec.Duplicated > 0 || rec.Lost > 0 || rec.Leaked > 0 || rec.Handover == vswitch.Keep && rec.FlowsKept < 3 {
					t.Errorf("%+v", rec)
				}
			}
			if _, err := r.sw.Place(context.Background(), from, vswitch.PlaceOptions{Handover: vswitch.Keep}); err == nil {
				t.Error("flows were kept twice")
			}
		}
	}
	r.place(firewall.Fast)
	if k := r.sw.Status().Kept; k != nil {
		t.Errorf("kept: %+v", k)
	}
	if o := s.end(); o != (outcome{}) {
		t.Errorf("%+v; dropped %v", o, r.sw.Stats().Dropped)
	}
	r.settled()
}

// testKeepDenied says that what was begun in off and the policy denies is not kept, and that a flow of off that is kept
// is checked.
func testKeepDenied(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(referencePolicy)
	r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 9, dport: deniedPort}).build())
	r.server.next("what nobody denies yet", isProto(frame.ProtoUDP, deniedPort))
	r.connect(1000)
	if rec := r.keep(firewall.Slow); rec.FlowsKept != 1 {
		t.Errorf("%+v", rec)
	}
	r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 9, dport: deniedPort}).build())
	// A connection the other way round would be the same flow, were it not that the first one ends with it.
	r.server.send(r.server.to(r.client, false, packet{proto: frame.ProtoTCP, sport: 80, dport: 1000, flags: frame.TCPRst, seq: 1}).build())
	r.client.next("reset", isProto(frame.ProtoTCP, 1000))
	r.server.send(r.server.to(r.client, false, packet{proto: frame.ProtoTCP, sport: 80, dport: 1000, flags: frame.TCPSyn}).build())
	r.settled()
	r.server.none("a denied frame", isProto(frame.ProtoUDP, deniedPort))
	r.client.none("a connection that the policy denies", isProto(frame.ProtoTCP, 1000))
	r.notKept()
}

// testKeepPolicy says that a new policy is for flows that are kept, too, wherever they are.
func testKeepPolicy(t *testing.T, bed Bed) {
	const denies = "tcp-windows: liberal\nservices: {speed: {udp: 5201}}\ndefault: drop\nrules:\n  - {name: speed, from: client, to: server, service: speed, action: allow}\n"
	pairs(t, everywhere, everywhere[1:4], func(t *testing.T, from, to firewall.Placement) {
		r := bed.rig(t)
		r.policy(referencePolicy)
		r.place(from)
		r.connect(1000)
		r.keep(to)
		r.policy(denies)
		r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoTCP, sport: 1000, dport: 80, flags: frame.TCPAck, seq: 9999, ack: 1, payload: []byte("x")}).build())
		r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 8, dport: 5201, payload: []byte("end")}).build())
		r.server.next("end", func(k *frame.Key) bool {
			if k.Seq == 9999 {
				t.Errorf("%s to %s: a flow that the new policy denies lives on", from, to)
			}
			return k.SrcPort == 8
		})
		r.notKept()
		if r.fw.mu.Lock(); (from.Tracks() || to.Tracks()) && r.fw.policy != r.policyInForce() {
			t.Error("the appliance has another policy")
		}
		r.fw.mu.Unlock()
	})
}

// testKeepFails lets the appliance go that flows were kept on: they go on by the new way.
func testKeepFails(t *testing.T, bed Bed) {
	for _, from := range visiting {
		for name, fail := range map[string]func(*rig){
			"hung": func(r *rig) { r.fw.hung.Store(true) },
			"dead": func(r *rig) { r.fw.die() },
			"gone": func(r *rig) {
				for _, id := range []frame.PortID{portLAN, portDMZ, portSteer} {
					if err := r.sw.RemovePort(context.Background(), id); err != nil {
						r.t.Error(err)
					}
				}
			},
		} {
			t.Run(from.String()+" "+name, func(t *testing.T) {
				t.Parallel()
				r := bed.rig(t)
				r.policy(referencePolicy)
				r.place(from)
				r.connect(1000)
				r.keep(firewall.Fast)
				fail(r)
				r.notKept()
				r.says(1000, 2)
				if st := r.sw.Status(); st.Placement != firewall.Fast || st.Bypassed {
					t.Errorf("%+v", st)
				}
			})
		}
	}
}

// testKeepRecovers says that flows which are kept on the engine's way do not notice that the appliance fails and comes
// back.
func testKeepRecovers(t *testing.T, bed Bed) {
	for _, to := range visiting {
		r := bed.rig(t)
		r.policy(referencePolicy)
		r.place(firewall.Fast)
		r.connect(1000)
		r.keep(to)
		r.fw.die()
		r.becomes(firewall.Absent, false)
		r.says(1000, 2)
		r.fw.revive()
		r.fw.next(r.policyInForce())
		r.becomes(firewall.Healthy, false)
		if k := r.sw.Status().Kept; k == nil || k.Flows != 1 {
			t.Errorf("%s: kept %+v", to, k)
		}
		if r.visits(func() { r.says(1000, 3) }) {
			t.Errorf("%s: the old connection meets the appliance", to)
		}
		r.connect(2000)
		r.settled()
	}
}

func (r *rig) policyInForce() *firewall.Policy {
	p, _ := r.sw.Policy()
	return p
}

// testKeepErrors says that an ICMP error goes the way of the flow that it is about.
func testKeepErrors(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(referencePolicy)
	r.place(firewall.Fast)
	asked := r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 7, dport: 5201, payload: make([]byte, 20)})
	r.client.send(asked.build())
	f, k := r.server.next("datagram", isProto(frame.ProtoUDP, 5201))
	r.keep(firewall.Slow)
	refused := r.server.to(r.client, false, packet{proto: frame.ProtoICMP, icmp: 3, payload: f.Eth()[k.L3 : k.L3+28]})
	r.server.send(refused.build())
	r.client.next("port unreachable", func(k *frame.Key) bool { return k.Proto == frame.ProtoICMP && k.ICMPType == 3 })
	r.settled()
}

// testKeepRefused says what is not kept, and that nothing has changed then.
func testKeepRefused(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(referencePolicy)
	r.place(firewall.Fast)
	r.connect(1000)
	r.fw.fail(errFull)
	if _, err := r.sw.Place(context.Background(), firewall.Slow, vswitch.PlaceOptions{Handover: vswitch.Keep}); err == nil {
		t.Error("placed with a sick appliance")
	}
	r.fw.fail(nil)
	if st := r.sw.Status(); st.Placement != firewall.Fast || st.Kept != nil {
		t.Errorf("%+v", st)
	}
	if rec := r.keep(firewall.Fast); rec.Handover != vswitch.Carry || rec.FlowsKept != 0 {
		t.Errorf("%+v", rec)
	}
	r.place(firewall.Inspect)
	r.fw.die()
	r.becomes(firewall.Absent, false)
	if _, err := r.sw.Place(context.Background(), firewall.Fast, vswitch.PlaceOptions{Handover: vswitch.Keep}); err == nil {
		t.Error("flows were kept on an appliance that has gone")
	}
	r.place(firewall.Fast)
	r.says(1000, 2)
}

// testKeepNewPort adds a guest while flows are kept in a session.
func testKeepNewPort(t *testing.T, bed Bed) {
	for _, from := range steering {
		r := bed.rig(t)
		r.policy(referencePolicy)
		r.place(from)
		r.connect(1000)
		r.keep(firewall.Fast)
		r.addGuest(20, "third", 1, "10.10.1.20", "fd00:10:1::20")
		if !r.visits(func() { r.says(1000, 2) }) {
			t.Errorf("%s: the old connection does not meet the appliance", from)
		}
	}
}
