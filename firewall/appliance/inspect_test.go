package appliance

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/firewall/inspect"
	"sluice/vnic/frame"
)

var eicar = inspect.EICAR()

var (
	webServer = netip.MustParseAddrPort("10.10.2.10:80")
	webClient = netip.MustParseAddrPort("10.10.1.10:40000")
)

// tcpFrame is an Ethernet frame with a TCP segment, its checksum left open as guests do.
func tcpFrame(from, to netip.AddrPort, flags uint8, seq, ack uint32, payload []byte) []byte {
	b := make([]byte, frame.MinLen+40+len(payload))
	frame.PutEth(b, frame.MAC{2, 2}, frame.MAC{2, 1}, frame.EtherIPv4)
	frame.PutIPv4(b[frame.MinLen:], frame.AddrFrom(from.Addr()), frame.AddrFrom(to.Addr()), frame.ProtoTCP, 64, 40+len(payload))
	l4 := b[frame.MinLen+20:]
	binary.BigEndian.PutUint16(l4, from.Port())
	binary.BigEndian.PutUint16(l4[2:], to.Port())
	binary.BigEndian.PutUint32(l4[4:], seq)
	binary.BigEndian.PutUint32(l4[8:], ack)
	l4[12], l4[13] = 5<<4, flags
	copy(l4[20:], payload)
	return b
}

// steered is a datagram as the switch sends it.
func steered(vni frame.VNI, t frame.Ticket, eth []byte) []byte {
	d := make([]byte, frame.GeneveRoom+len(eth))
	frame.PutGeneve(d, vni, &t)
	copy(d[frame.GeneveRoom:], eth)
	return d
}

// openVnet is the virtio_net_hdr of a TCP segment that is as long as its guest's kernel likes.
func openVnet() (v frame.Vnet) {
	v.SetChecksum(34, 16)
	v.SetGSO(frame.GSOTCPv4, 1448, 54)
	return v
}

const session = 7

// TestAnswer is what becomes of datagrams that are, and are not, of a session.
func TestAnswer(t *testing.T) {
	vni := frame.NewVNI(session, 3, false)
	ticket := frame.Ticket{Seq: 9, Cookie: 1 << 60, Port: 3, Vnet: openVnet()}
	eth := tcpFrame(webClient, webServer, frame.TCPAck, 1, 1, []byte("GET / "))
	option := steered(vni, ticket, eth)
	option[0]++ // one more option than we send
	control := steered(vni, ticket, eth)
	control[1] |= 0x80
	for _, c := range []struct {
		name string
		d    []byte
		word frame.Verdict
	}{
		{"a frame", steered(vni, ticket, eth), frame.VerdictPass},
		{"a virus", steered(vni, ticket, tcpFrame(webClient, webServer, frame.TCPAck, 7, 1, eicar)), frame.VerdictReset},
		{"a probe", steered(frame.NewVNI(session, 0, false), frame.Ticket{Seq: 1}, make([]byte, 14)), frame.VerdictPass},
		{"an empty probe", steered(frame.NewVNI(session, 0, false), frame.Ticket{Seq: 1}, nil), frame.VerdictPass},
		{"another session", steered(frame.NewVNI(8, 3, false), ticket, eth), 0},
		{"a probe of another session", steered(frame.NewVNI(8, 0, false), frame.Ticket{}, eth), 0},
		{"session 0", steered(frame.NewVNI(0, 3, false), ticket, eth), 0},
		{"another port", steered(frame.NewVNI(session, 4, false), ticket, eth), 0},
		{"a ticket of another port", steered(vni, frame.Ticket{Port: 4}, eth), 0},
		{"a frame that came back", steered(frame.NewVNI(session, 3, true), ticket, eth), 0},
		{"a frame that was judged", steered(vni, frame.Ticket{Port: 3, Verdict: frame.VerdictPass}, eth), 0},
		{"no ticket", append([]byte{0, 0, 0x65, 0x58, session, 0, 3, 0}, eth...), 0},
		{"another option", option, 0},
		{"control", control, 0},
		{"half a header", steered(vni, ticket, eth)[:20], 0},
		{"half a frame", steered(vni, ticket, eth[:13]), 0},
		{"nothing", nil, 0},
	} {
		n := &Inspection{inspector: inspect.New(inspect.Default(), time.Now())}
		ports := &portSet{}
		ports.add(3)
		n.sessions[session] = ports
		asked := bytes.Clone(c.d)
		got := n.answer(time.Now(), c.d)
		if c.word == frame.VerdictNone {
			if got != nil || n.counts.refused != 1 {
				t.Errorf("%s: answered with %d bytes, %d refused", c.name, len(got), n.counts.refused)
			}
			continue
		}
		var was, is frame.Ticket
		before, _, _, _ := frame.ParseGeneve(asked, &was)
		after, size, has, ok := frame.ParseGeneve(got, &is)
		if !ok || !has || !after.Back() || after.Port() != before.Port() || after.Session() != session || is.Verdict != c.word {
			t.Errorf("%s: %x, %+v", c.name, after, is)
		}
		is.Verdict = frame.VerdictNone
		if c.word == frame.VerdictPass && (is != was || !bytes.Equal(got[size:], asked[size:])) {
			t.Errorf("%s: it has changed: %+v, was %+v", c.name, is, was)
		}
		if c.word == frame.VerdictReset && (len(got) != size+54 || is.Seq != was.Seq || is.Vnet != (frame.Vnet{})) {
			t.Errorf("%s: %d bytes, %+v", c.name, len(got)-size, is)
		}
	}
}

func TestInspectionRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		spec firewall.SteerSpec
	}{
		{"session 0", firewall.SteerSpec{Inspect: true}},
		{"no inspection", firewall.SteerSpec{Session: 1}},
		{"port 0", firewall.SteerSpec{Session: 1, Inspect: true, Ports: []frame.PortID{0}}},
		{"a port too high", firewall.SteerSpec{Session: 1, Inspect: true, Ports: []frame.PortID{frame.MaxSteerPort + 1}}},
		{"no vNIC", firewall.SteerSpec{Session: 1, Inspect: true, Ports: []frame.PortID{1}}},
	} {
		n := &Inspection{}
		if err := n.Steer(c.spec); err == nil {
			t.Errorf("%s: no error", c.name)
		}
	}
	n := &Inspection{}
	if err := n.Configure(InspectConfig{Signatures: "signatures: {}"}); err == nil || !strings.Contains(err.Error(), ":1:13: ") {
		t.Errorf("a bad signature file: %v", err)
	}
	if err := n.EndSteer(9); err != nil {
		t.Error(err)
	}
}

// FuzzAnswer: nothing in a datagram harms the inspector, and what is not of the session gets nothing.
func FuzzAnswer(f *testing.F) {
	vni := frame.NewVNI(session, 3, false)
	f.Add(steered(vni, frame.Ticket{Port: 3, Vnet: openVnet()}, tcpFrame(webClient, webServer, frame.TCPAck, 7, 1, eicar)))
	f.Add(steered(frame.NewVNI(session, 0, false), frame.Ticket{}, nil))
	f.Fuzz(func(t *testing.T, d []byte) {
		n := &Inspection{inspector: inspect.New(inspect.Default(), time.Unix(0, 0))}
		ports := &portSet{}
		ports.add(3)
		n.sessions[session] = ports
		asked := bytes.Clone(d)
		for range 2 {
			got := n.answer(time.Unix(1, 0), bytes.Clone(asked))
			if got == nil {
				continue
			}
			var was, is frame.Ticket
			before, _, _, ok := frame.ParseGeneve(asked, &was)
			after, size, has, ok2 := frame.ParseGeneve(got, &is)
			if !ok || !ok2 || !has || before.Session() != session || before.Back() || !after.Back() ||
				is.Verdict == 0 || is.Seq != was.Seq || len(got) > len(asked) {
				t.Fatalf("%x\nbecame %x", asked, got)
			}
			if is.Verdict <= frame.VerdictClean && !bytes.Equal(got[size:], asked[size:]) {
				t.Fatalf("%x\npassed as %x", asked, got)
			}
		}
	})
}

// FuzzUnpack: whatever packet comes, what is taken from it lies in it, behind a UDP header.
func FuzzUnpack(f *testing.F) {
	packet := func(port uint16, n int) []byte {
		b := make([]byte, 28+n)
		frame.PutIPv4(b, frame.AddrFrom(frame.TunnelSwitch), frame.AddrFrom(frame.TunnelAppliance), frame.ProtoUDP, 64, len(b))
		binary.BigEndian.PutUint16(b[22:], port)
		binary.BigEndian.PutUint16(b[24:], uint16(8+n))
		return b
	}
	f.Add(packet(frame.GenevePort, 60))
	f.Add(packet(53, 60))
	f.Add(packet(frame.GenevePort, 60)[:40])
	f.Fuzz(func(t *testing.T, ip []byte) {
		d, udp, ok := unpack(ip)
		if !ok {
			return
		}
		if udp < 20 || udp+udpLen+len(d) > len(ip) || len(d) > 0 && &d[0] != &ip[udp+udpLen] || binary.BigEndian.Uint16(ip[udp+2:]) != frame.GenevePort {
			t.Fatalf("%x: %d bytes at %d", ip, len(d), udp)
		}
	})
}
