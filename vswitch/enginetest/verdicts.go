package enginetest

import (
	"testing"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// testVerdictsByPlacement says what each placement delivers, over both families.
func testVerdictsByPlacement(t *testing.T, bed Bed) {
	for _, c := range []struct {
		to      firewall.Placement
		proto   uint8
		port    uint16
		arrives bool
	}{
		{firewall.Off, frame.ProtoTCP, 80, true},
		{firewall.Off, frame.ProtoTCP, 23, true},
		{firewall.Fast, frame.ProtoTCP, 80, true},
		{firewall.Fast, frame.ProtoTCP, 23, false},
		{firewall.Fast, frame.ProtoUDP, 5201, true},
		{firewall.Fast, frame.ProtoUDP, 53, false},
		{firewall.Slow, frame.ProtoTCP, 80, true},
		{firewall.Slow, frame.ProtoTCP, 23, false},
		{firewall.Slow, frame.ProtoUDP, 5201, true},
		{firewall.Slow, frame.ProtoUDP, 53, false},
	} {
		for _, v6 := range []bool{false, true} {
			r := bed.rig(t)
			r.policy(referencePolicy)
			r.place(c.to)
			r.client.send(r.client.to(r.server, v6, packet{proto: c.proto, sport: 1000, dport: c.port, flags: frame.TCPSyn}).build())
			// What follows on the same way, and is allowed, shows that the first has been dealt with.
			r.client.send(r.client.to(r.server, v6, packet{proto: frame.ProtoUDP, sport: 1001, dport: 5201, payload: []byte("end")}).build())
			arrived := false
			r.server.next("end", func(k *frame.Key) bool {
				arrived = arrived || k.SrcPort == 1000
				return k.SrcPort == 1001
			})
			if arrived != c.arrives {
				t.Errorf("%s, protocol %d port %d, IPv6 %v: arrived %v", c.to, c.proto, c.port, v6, arrived)
			}
			r.balanced()
		}
	}
}

// testToGuest drops at the receiver's insertion point what the sender's lets through, and counts it there.
func testToGuest(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy("services: {web: {tcp: 80}}\ndefault: allow\n" +
		"rules:\n  - {name: shut, from: any, to: server, service: web, direction: in, action: drop}\n")
	r.place(firewall.Fast)
	r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoTCP, dport: 80, flags: frame.TCPSyn}).build())
	s := r.balanced()
	for _, p := range s.Ports {
		if want := p.ID == portServer; (p.Dropped["rule"] == 1) != want {
			t.Errorf("%s: dropped %v", p.Name, p.Dropped)
		}
	}
	r.server.none("what its own insertion point denies", isProto(frame.ProtoTCP, 80))
}
