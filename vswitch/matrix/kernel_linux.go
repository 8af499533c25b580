package matrix

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"sluice/firewall"
	"sluice/firewall/appliance"
	"sluice/vnic/frame"
	"sluice/vnic/roottest"
)

// Kernel is a real Linux router between the two segments, in a namespace, with a wire to each.
type Kernel struct {
	t    testing.TB
	name string
	sock [2]int // packet sockets on the wires: near, far
	mac  [2]frame.MAC
	buf  *frame.Frame // what has come last
}

// NewKernel makes a router with a policy, as an appliance is; nil is a router without. It needs root, and a goroutine
// of its own: the caller's keeps its thread.
func NewKernel(t testing.TB, p *firewall.Policy) *Kernel {
	t.Helper()
	roottest.Need(t, "makes namespaces")
	k := &Kernel{t: t, name: fmt.Sprint("sl-matrix-", os.Getpid()), mac: [2]frame.MAC{ClientMAC, ServerMAC}, buf: frame.New(frame.MaxLen)}
	wires := k.name + "-wires"
	t.Cleanup(func() {
		for _, ns := range []string{k.name, wires} {
			_ = exec.Command("ip", "netns", "del", ns).Run()
		}
	})
	k.run("ip", "netns", "add", k.name)
	k.run("ip", "netns", "add", wires)
	for i := range k.sock {
		in, out, n := fmt.Sprint("r", i), fmt.Sprint("w", i), fmt.Sprint(i+1)
		k.run("ip", "-n", k.name, "link", "add", in, "mtu", "9000", "address", hardware(GatewayMAC),
			"type", "veth", "peer", "name", out, "netns", wires, "mtu", "9000")
		k.run("ip", "netns", "exec", wires, "sysctl", "-q", "-w", "net.ipv6.conf."+out+".disable_ipv6=1")
		k.run("ip", "-n", k.name, "addr", "add", "10.10."+n+".1/24", "broadcast", "+", "dev", in)
		k.run("ip", "-n", k.name, "addr", "add", "fd00:10:"+n+"::1/64", "dev", in, "nodad")
		for _, family := range []string{"ipv4", "ipv6"} { // who does not answer is asked once, and not again in the midst of other cases
			k.run("ip", "netns", "exec", k.name, "sysctl", "-q", "-w", fmt.Sprintf("net.%s.neigh.%s.retrans_time_ms=3600000", family, in))
		}
		k.run("ip", "-n", k.name, "link", "set", in, "up")
		k.run("ip", "-n", wires, "link", "set", out, "up")
	}
	k.run("ip", "-n", k.name, "link", "set", "r1", "mtu", "1500", "gso_max_size", "1500") // what is longer the router itself cuts into packets
	k.meet()
	k.open(wires)
	k.police(p)
	return k
}

// meet tells the router where the guests are, and the strangers.
func (k *Kernel) meet() {
	for i, host := range []string{"10.10.1.10", "10.10.2.10", "fd00:10:1::10", "fd00:10:2::10", "10.10.1.11", "", "fd00:10:1::11", ""} {
		if host != "" {
			k.knows(host, i%2)
		}
	}
	for i := range Strangers {
		k.knows(fmt.Sprint("10.10.1.", 100+i), 0)
	}
}

// knows makes the router have a neighbour on a wire for good.
func (k *Kernel) knows(host string, wire int) {
	k.run("ip", "-n", k.name, "neigh", "replace", host, "lladdr", hardware(k.mac[wire]), "dev", fmt.Sprint("r", wire), "nud", "permanent")
}

func hardware(m frame.MAC) string { return net.HardwareAddr(m[:]).String() }

func (k *Kernel) run(name string, args ...string) {
	k.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		k.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// in does something in a namespace. The goroutine keeps its thread, on one processor, so that packets keep their order.
func (k *Kernel) in(ns string, do func() error) {
	k.t.Helper()
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		k.t.Fatal(err)
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
		k.t.Fatal(err)
	}
}

// open opens a packet socket on each wire.
func (k *Kernel) open(wires string) {
	k.in(wires, func() error {
		Pin()
		for i := range k.sock {
			fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				return err
			}
			k.t.Cleanup(func() { _ = unix.Close(fd) })
			req, err := unix.NewIfreq(fmt.Sprint("w", i))
			if err == nil {
				err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req)
			}
			for _, option := range []int{unix.PACKET_IGNORE_OUTGOING, unix.PACKET_VNET_HDR} {
				if err == nil {
					err = unix.SetsockoptInt(fd, unix.SOL_PACKET, option, 1)
				}
			}
			if err == nil {
				err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20) // one frame may stand for hundreds
			}
			if err == nil {
				err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: int(req.Uint32())}) // ETH_P_ALL, in the wire's order
			}
			if err != nil {
				return err
			}
			k.sock[i] = fd
		}
		return nil
	})
}

// police prepares the router as an appliance is prepared, and gives it a policy unless that is nil.
func (k *Kernel) police(p *firewall.Policy) {
	k.in(k.name, appliance.Prepare)
	// The cases come faster than any guest's errors.
	k.run("ip", "netns", "exec", k.name, "sysctl", "-q", "-w", "net.ipv4.icmp_msgs_burst=1000000")
	if p == nil {
		return
	}
	script, err := p.NFT(firewall.NFTOptions{})
	if err != nil {
		k.t.Fatal(err)
	}
	for path, value := range appliance.Settings(script) {
		k.run("ip", "netns", "exec", k.name, "sysctl", "-q", "-w", strings.ReplaceAll(path, "/", ".")+"="+value)
	}
	cmd := exec.Command("ip", "netns", "exec", k.name, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		k.t.Fatalf("nft: %v: %s", err, out)
	}
}

// patience is how long the router is waited for.
const patience = 10 * time.Second

// exchange sends frames, and gives all that came out of each wire until the router had dealt with them. It answers an
// ARP request in order, so that its answer says when that is.
func (k *Kernel) exchange(frames []Frame) (came [2][][]byte) {
	k.t.Helper()
	for _, f := range frames {
		k.Write(map[bool]int{true: 1}[f.Server], f.Made())
	}
	for side := range k.sock {
		addr := frame.Addr{10: 0xff, 11: 0xff, 12: 10, 13: 10, 14: byte(side + 1), 15: 10}
		gateway := addr
		gateway[15] = 1
		ask := make([]byte, frame.MinLen+28)
		frame.PutEth(ask, broadcast, k.mac[side], frame.EtherARP)
		frame.PutARP(ask[frame.MinLen:], 1, k.mac[side], addr, frame.MAC{}, gateway)
		k.Write(side, frame.From(ask))
	}
	deadline := time.Now().Add(patience)
	for answered := [2]bool{}; answered != [2]bool{true, true}; {
		if time.Now().After(deadline) {
			k.t.Fatal("the router does not answer")
		}
		k.wait()
		for side := range k.sock {
			for _, f := range k.drain(side) {
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

// wait waits a moment for something to come out of a wire.
func (k *Kernel) wait() {
	fds := []unix.PollFd{{Fd: int32(k.sock[0]), Events: unix.POLLIN}, {Fd: int32(k.sock[1]), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds, 100); err != nil && err != unix.EINTR {
		k.t.Error(err)
	}
}

// Write puts a frame on a wire: 0 is near, 1 is far. A virtio_net_hdr that the kernel does not believe it refuses; then
// nothing is sent.
func (k *Kernel) Write(side int, f *frame.Frame) {
	for {
		_, err := unix.Write(k.sock[side], f.Wire())
		switch {
		case err == unix.ENOBUFS || err == unix.EAGAIN:
			continue
		case err != nil && f.Vnet().Plain():
			k.t.Errorf("write to wire %d: %v", side, err)
		}
		return
	}
}

func (k *Kernel) drain(side int) (frames [][]byte) {
	f := k.buf
	for {
		f.Len = frame.MaxLen
		n, _, err := unix.Recvfrom(k.sock[side], f.Wire(), 0)
		if err != nil {
			return frames
		}
		f.Len = n - frame.VnetLen
		frames = append(frames, Finished(f)...)
	}
}

// Serve calls deliver with each frame that comes out of a wire, until the test ends.
func (k *Kernel) Serve(deliver func(side int, eth []byte)) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	k.t.Cleanup(func() { close(stop); <-stopped })
	go func() {
		defer close(stopped)
		for {
			k.wait()
			select {
			case <-stop:
				return
			default:
			}
			for side := range k.sock {
				for _, eth := range k.drain(side) {
					deliver(side, eth)
				}
			}
		}
	}()
}

// Pin keeps a goroutine's packets in order: on one thread, and that on one processor.
func Pin() {
	runtime.LockOSThread()
	var one unix.CPUSet
	one.Set(0)
	_ = unix.SchedSetaffinity(0, &one)
}
