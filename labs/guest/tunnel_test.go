package guest

import (
	"bytes"
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
	agent, p := s.machine.Agent(), s.policy(steeredPolicy)
	for _, o := range []firewall.NFTOptions{{Steer: true}, {Bridge: true}} {
		script, err := p.NFT(o)
		if err == nil {
			err = agent.ApplyNFT(t.Context(), script)
		}
		if err != nil && (!o.Bridge || !errors.Is(err, errors.ErrUnsupported)) {
			t.Fatalf("%+v: %v\n%s", o, err, script)
		}
	}
	err := agent.Steer(t.Context(), firewall.SteerSpec{Session: 1, Ports: []frame.PortID{clientPort}})
	if err == nil {
		if got := s.one(1, clientPort, packet("client > server tcp 1000 80 S")); got != passed {
			t.Error(got)
		}
		return
	}
	t.Log(err)
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "kernel ") {
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

var (
	steeredEnds     = []string{"client > server", "server > client", "client6 > server6", "server6 > client6", "client > 10.10.2.77", "10.10.1.77 > server"}
	steeredServices = []string{
		"tcp %d 80 S", "tcp %d 81 S", "tcp %d 23 S", "tcp %d 7777 S", "tcp %d 5201 S", "udp %d 5201", "udp %d 81", "udp %d 53", "echo %d", "proto 47",
	}
)

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
		for _, ends := range steeredEnds {
			for _, what := range steeredServices {
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
