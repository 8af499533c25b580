package appliance

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// steerRig is an appliance's inspection in a namespace of its own, and the switch's end of the vNIC in another. A test
// plays the switch, with a UDP socket.
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
	bringUp(t, "far", frame.TunnelSwitch)
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, lineBuffer) })
	}}
	sw, err := lc.ListenPacket(t.Context(), "udp4", netip.AddrPortFrom(frame.TunnelSwitch, frame.GenevePort).String())
	check(t, err)
	check(t, netns.Set(appliance))
	bringUp(t, "steer", frame.TunnelAppliance)
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
	_, err := r.sw.WriteToUDPAddrPort(d, netip.AddrPortFrom(frame.TunnelAppliance, frame.GenevePort))
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
	if !ok || !has || !vni.Back() || vni.Session() != session || from != netip.AddrPortFrom(frame.TunnelAppliance, frame.GenevePort) {
		r.t.Fatalf("from %s: %x, %+v", from, vni, tk)
	}
	return tk, r.buf[size:n]
}

// asks steers a frame and gives the word that comes back with it.
func (r *steerRig) asks(port frame.PortID, eth []byte) frame.Verdict {
	r.t.Helper()
	r.send(port, eth)
	tk, back := r.answer()
	if tk.Seq != r.seq {
		r.t.Fatalf("ticket %d, want %d", tk.Seq, r.seq)
	}
	if tk.Verdict <= frame.VerdictClean && !bytes.Equal(back, eth) {
		r.t.Fatal("the frame has changed")
	}
	return tk.Verdict
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
			want frame.Verdict
		}{
			{3, tcpFrame(client, webServer, frame.TCPSyn, 99, 0, nil), frame.VerdictPass},
			{4, tcpFrame(webServer, client, frame.TCPSyn|frame.TCPAck, 199, 100, nil), frame.VerdictPass},
			{3, tcpFrame(client, webServer, frame.TCPAck, 100, 200, []byte("GET / HTTP/1.0\r\n\r\n")), frame.VerdictPass},
			{4, tcpFrame(webServer, client, frame.TCPAck, 200, 118, append(head, eicar[:cut]...)), frame.VerdictPass},
			{3, tcpFrame(client, webServer, frame.TCPAck, 118, 200+uint32(len(head)+cut), nil), frame.VerdictPass},
			{4, tcpFrame(webServer, client, frame.TCPAck, 200+uint32(len(head)+cut), 118, eicar[cut:]), frame.VerdictReset},
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
	if tk, back := r.answer(); tk.Seq != 1 || tk.Verdict != frame.VerdictPass || len(back) != 0 {
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
	check(t, r.Steer(firewall.SteerSpec{Session: session, Inspect: true, Ports: []frame.PortID{4}}))
	if w := r.asks(3, eth); w != frame.VerdictPass {
		t.Errorf("word %d in a session that began again, and has been told of more ports", w)
	}
}

// TestRootOverrun hands more to an inspector that is busy than its queue holds: what is lost is counted, and still
// known once the session has ended.
func TestRootOverrun(t *testing.T) {
	r := newSteerRig(t)
	eth := tcpFrame(webClient, webServer, frame.TCPAck, 1, 1, make([]byte, 60000))
	const sent = 600 // 36 MB
	r.asks(3, eth)   // so that the kernel knows its neighbour: what waits for that is lost elsewhere
	r.mu.Lock()
	for range sent - 1 {
		r.send(3, eth)
	}
	r.mu.Unlock()
	rep := r.Report()
	for deadline := time.Now().Add(steerWait); rep.Frames+rep.Overrun < sent && time.Now().Before(deadline); rep = r.Report() {
		time.Sleep(time.Millisecond) // a poll with a deadline
	}
	if rep.Frames+rep.Overrun != sent || rep.Overrun == 0 || rep.Frames == 0 {
		t.Errorf("of %d frames %d were looked at and %d are known to be lost", sent, rep.Frames, rep.Overrun)
	}
	check(t, r.EndSteer(session))
	if now := r.Report().Overrun; now != rep.Overrun {
		t.Errorf("%d are known to be lost once the session has ended, want %d", now, rep.Overrun)
	}
}

// TestRootNoGarbage: nothing is allocated for a frame that comes, is judged and goes back.
func TestRootNoGarbage(t *testing.T) {
	r := newSteerRig(t)
	eth := tcpFrame(webClient, webServer, frame.TCPAck, 1, 1, []byte("GET / and more"))
	d := steered(frame.NewVNI(session, 3, false), frame.Ticket{Seq: 1, Port: 3, Vnet: openVnet()}, eth)
	check(t, r.sw.SetReadDeadline(time.Now().Add(steerWait)))
	to := netip.AddrPortFrom(frame.TunnelAppliance, frame.GenevePort)
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

// TestRootBesideAKernelTunnel: the kernel's own tunnels hold GENEVE's port for all addresses (VXLAN on that port stands
// for GENEVE here), and a change of placement has both at once.
func TestRootBesideAKernelTunnel(t *testing.T) {
	r := newSteerRig(t)
	nic, err := netlink.LinkByName("steer")
	check(t, err)
	kernel := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "kernel"}, VxlanId: 5, Port: frame.GenevePort, VtepDevIndex: nic.Attrs().Index}
	check(t, netlink.LinkAdd(kernel))
	eth := tcpFrame(webClient, webServer, frame.TCPAck, 1, 1, []byte("GET /"))
	if err := netlink.LinkSetUp(kernel); err == nil {
		t.Error("the port is free while nobody has yielded it")
	}
	check(t, r.Yield())
	check(t, netlink.LinkSetUp(kernel))
	if w := r.asks(3, eth); w != frame.VerdictPass {
		t.Errorf("word %d once the kernel has the port", w)
	}
	check(t, r.EndSteer(session))
	check(t, r.Steer(firewall.SteerSpec{Session: session, Inspect: true, Ports: []frame.PortID{3}}))
	if w := r.asks(3, eth); w != frame.VerdictPass {
		t.Errorf("word %d in a session that began while the kernel had the port", w)
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
				if tk, back := r.answer(); tk.Verdict != frame.VerdictPass || len(back) != len(data) && len(back) != len(ack) {
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
