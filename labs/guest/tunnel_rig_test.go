package guest

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"sluice/firewall"
	"sluice/firewall/appliance"
	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vnic/roottest"
)

// steered is an appliance alone, and the test in the place of its switch.
type steered struct {
	t       *testing.T
	machine Machine
	outer   frame.Outer
	nics    [3]vnic.NIC // lan, dmz, steer
	came    chan returned
	probes  uint16
}

// returned is one frame that came out of the appliance.
type returned struct {
	nic int       // in steered.nics
	vni frame.VNI // of a steered one
	eth []byte
}

const (
	lan, dmz, steer = 0, 1, 2
	clientPort      = 1
	serverPort      = 2
)

var (
	clientMAC, serverMAC = frame.MAC{2, 0, 0, 0, 0, 0x10}, frame.MAC{2, 0, 0, 0, 0, 0x20}
	gateways             = [2]frame.MAC{{2, 0x53, 0x4c, 1, 0, 1}, {2, 0x53, 0x4c, 1, 0, 2}}
	steerMAC             = frame.MAC{2, 0x53, 0x4c, 0, 0, 9}
	switchMAC            = frame.MAC{2, 0x53, 0x4c, 2, 0, 1}

	steerOuter = frame.Outer{ // as the switch sees it
		Local: frame.AddrFrom(frame.TunnelSwitch), Peer: frame.AddrFrom(frame.TunnelAppliance), LocalMAC: switchMAC, PeerMAC: steerMAC,
	}

	steeredLab = &firewall.Inventory{
		Segments: []firewall.InvSegment{
			{
				Name: "lan", ID: 1, Prefixes: prefixes("10.10.1.0/24", "fd00:10:1::/64"),
				Gateways: addresses("10.10.1.1", "fd00:10:1::1"), GatewayMAC: gateways[lan],
			},
			{
				Name: "dmz", ID: 2, Prefixes: prefixes("10.10.2.0/24", "fd00:10:2::/64"),
				Gateways: addresses("10.10.2.1", "fd00:10:2::1"), GatewayMAC: gateways[dmz],
			},
		},
		Guests: []firewall.InvGuest{
			{Name: "client", VNICs: []firewall.InvVNIC{{Port: clientPort, Segment: 1, MAC: clientMAC, Addrs: addresses("10.10.1.10", "fd00:10:1::10")}}},
			{Name: "server", VNICs: []firewall.InvVNIC{{Port: serverPort, Segment: 2, MAC: serverMAC, Addrs: addresses("10.10.2.10", "fd00:10:2::10")}}},
		},
	}
)

func prefixes(s ...string) (out []netip.Prefix) {
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func addresses(s ...string) (out []netip.Addr) {
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// bootSteered boots an appliance with a vNIC on each segment and one for steered frames, and hears them.
func bootSteered(t *testing.T, kind Kind) *steered {
	s := &steered{t: t, came: make(chan returned, 4096), outer: steerOuter, machine: bootAppliance(t, kind)}
	for i := range s.nics {
		s.open(i)
	}
	return s
}

// bootAppliance boots an appliance with a vNIC on each segment and one for steered frames, whose wires end in the
// test's namespace.
func bootAppliance(t *testing.T, kind Kind) Machine {
	img := testImage(t)
	roottest.Namespace(t)
	spec := Spec{
		Lab: "sl-guest-steered", Name: "fw", Kind: kind, Dir: t.TempDir(), Image: img, Accel: TCG, Appliance: true,
		NICs: []NIC{
			{Name: "eth0", MAC: gateways[lan], MTU: 1500, Addrs: prefixes("10.10.1.1/24", "fd00:10:1::1/64")},
			{Name: "eth1", MAC: gateways[dmz], MTU: 1500, Addrs: prefixes("10.10.2.1/24", "fd00:10:2::1/64")},
			{Name: firewall.SteerNIC, MAC: steerMAC, MTU: frame.SteerMTU,
				Addrs: []netip.Prefix{netip.PrefixFrom(frame.TunnelAppliance, frame.TunnelNet.Bits())}},
		},
		Neighbours: []appliance.Neighbour{
			{NIC: firewall.SteerNIC, Addr: frame.TunnelSwitch, MAC: net.HardwareAddr(switchMAC[:]).String()},
		},
	}
	for i := range spec.NICs {
		if kind == NetNS {
			break
		}
		tap, err := vnic.NewTAP(wireName(i), frame.OffloadNone)
		if err != nil {
			t.Fatal(err)
		}
		spec.NICs[i].TAP = tap
	}
	return boot(t, spec, func(m Machine) {
		plugVeths(t, m, spec, wireName)
		for i, n := range spec.NICs {
			if err := vnic.SetMTU(wireName(i), n.MTU); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func wireName(i int) string { return fmt.Sprintf("sl-steer-%d", i) }

// open hears one wire until the test ends.
func (s *steered) open(i int) {
	nic, err := vnic.OpenPacket(wireName(i))
	if err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	s.t.Cleanup(func() {
		nic.Close()
		<-ended
	})
	s.nics[i] = nic
	go func() {
		defer close(ended)
		var b frame.Batch
		for nic.ReadBatch(&b) == nil {
			for j := range b.Frames[:b.N] {
				s.hear(i, &b.Frames[j])
			}
		}
	}()
}

// hear takes what the appliance has sent. Of the steer vNIC's frames only the tunnel's are of interest, and the probes
// that were routed.
func (s *steered) hear(nic int, f *frame.Frame) {
	var ticket frame.Ticket
	r := returned{nic: nic}
	if nic == steer {
		vni, has, ok := f.Unwrap(&s.outer, &ticket)
		if has {
			s.t.Error("a ticket from a kernel")
		}
		if r.vni = vni; !ok {
			r.vni = 0
		}
	}
	r.eth = slices.Clone(f.Eth())
	select {
	case s.came <- r:
	default:
	}
}

// send steers a frame of a port.
func (s *steered) send(session uint8, port frame.PortID, f *frame.Frame) {
	s.t.Helper()
	f.Wrap(&s.outer, frame.NewVNI(session, port, false), nil, 40000)
	s.write(steer, f)
}

func (s *steered) write(nic int, f *frame.Frame) {
	s.t.Helper()
	if n, err := s.nics[nic].WriteBatch([]*frame.Frame{f}); n != 1 || err != nil {
		s.t.Fatalf("sent %d, %v", n, err)
	}
}

// exchange steers frames of a port and gives what has come back by the time that a probe behind them has.
func (s *steered) exchange(session uint8, port frame.PortID, frames ...*frame.Frame) (got []returned) {
	s.t.Helper()
	for _, f := range frames {
		s.send(session, port, f)
	}
	s.probes++
	marker := s.probe(frame.ProbeUntracked, s.probes)
	eth := slices.Clone(marker.Eth())
	s.send(session, 0, marker)
	deadline := time.After(20 * time.Second)
	for {
		select {
		case r := <-s.came:
			switch {
			case r.vni == frame.NewVNI(session, 0, true) && slices.Equal(r.eth, eth):
				return got
			case r.nic == steer:
				got = append(got, r)
			}
		case <-deadline:
			s.t.Fatalf("the probe of session %d does not come back; %d others did", session, len(got))
		}
	}
}

// probe is the switch's probe: a UDP packet from nobody, with a number in it.
func (s *steered) probe(sport, number uint16) *frame.Frame {
	eth := &layers.Ethernet{SrcMAC: switchMAC[:], DstMAC: steerMAC[:], EthernetType: layers.EthernetTypeIPv4}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: frame.TunnelProbe.AsSlice(), DstIP: frame.TunnelSwitch.AsSlice()}
	udp := &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: frame.GenevePort}
	_ = udp.SetNetworkLayerForChecksum(ip)
	return serialize(eth, ip, udp, gopacket.Payload(binary.BigEndian.AppendUint16(nil, number)))
}

func (s *steered) policy(text string) *firewall.Policy {
	s.t.Helper()
	p, err := firewall.Load("policy.yaml", []byte(text), steeredLab)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (s *steered) apply(p *firewall.Policy) {
	s.t.Helper()
	script, err := p.NFT(firewall.NFTOptions{Bridge: true})
	if err == nil {
		err = s.machine.Agent().ApplyNFT(s.t.Context(), script)
	}
	if err != nil {
		s.t.Fatalf("%v\n%s", err, script)
	}
}

func (s *steered) steer(session uint8, ports ...frame.PortID) {
	s.t.Helper()
	if err := s.machine.Agent().Steer(s.t.Context(), firewall.SteerSpec{Session: session, Ports: ports}); err != nil {
		s.t.Fatal(err)
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
