package guest

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/google/gopacket/layers"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// testLongFrames steers frames as long as may be, whose checksum nobody has finished.
func testLongFrames(t *testing.T, s *steered) {
	sport := 2000
	for _, ends := range [][2]string{{"client", "server"}, {"client6", "server6"}} {
		for _, length := range []int{60000, frame.MaxSteered} {
			sport++
			flow := fmt.Sprintf("%s > %s tcp %d 80", ends[0], ends[1], sport)
			syn := s.one(7, clientPort, packet(flow+" S"))
			answer := s.one(7, serverPort, packet(fmt.Sprintf("%s > %s tcp 80 %d SA", ends[1], ends[0], sport)))
			if syn != passed || answer != passed {
				t.Fatalf("%s: %s, its answer: %s", flow, syn, answer)
			}
			l4 := packet(flow+" A").Len - 20
			f := packet(fmt.Sprintf("%s A %d", flow, length-l4-20))
			whole := frame.From(f.Eth())
			binary.BigEndian.PutUint16(f.Eth()[l4+16:], pseudoSum(f.Eth(), l4))
			f.Vnet().SetChecksum(l4, 16)
			s.send(7, clientPort, f)
			// The appliance's GRO holds data of TCP back for a moment, so that a probe would overtake it.
			came := s.hearOne(func(r returned) bool { return r.nic == steer })
			if got := outcome(7, clientPort, whole, []returned{came}); got != passed || whole.Len != length {
				t.Errorf("%s with %d of %d bytes: %.60s", flow, whole.Len, length, got)
			}
		}
	}
}

// testFragments: what conntrack puts together to judge it leaves in pieces again.
func testFragments(t *testing.T, s *steered) {
	for _, c := range []struct {
		what string
		want int
	}{{"client > server echo 5", 2}, {"server > client echo 5", 0}} {
		port := frame.PortID(clientPort)
		if c.want == 0 {
			port = serverPort
		}
		whole := packet(c.what).Eth()
		whole = append(whole, make([]byte, 1000)...)
		binary.BigEndian.PutUint16(whole[36:], 0)
		binary.BigEndian.PutUint16(whole[36:], ^onesSum(whole[34:]))
		got := s.exchange(7, port, fragment(whole, 0, 504, true), fragment(whole, 504, len(whole)-34, false))
		if len(got) != c.want {
			t.Errorf("%s in two pieces: %d frames, want %d", c.what, len(got), c.want)
		}
		for _, r := range got {
			if !r.vni.Back() || len(r.eth) > 600 {
				t.Errorf("%s: VNI %x, %d bytes", c.what, r.vni, len(r.eth))
			}
		}
	}
}

// testProbes: probes come back, in the tunnel and routed, and leave no flow to be carried.
func testProbes(t *testing.T, s *steered) {
	for i, sport := range []uint16{frame.ProbeUntracked, 2, 3, 65535} {
		if got := s.one(7, 0, s.probe(sport, uint16(1000+i))); got != passed {
			t.Errorf("from port %d in the tunnel: %s", sport, got)
		}
		f := s.probe(sport, uint16(2000+i))
		copy(f.Eth(), gateways[lan][:])
		s.write(lan, f)
		routed := s.hearOne(func(r returned) bool { return r.nic == steer && r.vni == 0 })
		if string(routed.eth[:12]) != string(switchMAC[:])+string(steerMAC[:]) || binary.BigEndian.Uint16(routed.eth[42:]) != uint16(2000+i) {
			t.Errorf("from port %d, routed: %x", sport, routed.eth)
		}
	}
	if got := s.one(7, clientPort, s.probe(frame.ProbeUntracked, 1)); got != dropped {
		t.Errorf("a probe from a guest: %s", got)
	}
	if got := s.one(7, 0, packet("client > server tcp 1000 80 S")); got != dropped {
		t.Errorf("a guest's frame in the place of a probe: %s", got)
	}
	tracked := shell(t, s.machine, "conntrack -L 2>/dev/null | grep 169.254.83 | sort")
	if n := strings.Count(tracked, "\n"); n != 3 || strings.Contains(tracked, "sport=1 ") || strings.Contains(tracked, "169.254.83.2") {
		t.Errorf("conntrack has %s", tracked)
	}
	flows, err := s.machine.Agent().Flows(t.Context())
	if err != nil || len(flows) != 0 {
		t.Errorf("flows %v, %v", flows, err)
	}
}

// testGuards: nothing but the tunnel and the probe gets out or in by the steer vNIC, whatever the policy.
func testGuards(t *testing.T, s *steered) {
	s.apply(s.policy("default: allow\nrules: []\n"))
	for _, c := range []struct {
		what string
		nic  int
		f    *frame.Frame
	}{
		{"what a guest sends to the switch's end", lan, packet("client > 169.254.83.1 udp 6081 6081")},
		{"GENEVE that a guest forges", lan, packet("169.254.83.2 > 169.254.83.1 udp 6081 6081")},
		{"GENEVE that a guest sends to the appliance", lan, packet("client > 169.254.83.2 udp 6081 6081")},
		{"a ping to the appliance", steer, toSteer(packet("169.254.83.1 > 169.254.83.2 echo 1"))},
		{"a ping through the appliance", steer, toSteer(packet("169.254.83.1 > server echo 1"))},
		{"a question for an address", steer, serialize(ethernet(switchMAC, broadcast, layers.EthernetTypeARP), &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
			SourceHwAddress: switchMAC[:], SourceProtAddress: []byte{10, 9, 9, 9}, DstHwAddress: make([]byte, 6), DstProtAddress: []byte{10, 9, 9, 8},
		})},
	} {
		s.write(c.nic, c.f)
		// What is routed may overtake what is steered, so the second marker waits for the first.
		s.exchange(7, clientPort)
		for _, r := range s.exchange(7, clientPort) {
			t.Errorf("%s: %x, VNI %x", c.what, r.eth, r.vni)
		}
	}
}

// testSessions begins and ends sessions beside one that goes on.
func testSessions(t *testing.T, s *steered) {
	const flow = "client > server tcp 4000 80 S"
	agent := s.machine.Agent()
	s.steer(8, clientPort)
	s.steer(8, clientPort, serverPort)
	s.steer(8, clientPort, serverPort, serverPort)
	for _, session := range []uint8{7, 8} {
		if got := s.one(session, clientPort, packet(flow)); got != passed {
			t.Errorf("session %d: %s", session, got)
		}
		if got := s.one(session, serverPort, packet("server > client tcp 80 4000 SA")); got != passed {
			t.Errorf("session %d, the reply: %s", session, got)
		}
	}
	back := packet(flow)
	back.Wrap(&s.outer, frame.NewVNI(8, clientPort, true), nil, 40000)
	s.write(steer, back)
	if got := s.exchange(8, clientPort); len(got) != 0 {
		t.Errorf("what says that it was let through already: %d frames", len(got))
	}
	plain, err := s.policy(steeredPolicy).NFT(firewall.NFTOptions{Steer: true})
	if err == nil {
		err = agent.ApplyNFT(t.Context(), plain)
	}
	if err == nil || !strings.Contains(err.Error(), "steered") {
		t.Errorf("rules for no bridge while frames are steered: %v", err)
	}
	for range 2 {
		if err := agent.EndSteer(t.Context(), 7); err != nil {
			t.Fatal(err)
		}
	}
	s.send(7, clientPort, packet(flow))
	s.send(7, 0, s.probe(frame.ProbeUntracked, 9))
	if got := s.exchange(8, clientPort); len(got) != 0 {
		t.Errorf("%d frames of an ended session", len(got))
	}
	if got := s.one(8, clientPort, packet(flow)); got != passed {
		t.Errorf("the session that goes on: %s", got)
	}
	for _, bad := range []firewall.SteerSpec{{}, {Session: 9, Ports: []frame.PortID{0}}, {Session: 9, Ports: []frame.PortID{frame.MaxSteerPort + 1}}} {
		if err := agent.Steer(context.Background(), bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if err := agent.EndSteer(t.Context(), 8); err != nil {
		t.Fatal(err)
	}
	if out := shell(t, s.machine, "ip -br link"); strings.Contains(out, "-br") || strings.Contains(out, "in7") || strings.Contains(out, "in8") {
		t.Errorf("devices are left: %s", out)
	}
}
