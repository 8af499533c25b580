package guest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"sluice/firewall"
	"sluice/vnic/frame"
)

const steeredPolicy = `
services:
  ping: {icmp: echo}
  web: {tcp: [80, 7777]}
  closed: [{tcp: 81}, {udp: 81}]
default: drop
rules:
  - {name: gateway, from: client, to: [10.10.1.1, "fd00:10:1::1"], direction: out, service: ping, action: allow}
  - {name: ping, from: client, to: server, service: ping, action: allow}
  - {name: web, from: client, to: server, service: web, action: allow}
  - {name: closed, from: client, to: server, service: closed, action: reject}
`

// TestRootTunnelNeedsParts: an appliance whose kernel cannot says so, and what it lacks. (The host's may be able.)
func TestRootTunnelNeedsParts(t *testing.T) {
	s := bootSteered(t, NetNS)
	script, err := s.policy(steeredPolicy).NFT(firewall.NFTOptions{Steer: true})
	if err == nil {
		err = s.machine.Agent().ApplyNFT(t.Context(), script)
	}
	if err != nil {
		t.Fatalf("without the bridge's rules: %v\n%s", err, script)
	}
	err = s.machine.Agent().Steer(t.Context(), firewall.SteerSpec{Session: 1, Ports: []frame.PortID{1}})
	if !errors.Is(err, errors.ErrUnsupported) {
		s.apply(s.policy(steeredPolicy))
		s.steer(1, clientPort)
		if got := s.exchange(1, clientPort, packet("client > server tcp 1000 80 S")); len(got) != 1 {
			t.Errorf("%d frames", len(got))
		}
		return
	}
	t.Log(err)
	if !strings.Contains(err.Error(), "kernel: its nftables cannot") && !strings.Contains(err.Error(), "kernel: it has no") {
		t.Errorf("%v does not say what is missing", err)
	}
	if out := shell(t, s.machine, "ip link"); strings.Contains(out, "geneve") || strings.Contains(out, "test-") {
		t.Errorf("devices are left: %s", out)
	}
}

// TestLabTunnel has the test play the switch before a QEMU appliance.
func TestLabTunnel(t *testing.T) {
	s := bootSteered(t, QEMU)
	err := s.machine.Agent().Steer(t.Context(), firewall.SteerSpec{Session: 7})
	if err == nil || errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("steering before there are rules: %v", err)
	}
	s.apply(s.policy(steeredPolicy))
	begun := time.Now()
	s.steer(7, clientPort, serverPort)
	t.Log("steering after", time.Since(begun))
	for _, c := range []struct {
		name string
		test func(*testing.T, *steered)
	}{
		{"verdicts", testVerdicts},
		{"long frames", testLongFrames},
		{"fragments", testFragments},
		{"probes", testProbes},
		{"guards", testGuards},
		{"as the engine", testAsEngine},
		{"sessions", testSessions},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.t = t
			s.apply(s.policy(steeredPolicy))
			if err := s.machine.Agent().FlushFlows(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.test(t, s)
		})
	}
}

// What may become of a frame.
const (
	passed  = "passed"
	dropped = "dropped"
	tcpRST  = "TCP reset"
	icmpNo  = "ICMP prohibited"
)

// outcome says what became of one frame that was steered.
func outcome(session uint8, port frame.PortID, f *frame.Frame, got []returned) string {
	switch {
	case len(got) == 0:
		return dropped
	case len(got) > 1:
		return fmt.Sprintf("%d frames", len(got))
	case got[0].vni == frame.NewVNI(session, port, true):
		if !bytes.Equal(got[0].eth, f.Eth()) {
			return fmt.Sprintf("passed as %x, not %x", got[0].eth, f.Eth())
		}
		return passed
	case got[0].vni != frame.NewVNI(session, port, false):
		return fmt.Sprintf("VNI %x", got[0].vni)
	}
	p := gopacket.NewPacket(got[0].eth, layers.LayerTypeEthernet, gopacket.Default)
	eth := p.LinkLayer().(*layers.Ethernet)
	if !bytes.Equal(eth.DstMAC, f.Eth()[6:12]) || !bytes.Equal(eth.SrcMAC, f.Eth()[:6]) {
		return "an answer to " + eth.DstMAC.String()
	}
	switch l := p.Layers()[2].(type) {
	case *layers.TCP:
		if l.RST {
			return tcpRST
		}
	case *layers.ICMPv4:
		if l.TypeCode == layers.CreateICMPv4TypeCode(3, 13) {
			return icmpNo
		}
	case *layers.ICMPv6:
		if l.TypeCode == layers.CreateICMPv6TypeCode(1, 1) {
			return icmpNo
		}
	}
	return p.String()
}

// one steers one frame and says what has become of it.
func (s *steered) one(session uint8, port frame.PortID, f *frame.Frame) string {
	s.t.Helper()
	sent := frame.From(f.Eth())
	return outcome(session, port, sent, s.exchange(session, port, f))
}

func testVerdicts(t *testing.T, s *steered) {
	for _, c := range []struct {
		what string
		port frame.PortID
		want string
	}{
		{"client > server tcp 1000 80 S", clientPort, passed},
		{"server > client tcp 80 1000 SA", serverPort, passed},
		{"client > server tcp 1000 80 A", clientPort, passed},
		{"client > server tcp 1001 80 A", clientPort, dropped}, // of no connection
		{"client > server tcp 1000 23 S", clientPort, dropped},
		{"server > client tcp 80 1001 SA", serverPort, dropped},
		{"client > server tcp 1000 81 S", clientPort, tcpRST},
		{"client > server udp 1000 81", clientPort, icmpNo},
		{"client6 > server6 tcp 1000 80 S", clientPort, passed},
		{"server6 > client6 tcp 80 1000 SA", serverPort, passed},
		{"server6 > client6 tcp 80 1001 SA", serverPort, dropped},
		{"client6 > server6 tcp 1000 81 S", clientPort, tcpRST},
		{"client6 > server6 udp 1000 81", clientPort, icmpNo},
		{"client > server echo 1", clientPort, passed},
		{"server > client echo-reply 1", serverPort, passed},
		{"server > client echo-reply 2", serverPort, dropped},
		{"client6 > server6 echo 1", clientPort, passed},
		{"server6 > client6 echo-reply 1", serverPort, passed},
		{"client > 10.10.1.1 echo 1", clientPort, passed}, // allowed out; the gateway has no to-guest
		{"client6 > fd00:10:1::1 echo 1", clientPort, passed},
		{"server > client echo 1", serverPort, dropped},
	} {
		if got := s.one(7, c.port, packet(c.what)); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
	toServer := packet("client > 10.10.1.1 echo 2")
	copy(toServer.Eth(), serverMAC[:])
	for _, c := range []struct {
		what string
		f    *frame.Frame
		want string
	}{
		{"ARP", serialize(ethernet(clientMAC, broadcast, layers.EthernetTypeARP), &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
			SourceHwAddress: clientMAC[:], SourceProtAddress: []byte{10, 10, 1, 10}, DstHwAddress: make([]byte, 6), DstProtAddress: []byte{10, 10, 1, 1},
		}), passed},
		{"a neighbour solicitation", icmp6("fd00:10:1::10", "ff02::1:ff00:1", 255, 135), passed},
		{"one to a neighbour", icmp6("fd00:10:1::10", "fd00:10:1::11", 255, 135), passed},
		{"one that a router let through", icmp6("fd00:10:1::10", "ff02::1:ff00:1", 254, 135), dropped},
		{"one to another segment", icmp6("fd00:10:1::10", "fd00:10:2::10", 255, 135), dropped},
		{"group membership", icmp6("fe80::1", "ff02::16", 1, 143), passed},
		{"group membership from afar", icmp6("fe80::1", "ff02::16", 64, 143), dropped},
		{"no IP", serialize(ethernet(clientMAC, serverMAC, 0x88b5), gopacket.Payload(make([]byte, 50))), dropped},
		{"802.3", serialize(ethernet(clientMAC, serverMAC, layers.EthernetTypeLLC), gopacket.Payload(make([]byte, 50))), dropped},
		{"a VLAN tag", tagged(packet("client > server tcp 1003 80 S")), dropped},
		{"the gateway's address at another's MAC", toServer, dropped},
	} {
		if got := s.one(7, clientPort, c.f); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
	s.apply(s.policy("default: allow\nrules: []\n"))
	if got := s.one(7, clientPort, serialize(ethernet(clientMAC, serverMAC, 0x88b5), gopacket.Payload(make([]byte, 50)))); got != passed {
		t.Errorf("no IP where everything is allowed: %s", got)
	}
}

var broadcast = frame.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func ethernet(src, dst frame.MAC, kind layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: src[:], DstMAC: dst[:], EthernetType: kind}
}

func icmp6(src, dst string, hops, kind uint8) *frame.Frame {
	ip := &layers.IPv6{Version: 6, HopLimit: hops, NextHeader: layers.IPProtocolICMPv6, SrcIP: netip.MustParseAddr(src).AsSlice(), DstIP: netip.MustParseAddr(dst).AsSlice()}
	i := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	_ = i.SetNetworkLayerForChecksum(ip)
	return serialize(ethernet(clientMAC, frame.MAC{0x33, 0x33, 0, 0, 0, 1}, layers.EthernetTypeIPv6), ip, i, gopacket.Payload(make([]byte, 20)))
}

func tagged(f *frame.Frame) *frame.Frame {
	b := f.Eth()
	return frame.From(append(append(bytes.Clone(b[:12]), 0x81, 0, 0, 5), b[12:]...))
}

// testLongFrames steers frames as long as may be, whose checksum nobody has finished.
func testLongFrames(t *testing.T, s *steered) {
	for _, c := range []struct {
		flow string
		size int
	}{
		{"client > server tcp 2000 80 A", 60000 - 54},
		{"client6 > server6 tcp 2000 80 A", 60000 - 74},
		{"client > server tcp 2000 80 A", frame.MaxSteered - 54},
		{"client6 > server6 tcp 2000 80 A", frame.MaxSteered - 74},
	} {
		start := strings.Replace(c.flow, " A", " S", 1)
		if got := s.one(7, clientPort, packet(start)); got != passed {
			t.Fatalf("%s: %s", start, got)
		}
		f := packet(fmt.Sprintf("%s %d", c.flow, c.size))
		whole := frame.From(f.Eth())
		l4 := f.Len - c.size - 20
		binary.BigEndian.PutUint16(f.Eth()[l4+16:], pseudoSum(f.Eth(), l4))
		f.Vnet().SetChecksum(l4, 16)
		if got := outcome(7, clientPort, whole, s.exchange(7, clientPort, f)); got != passed {
			t.Errorf("%s with %d bytes: %.60s", c.flow, c.size, got)
		}
		s.exchange(7, clientPort, packet(strings.Replace(c.flow, " A", " R", 1)))
	}
}

// pseudoSum is what a sender that leaves its checksum open puts there.
func pseudoSum(eth []byte, l4 int) uint16 {
	addrs := eth[26:34]
	if binary.BigEndian.Uint16(eth[12:]) == frame.EtherIPv6 {
		addrs = eth[22:54]
	}
	sum := uint32(frame.ProtoTCP) + uint32(len(eth)-l4)
	for i := 0; i < len(addrs); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(addrs[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
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

func onesSum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// fragment is a piece of an IPv4 packet without options.
func fragment(eth []byte, from, to int, more bool) *frame.Frame {
	f := frame.From(append(bytes.Clone(eth[:34]), eth[34+from:34+to]...))
	ip := f.Eth()[14:]
	binary.BigEndian.PutUint16(ip[2:], uint16(20+to-from))
	at := uint16(from / 8)
	if more {
		at |= 1 << 13
	}
	binary.BigEndian.PutUint16(ip[4:], 77)
	binary.BigEndian.PutUint16(ip[6:], at)
	frame.SetIPv4Checksum(ip)
	return f
}

// testProbes: probes come back, in the tunnel and routed, and leave no flow to be carried.
func testProbes(t *testing.T, s *steered) {
	for i, sport := range []uint16{firewall.ProbeUntracked, 2, 3, 65535} {
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
	if got := s.one(7, clientPort, s.probe(firewall.ProbeUntracked, 1)); got != dropped {
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

// hearOne waits for a frame.
func (s *steered) hearOne(what func(returned) bool) returned {
	s.t.Helper()
	for deadline := time.After(20 * time.Second); ; {
		select {
		case r := <-s.came:
			if what(r) {
				return r
			}
		case <-deadline:
			s.t.Fatal("nothing comes")
		}
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

func toSteer(f *frame.Frame) *frame.Frame {
	copy(f.Eth(), steerMAC[:])
	copy(f.Eth()[6:], switchMAC[:])
	return f
}

// testAsEngine compares the verdicts of nft's bridge family with those of the engine, for first packets of flows.
func testAsEngine(t *testing.T, s *steered) {
	reference, err := os.ReadFile("../03-fast-vs-slow/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"reference": string(reference),
		"a test's":  steeredPolicy,
		"reject":    strings.Replace(string(reference), "default: drop", "default: reject", 1),
		"allow":     "services: {web: {tcp: 80}}\ndefault: allow\nrules:\n  - {name: no, service: web, applied-to: [server], direction: in, action: drop}\n",
		"excluded":  strings.Replace(string(reference), "default: drop", "default: drop\nexclude: [client, server]", 1),
		"half":      strings.Replace(string(reference), "default: drop", "default: drop\nexclude: [client]", 1),
	} {
		p := s.policy(text)
		s.apply(p)
		if err := s.machine.Agent().FlushFlows(t.Context()); err != nil {
			t.Fatal(err)
		}
		sport, seen := 3000, map[string]int{}
		for _, ends := range []string{"client > server", "server > client", "client6 > server6", "server6 > client6", "client > 10.10.2.77", "10.10.1.77 > server"} {
			for _, what := range []string{"tcp %d 80 S", "tcp %d 81 S", "tcp %d 23 S", "tcp %d 7777 S", "tcp %d 5201 S", "udp %d 5201", "udp %d 81", "udp %d 53", "echo %d", "proto 47"} {
				if sport++; strings.Contains(what, "%d") {
					what = fmt.Sprintf(what, sport)
				}
				f, port := packet(ends+" "+what), frame.PortID(clientPort)
				if strings.HasPrefix(ends, "server") {
					port = serverPort
				}
				want := expected(p, f)
				seen[want]++
				if got := s.one(7, port, f); got != want {
					t.Errorf("policy %s, %s %s: nft says %s, the engine %s", name, ends, what, got, want)
				}
			}
		}
		t.Log(name, seen)
	}
}

// expected is what the engine's evaluation says of a flow's first packet.
func expected(p *firewall.Policy, f *frame.Frame) string {
	var k frame.Key
	if r := frame.Parse(f, &k); r != frame.ReasonNone {
		return r.String()
	}
	d := p.Evaluate(firewall.Tuple{
		Proto: k.Proto, Src: netip.AddrPortFrom(k.Src.IP(), k.SrcPort), Dst: netip.AddrPortFrom(k.Dst.IP(), k.DstPort), ICMPType: k.ICMPType,
	})
	switch {
	case d.Action == firewall.RuleAllow:
		return passed
	case d.Action == firewall.RuleDrop:
		return dropped
	case k.Proto == frame.ProtoTCP:
		return tcpRST
	}
	return icmpNo
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
	s.send(7, 0, s.probe(firewall.ProbeUntracked, 9))
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
