package appliance

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"sluice/firewall"
	"sluice/firewall/inspect"
	"sluice/vnic/frame"
)

// eicar is the test file's string; in hexadecimal, so that no scanner finds it here.
var eicar, _ = hex.DecodeString("58354f2150254041505b345c505a58353428505e2937434329377d244549434152" +
	"2d5354414e444152442d414e544956495255532d544553542d46494c452124482b482a")

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
		word frame.Word
	}{
		{"a frame", steered(vni, ticket, eth), frame.WordPass},
		{"a virus", steered(vni, ticket, tcpFrame(webClient, webServer, frame.TCPAck, 7, 1, eicar)), frame.WordReset},
		{"a probe", steered(frame.NewVNI(session, 0, false), frame.Ticket{Seq: 1}, make([]byte, 14)), frame.WordPass},
		{"an empty probe", steered(frame.NewVNI(session, 0, false), frame.Ticket{Seq: 1}, nil), frame.WordPass},
		{"another session", steered(frame.NewVNI(8, 3, false), ticket, eth), 0},
		{"a probe of another session", steered(frame.NewVNI(8, 0, false), frame.Ticket{}, eth), 0},
		{"session 0", steered(frame.NewVNI(0, 3, false), ticket, eth), 0},
		{"another port", steered(frame.NewVNI(session, 4, false), ticket, eth), 0},
		{"a ticket of another port", steered(vni, frame.Ticket{Port: 4}, eth), 0},
		{"a frame that came back", steered(frame.NewVNI(session, 3, true), ticket, eth), 0},
		{"a frame that was judged", steered(vni, frame.Ticket{Port: 3, Word: frame.WordPass}, eth), 0},
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
		if c.word == frame.WordNone {
			if got != nil || n.counts.refused != 1 {
				t.Errorf("%s: answered with %d bytes, %d refused", c.name, len(got), n.counts.refused)
			}
			continue
		}
		var was, is frame.Ticket
		before, _, _, _ := frame.ParseGeneve(asked, &was)
		after, size, has, ok := frame.ParseGeneve(got, &is)
		if !ok || !has || !after.Back() || after.Port() != before.Port() || after.Session() != session || is.Word != c.word {
			t.Errorf("%s: %x, %+v", c.name, after, is)
		}
		is.Word = frame.WordNone
		if c.word == frame.WordPass && (is != was || !bytes.Equal(got[size:], asked[size:])) {
			t.Errorf("%s: it has changed: %+v, was %+v", c.name, is, was)
		}
		if c.word == frame.WordReset && (len(got) != size+54 || is.Seq != was.Seq || is.Vnet != (frame.Vnet{})) {
			t.Errorf("%s: %d bytes, %+v", c.name, len(got)-size, is)
		}
	}
}

func TestSteerRefuses(t *testing.T) {
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
	if err := n.Configure(InspectConfig{Signatures: "signatures: {}"}); err == nil || !strings.Contains(err.Error(), "line 1, column 13") {
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
			if !ok || !ok2 || !has || before.Session() != session || before.Back() || !after.Back() || is.Word == 0 || is.Seq != was.Seq || len(got) > len(asked) {
				t.Fatalf("%x\nbecame %x", asked, got)
			}
			if is.Word <= frame.WordClean && !bytes.Equal(got[size:], asked[size:]) {
				t.Fatalf("%x\npassed as %x", asked, got)
			}
		}
	})
}

// steerRig is an appliance's inspection in a namespace of its own, and the switch's end of the vNIC in another. A test plays the switch,
// with a UDP socket.
type steerRig struct {
	t *testing.T
	*Inspection
	sw  *net.UDPConn
	buf []byte
	seq uint64 // of tickets
}

// A steering switch that waits longer than this for an answer has lost it.
const steerWait = 10 * time.Second

func newSteerRig(t *testing.T) *steerRig {
	t.Helper()
	inside(t)
	appliance, err := netns.Get()
	check(t, err)
	defer appliance.Close()
	far, err := netns.New() // the thread is in it from here on
	check(t, err)
	defer far.Close()
	check(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "far"}, PeerName: "steer"}))
	near, err := netlink.LinkByName("steer")
	check(t, err)
	check(t, netlink.LinkSetNsFd(near, int(appliance)))
	bringUp(t, "far", steerPeer)
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, lineBuffer) })
	}}
	sw, err := lc.ListenPacket(t.Context(), "udp4", netip.AddrPortFrom(steerPeer, frame.GenevePort).String())
	check(t, err)
	check(t, netns.Set(appliance))
	bringUp(t, "steer", steerSelf)
	r := &steerRig{t: t, Inspection: &Inspection{}, sw: sw.(*net.UDPConn), buf: make([]byte, lineSlot)}
	check(t, r.Steer(firewall.SteerSpec{Session: session, Inspect: true, Ports: []frame.PortID{3, 4}}))
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		sw.Close()
	})
	return r
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func bringUp(t *testing.T, name string, addr netip.Addr) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	check(t, err)
	check(t, netlink.LinkSetMTU(l, frame.SteerMTU))
	check(t, netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(30, 32)}}))
	check(t, netlink.LinkSetUp(l))
}

func (r *steerRig) sendRaw(d []byte) {
	r.t.Helper()
	_, err := r.sw.WriteToUDPAddrPort(d, netip.AddrPortFrom(steerSelf, frame.GenevePort))
	check(r.t, err)
}

// send steers a frame of port 3 or, where it is the server's, 4.
func (r *steerRig) send(port frame.PortID, eth []byte) {
	r.t.Helper()
	r.seq++
	r.sendRaw(steered(frame.NewVNI(session, port, false), frame.Ticket{Seq: r.seq, Port: port, Vnet: openVnet()}, eth))
}

// answer waits for the next frame that comes back.
func (r *steerRig) answer() (frame.Ticket, []byte) {
	r.t.Helper()
	check(r.t, r.sw.SetReadDeadline(time.Now().Add(steerWait)))
	n, from, err := r.sw.ReadFromUDPAddrPort(r.buf)
	check(r.t, err)
	var tk frame.Ticket
	vni, size, has, ok := frame.ParseGeneve(r.buf[:n], &tk)
	if !ok || !has || !vni.Back() || vni.Session() != session || from != netip.AddrPortFrom(steerSelf, frame.GenevePort) {
		r.t.Fatalf("from %s: %x, %+v", from, vni, tk)
	}
	return tk, r.buf[size:n]
}

// asks steers a frame and gives the word that comes back with it.
func (r *steerRig) asks(port frame.PortID, eth []byte) frame.Word {
	r.t.Helper()
	r.send(port, eth)
	tk, back := r.answer()
	if tk.Seq != r.seq {
		r.t.Fatalf("ticket %d, want %d", tk.Seq, r.seq)
	}
	if tk.Word <= frame.WordClean && !bytes.Equal(back, eth) {
		r.t.Fatal("the frame has changed")
	}
	return tk.Word
}

// TestRootEicarOverHTTP cuts the string at every offset, each time in a connection of its own.
func TestRootEicarOverHTTP(t *testing.T) {
	r := newSteerRig(t)
	head := []byte("HTTP/1.0 200 OK\r\n\r\n")
	for cut := range len(eicar) {
		client := netip.AddrPortFrom(webClient.Addr(), uint16(40000+cut))
		for _, f := range []struct {
			port frame.PortID
			eth  []byte
			want frame.Word
		}{
			{3, tcpFrame(client, webServer, frame.TCPSyn, 99, 0, nil), frame.WordPass},
			{4, tcpFrame(webServer, client, frame.TCPSyn|frame.TCPAck, 199, 100, nil), frame.WordPass},
			{3, tcpFrame(client, webServer, frame.TCPAck, 100, 200, []byte("GET / HTTP/1.0\r\n\r\n")), frame.WordPass},
			{4, tcpFrame(webServer, client, frame.TCPAck, 200, 118, append(head, eicar[:cut]...)), frame.WordPass},
			{3, tcpFrame(client, webServer, frame.TCPAck, 118, 200+uint32(len(head)+cut), nil), frame.WordPass},
			{4, tcpFrame(webServer, client, frame.TCPAck, 200+uint32(len(head)+cut), 118, eicar[cut:]), frame.WordReset},
		} {
			if got := r.asks(f.port, f.eth); got != f.want {
				t.Fatalf("cut at %d, flags %x of %d bytes: word %d, want %d", cut, f.eth[47], len(f.eth), got, f.want)
			}
		}
	}
	if rep := r.Report(); rep.Matches[0].Count != uint64(len(eicar)) || rep.Refused != 0 || rep.Unsent != 0 {
		t.Errorf("%+v", rep)
	}
}

// TestRootOnlyTheSession: a probe comes back, and of what was sent before it nothing else.
func TestRootOnlyTheSession(t *testing.T) {
	r := newSteerRig(t)
	eth := tcpFrame(webClient, webServer, frame.TCPAck, 1, 1, []byte("GET /"))
	probe := steered(frame.NewVNI(session, 0, false), frame.Ticket{Seq: 1}, nil)
	forged := [][]byte{
		steered(frame.NewVNI(session+1, 3, false), frame.Ticket{Seq: 2, Port: 3}, eth),
		steered(frame.NewVNI(session, 5, false), frame.Ticket{Seq: 3, Port: 5}, eth),
		steered(frame.NewVNI(session, 3, true), frame.Ticket{Seq: 4, Port: 3}, eth),
		{}, make([]byte, 65000),
	}
	for _, d := range append(forged, probe) {
		r.sendRaw(d)
	}
	if tk, back := r.answer(); tk.Seq != 1 || tk.Word != frame.WordPass || len(back) != 0 {
		t.Errorf("the first answer: %+v, %d bytes", tk, len(back))
	}
	if n := r.Report().Refused; n != uint64(len(forged)) {
		t.Errorf("%d refused, want %d", n, len(forged))
	}
	check(t, r.Steer(firewall.SteerSpec{Session: session + 1, Inspect: true, Ports: []frame.PortID{3}}))
	check(t, r.EndSteer(session))
	r.sendRaw(probe)
	r.sendRaw(steered(frame.NewVNI(session+1, 0, false), frame.Ticket{Seq: 9}, nil))
	n, _, err := r.sw.ReadFromUDPAddrPort(r.buf)
	check(t, err)
	var tk frame.Ticket
	if vni, _, _, ok := frame.ParseGeneve(r.buf[:n], &tk); !ok || vni.Session() != session+1 || tk.Seq != 9 {
		t.Errorf("after the session's end: %x, %+v", vni, tk)
	}
	check(t, r.EndSteer(session+1))
	if r.line != nil {
		t.Error("the socket is open, and no session is served")
	}
	check(t, r.Steer(firewall.SteerSpec{Session: session, Inspect: true, Ports: []frame.PortID{3}}))
	if w := r.asks(3, eth); w != frame.WordPass {
		t.Errorf("word %d in a session that began again", w)
	}
}

// TestRootNoGarbage: nothing is allocated for a frame that comes, is judged and goes back.
func TestRootNoGarbage(t *testing.T) {
	r := newSteerRig(t)
	eth := tcpFrame(webClient, webServer, frame.TCPAck, 1, 1, []byte("GET / and more"))
	d := steered(frame.NewVNI(session, 3, false), frame.Ticket{Seq: 1, Port: 3, Vnet: openVnet()}, eth)
	check(t, r.sw.SetReadDeadline(time.Now().Add(steerWait)))
	to := netip.AddrPortFrom(steerSelf, frame.GenevePort)
	step := func() {
		if _, err := r.sw.WriteToUDPAddrPort(d, to); err != nil {
			t.Fatal(err)
		}
		if n, _, err := r.sw.ReadFromUDPAddrPort(r.buf); err != nil || n != len(d) {
			t.Fatal(n, err)
		}
	}
	if n := testing.AllocsPerRun(1000, step); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestRootCleanStream sends 64 MB through, in segments and in long frames, and says how fast it went.
func TestRootCleanStream(t *testing.T) {
	const total, ahead = 64 << 20, 32
	rig := newSteerRig(t)
	for i, size := range []int{1448, 60000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) { // in a goroutine without a thread of its own
			r := *rig
			r.t = t
			webClient := netip.AddrPortFrom(webClient.Addr(), uint16(50000+i))
			payload := bytes.Repeat([]byte("clean bytes "), size/12+1)[:size]
			data := tcpFrame(webServer, webClient, frame.TCPAck, 0, 1, payload)
			ack := tcpFrame(webClient, webServer, frame.TCPAck, 1, 0, nil)
			begun, busy, sent, waiting := time.Now(), cpuTime(t), 0, 0
			passed := func() {
				if tk, back := r.answer(); tk.Word != frame.WordPass || len(back) != len(data) && len(back) != len(ack) {
					t.Fatalf("after %d bytes: %+v, %d bytes", sent, tk, len(back))
				}
				waiting--
			}
			for n := 0; sent < total; n++ {
				binary.BigEndian.PutUint32(data[38:], uint32(sent))
				r.send(4, data)
				waiting++
				if sent += size; n%4 == 0 {
					binary.BigEndian.PutUint32(ack[42:], uint32(sent))
					r.send(3, ack)
					waiting++
				}
				for n := waiting; n > ahead && waiting > 0; {
					passed()
				}
			}
			for waiting > 0 {
				passed()
			}
			took, cpu := time.Since(begun), cpuTime(t)-busy
			gbit := func(d time.Duration) float64 { return float64(sent) * 8 / float64(d.Nanoseconds()) }
			t.Logf("%d bytes in segments of %d: %.2f Gbit/s, %.2f a core, the test's own work included", sent, size, gbit(took), gbit(cpu))
		})
	}
}

// cpuTime is what this process has used.
func cpuTime(t *testing.T) time.Duration {
	var u unix.Rusage
	check(t, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
