package user_test

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"sluice/firewall"
	"sluice/firewall/appliance"
	"sluice/vnic/frame"
	"sluice/vswitch/matrix"
)

// kernelRouter is a real Linux router between the two segments, in a namespace, with a wire to each.
type kernelRouter struct {
	t    *testing.T
	name string
	sock [2]int // packet sockets on the wires: near, far
	mac  [2]frame.MAC
}

func newKernelRouter(t *testing.T) *kernelRouter {
	if os.Geteuid() != 0 {
		if os.Getenv("SLUICE_TEST_NO_SKIP") != "" {
			t.Fatal("needs root: makes namespaces")
		}
		t.Skip("needs root: makes namespaces")
	}
	r := &kernelRouter{t: t, name: fmt.Sprint("sl-matrix-", os.Getpid()), mac: [2]frame.MAC{matrix.ClientMAC, matrix.ServerMAC}}
	wires := r.name + "-wires"
	t.Cleanup(func() {
		for _, ns := range []string{r.name, wires} {
			_ = exec.Command("ip", "netns", "del", ns).Run()
		}
	})
	r.run("ip", "netns", "add", r.name)
	r.run("ip", "netns", "add", wires)
	for i := range r.sock {
		in, out, n := fmt.Sprint("r", i), fmt.Sprint("w", i), fmt.Sprint(i+1)
		r.run("ip", "-n", r.name, "link", "add", in, "mtu", "9000", "address", hardware(matrix.GatewayMAC), "type", "veth", "peer", "name", out, "netns", wires, "mtu", "9000")
		r.run("ip", "netns", "exec", wires, "sysctl", "-q", "-w", "net.ipv6.conf."+out+".disable_ipv6=1")
		r.run("ip", "-n", r.name, "addr", "add", "10.10."+n+".1/24", "broadcast", "+", "dev", in)
		r.run("ip", "-n", r.name, "addr", "add", "fd00:10:"+n+"::1/64", "dev", in, "nodad")
		r.run("ip", "-n", r.name, "link", "set", in, "up")
		r.run("ip", "-n", wires, "link", "set", out, "up")
	}
	r.run("ip", "-n", r.name, "link", "set", "r1", "mtu", "1500")
	for i, host := range []string{"10.10.1.10", "10.10.2.10", "fd00:10:1::10", "fd00:10:2::10", "10.10.1.11", "", "fd00:10:1::11", ""} {
		if host != "" {
			r.run("ip", "-n", r.name, "neigh", "replace", host, "lladdr", hardware(r.mac[i%2]), "dev", fmt.Sprint("r", i%2), "nud", "permanent")
		}
	}
	for i := range matrix.Strangers {
		r.run("ip", "-n", r.name, "neigh", "replace", fmt.Sprint("10.10.1.", 100+i), "lladdr", hardware(r.mac[0]), "dev", "r0", "nud", "permanent")
	}
	r.open(wires)
	return r
}

func hardware(m frame.MAC) string { return net.HardwareAddr(m[:]).String() }

func (r *kernelRouter) run(name string, args ...string) {
	r.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		r.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// in does something in a namespace. The goroutine keeps its thread, on one processor, so that packets keep their order.
func (r *kernelRouter) in(ns string, do func() error) {
	r.t.Helper()
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		r.t.Fatal(err)
	}
	there, err := netns.GetFromName(ns)
	if err == nil {
		err = netns.Set(there)
	}
	if err == nil {
		if err = do(); err == nil {
			err = netns.Set(home)
		}
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// open opens a packet socket on each wire.
func (r *kernelRouter) open(wires string) {
	r.in(wires, func() error {
		var one unix.CPUSet
		one.Set(0)
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			return err
		}
		for i := range r.sock {
			fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				return err
			}
			r.t.Cleanup(func() { _ = unix.Close(fd) })
			req, err := unix.NewIfreq(fmt.Sprint("w", i))
			if err == nil {
				err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req)
			}
			if err == nil {
				err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
			}
			if err == nil {
				err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: int(req.Uint32())}) // ETH_P_ALL, in the wire's order
			}
			if err != nil {
				return err
			}
			r.sock[i] = fd
		}
		return nil
	})
}

// police makes the router an appliance with a policy; nil is a router without.
func (r *kernelRouter) police(p *firewall.Policy) {
	r.in(r.name, appliance.Prepare)
	r.run("ip", "netns", "exec", r.name, "sysctl", "-q", "-w", "net.ipv4.icmp_msgs_burst=1000000") // the cases come faster than any guest's errors
	if p == nil {
		return
	}
	script, err := p.NFT(firewall.NFTOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	for path, value := range appliance.Settings(script) {
		r.run("ip", "netns", "exec", r.name, "sysctl", "-q", "-w", strings.ReplaceAll(path, "/", ".")+"="+value)
	}
	cmd := exec.Command("ip", "netns", "exec", r.name, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("nft: %v: %s", err, out)
	}
}

// exchange sends frames, and gives all that came out of each wire until the router had dealt with them. It answers an
// ARP request in order, so that its answer says when that is.
func (r *kernelRouter) exchange(frames []matrix.Frame) (came [2][][]byte) {
	r.t.Helper()
	for _, f := range frames {
		r.write(map[bool]int{true: 1}[f.Server], f.Eth)
	}
	for side := range r.sock {
		addr := frame.Addr{10: 0xff, 11: 0xff, 12: 10, 13: 10, 14: byte(side + 1), 15: 10}
		gateway := addr
		gateway[15] = 1
		ask := arp(1, r.mac[side], broadcast, addr, gateway)
		r.write(side, ask.Eth())
	}
	deadline := time.Now().Add(patience)
	for answered := [2]bool{}; answered != [2]bool{true, true}; {
		if time.Now().After(deadline) {
			r.t.Fatal("the router does not answer")
		}
		fds := []unix.PollFd{{Fd: int32(r.sock[0]), Events: unix.POLLIN}, {Fd: int32(r.sock[1]), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, 100); err != nil && err != unix.EINTR {
			r.t.Fatal(err)
		}
		for side := range r.sock {
			for _, f := range r.drain(side) {
				if bytes.Equal(f[12:14], []byte{8, 6}) && f[21] == 2 && f[41] == 10 {
					answered[side] = true
					continue
				}
				came[side] = append(came[side], f)
			}
		}
	}
	return came
}

func (r *kernelRouter) write(side int, eth []byte) {
	for {
		_, err := unix.Write(r.sock[side], eth)
		switch err {
		case nil:
			return
		case unix.ENOBUFS, unix.EAGAIN:
			continue
		}
		r.t.Fatal(err)
	}
}

func (r *kernelRouter) drain(side int) (frames [][]byte) {
	buf := make([]byte, 16384)
	for {
		n, _, err := unix.Recvfrom(r.sock[side], buf, 0)
		if err != nil {
			return frames
		}
		frames = append(frames, bytes.Clone(buf[:n]))
	}
}

var writeRouter = flag.Bool("write-router", false, "TestRootMatrixRouter writes the matrix's router.txt anew")

// TestRootMatrixRouter holds what the matrix says of a router against a real one, with the policy and without.
func TestRootMatrixRouter(t *testing.T) {
	policy, err := firewall.Load("policy.yaml", []byte(matrix.Policy), matrix.Inventory())
	if err != nil {
		t.Fatal(err)
	}
	cases, said := matrix.Cases(), matrix.Router{}
	for _, p := range []*firewall.Policy{policy, nil} {
		t.Run(map[bool]string{true: "policy", false: "plain"}[p != nil], func(t *testing.T) {
			r := newKernelRouter(t)
			r.police(p)
			for _, c := range cases {
				r.exchange(c.Before)
				s, result := said[c.Name], c.Result(r.exchange(c.Judged))
				if s.Plain = result; p != nil {
					s.Policy = result
				}
				said[c.Name] = s
			}
		})
	}
	if *writeRouter {
		if err := os.WriteFile("../matrix/testdata/router.txt", []byte(said.Text(cases)), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	file := matrix.Said()
	for _, c := range cases {
		if file[c.Name] != said[c.Name] {
			t.Errorf("%s: the file has %q, the router says %q", c.Name, file[c.Name], said[c.Name])
		}
	}
}

// TestRootMatrixSlow sends every case through the placement slow, with a real router as the appliance.
func TestRootMatrixSlow(t *testing.T) {
	k := newKernelRouter(t)
	said, met := matrix.Said(), matrix.NewMeant()
	r := newMatrixRig(t, firewall.Off)
	policy, _ := r.sw.Policy()
	k.police(policy)
	k.serve(r.fw)
	r.place(firewall.Slow)
	cases := matrix.Cases()
	for _, c := range cases {
		r.through(c.Before)
		got := atOnce(c.Result(r.through(c.Judged)))
		noteDifference(t, met, firewall.Slow, c.Name, atOnce(said.In(firewall.Slow, c.Name)), got)
	}
	t.Logf("%d cases, %d differ", len(cases), met.Of[firewall.Slow])
}

// atOnce leaves out what a router does about a neighbour that does not answer: it asks again each second, and gives up
// in the midst of other cases.
func atOnce(result string) string {
	words := slices.DeleteFunc(strings.Split(result, ", "), func(w string) bool {
		w = strings.TrimPrefix(w, "far ")
		return w == "asks" || w == "icmp 3/1" || w == "icmp 1/3" || w == "-"
	})
	return strings.Join(words, ", ")
}

// serve makes the router the appliance: what comes to its ports goes out by the wires, and back.
func (r *kernelRouter) serve(a *fakeAppliance) {
	var pinned [2]sync.Once
	a.wire = func(seg frame.SegmentID, eth []byte) {
		pinned[seg-1].Do(pin) // each is called by a goroutine of its own
		r.write(int(seg)-1, eth)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	r.t.Cleanup(func() { close(stop); <-stopped })
	go func() {
		defer close(stopped)
		for {
			fds := []unix.PollFd{{Fd: int32(r.sock[0]), Events: unix.POLLIN}, {Fd: int32(r.sock[1]), Events: unix.POLLIN}}
			_, _ = unix.Poll(fds, 100)
			select {
			case <-stop:
				return
			default:
			}
			for side := range r.sock {
				for _, eth := range r.drain(side) {
					_, _ = a.nics[frame.SegmentID(side+1)].WriteBatch([]*frame.Frame{frame.From(eth)})
				}
			}
		}
	}()
}

// pin keeps a goroutine's packets in order: on one thread, and that on one processor.
func pin() {
	runtime.LockOSThread()
	var one unix.CPUSet
	one.Set(0)
	_ = unix.SchedSetaffinity(0, &one)
}

// through is exchange by way of the appliance, whose answers to pings say when it has dealt with what came before.
func (r *matrixRig) through(frames []matrix.Frame) (came [2][][]byte) {
	r.t.Helper()
	for _, f := range frames {
		from := r.client
		if f.Server {
			from = r.server
		}
		from.send(frame.From(f.Eth))
	}
	const id = 1 // no case has it
	for range 2 {
		for i, g := range []*guest{r.client, r.server} {
			p := g.to(r.server, false, packet{proto: frame.ProtoICMP, icmp: 8, sport: id})
			p.dst, p.dmac = frame.AddrFrom([]netip.Addr{lan4, dmz4}[i]), matrix.GatewayMAC
			g.send(p.build())
			came[i] = append(came[i], g.until(func(k *frame.Key) bool { return k.Proto == frame.ProtoICMP && k.ICMPType == 0 && k.SrcPort == id })...)
		}
	}
	r.exchange(nil) // and what the switch itself has said to others
	return came
}
