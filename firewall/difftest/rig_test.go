// Package difftest compares the engine's verdicts with those of real nftables, over the same policies and the same
// packets: a router's namespace has the rendered policy, and packets go in at one veth and come out, or do not, at
// another. It holds tests only.
package difftest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"sluice/firewall/appliance"
	"sluice/vnic/roottest"
)

// The rig's namespaces: the router's, and that of the wires' other ends, which nobody's stack looks at. Each run has
// its own.
var (
	router = fmt.Sprint("sl-fw-router-", os.Getpid())
	wires  = fmt.Sprint("sl-fw-wires-", os.Getpid())
)

// sweep deletes what killed runs have left.
func sweep() {
	all, _ := filepath.Glob("/run/netns/sl-fw-*-*")
	for _, path := range all {
		pid := path[strings.LastIndexByte(path, '-')+1:]
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, fs.ErrNotExist) {
			_ = exec.Command("ip", "netns", "del", filepath.Base(path)).Run()
		}
	}
}

// rig is a router between two segments, lan and dmz, whose policy is nftables.
type rig struct {
	t    *testing.T
	sock [2]int // packet sockets on the wires, by segment
	mac  [2][6]byte
	gw   [2][6]byte

	fragmented uint32 // packets
}

func newRig(t *testing.T) *rig {
	roottest.Need(t, "makes TAPs and namespaces")
	r := &rig{t: t}
	cleanup := func() {
		for _, ns := range []string{router, wires} {
			_ = exec.Command("ip", "netns", "del", ns).Run()
		}
	}
	sweep()
	t.Cleanup(cleanup)
	r.run("ip", "netns", "add", router)
	r.run("ip", "netns", "add", wires)
	for i := range r.mac {
		r.mac[i], r.gw[i] = [6]byte{2, 0, 0, 0, 1, byte(i)}, [6]byte{2, 0, 0, 0, 2, byte(i)}
		r.segment(i)
	}
	r.inRouter("sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
		"net.ipv4.conf.all.rp_filter=0", "net.ipv4.icmp_ratelimit=0", "net.ipv4.icmp_msgs_per_sec=1000000", "net.ipv4.icmp_msgs_burst=1000000", "net.ipv6.icmp.ratelimit=0")
	r.inRouter("nft", "add table inet boot; add chain inet boot c { type filter hook forward priority 0; }; add rule inet boot c ct state invalid accept")
	// What never becomes whole may not fill the memory for fragments.
	r.inRouter("sysctl", "-q", "-w", "net.ipv4.ipfrag_time=1", "net.netfilter.nf_conntrack_frag6_timeout=1")
	r.openSockets()
	return r
}

// segment makes the wire of one segment, with the gateway's addresses at the router's end.
func (r *rig) segment(i int) {
	inner, outer := fmt.Sprintf("r%d", i), fmt.Sprintf("w%d", i)
	r.run("ip", "-n", router, "link", "add", inner, "address", macString(r.gw[i]), "type", "veth", "peer", "name", outer, "netns", wires, "address", macString(r.mac[i]))
	r.inRouter("sysctl", "-q", "-w", "net.ipv6.conf."+inner+".accept_dad=0", "net.ipv4.conf."+inner+".rp_filter=0")
	r.run("ip", "netns", "exec", wires, "sysctl", "-q", "-w", "net.ipv6.conf."+outer+".disable_ipv6=1")
	r.run("ip", "-n", router, "addr", "add", fmt.Sprintf("10.10.%d.1/24", i+1), "dev", inner)
	r.run("ip", "-n", router, "addr", "add", fmt.Sprintf("fd00:10:%d::1/64", i+1), "dev", inner, "nodad")
	r.run("ip", "-n", router, "link", "set", inner, "up")
	r.run("ip", "-n", wires, "link", "set", outer, "up")
	for _, h := range hosts {
		if h.segment == i {
			r.run("ip", "-n", router, "neigh", "replace", h.addr.String(), "lladdr", macString(r.mac[i]), "dev", inner, "nud", "permanent")
		}
	}
}

func macString(m [6]byte) string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprintf("% x", m[:]), "[]"), " ", ":")
}

func (r *rig) run(name string, args ...string) {
	r.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		r.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

func (r *rig) inRouter(args ...string) {
	r.t.Helper()
	r.run("ip", append([]string{"netns", "exec", router}, args...)...)
}

// openSockets opens a packet socket on each wire. A socket stays in the namespace that it was made in.
func (r *rig) openSockets() {
	runtime.LockOSThread() // for good: the test's goroutine also stays on one processor, so that packets keep their order
	home, err := netns.Get()
	if err != nil {
		r.t.Fatal(err)
	}
	there, err := netns.GetFromName(wires)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := netns.Set(there); err != nil {
		r.t.Fatal(err)
	}
	defer func() {
		if err := netns.Set(home); err != nil {
			panic(err)
		}
	}()
	var one unix.CPUSet
	one.Set(0)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		r.t.Fatal(err)
	}
	for i := range r.sock {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() { _ = unix.Close(fd) })
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
			r.t.Fatal(err)
		}
		index := r.linkIndex(fmt.Sprintf("w%d", i))
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index}); err != nil {
			r.t.Fatal(err)
		}
		r.sock[i] = fd
	}
}

// linkIndex is a device's index in the namespace that the thread is in.
func (r *rig) linkIndex(name string) int {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	req, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return int(req.Uint32())
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// apply replaces the router's policy, and forgets its flows.
func (r *rig) apply(script string) {
	r.t.Helper()
	for path, value := range appliance.Settings(script) {
		r.inRouter("sysctl", "-q", "-w", strings.ReplaceAll(path, "/", ".")+"="+value)
	}
	cmd := exec.Command("ip", "netns", "exec", router, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("nft: %v: %s\n%s", err, out, script)
	}
	r.inRouter("conntrack", "-F")
}

// exchange sends the packets in order, and gives every frame that came out of either wire. An ARP request, whose answer
// comes after all that went before it, says when that is.
func (r *rig) exchange(out []sent) (frames [][]byte) {
	r.t.Helper()
	for _, s := range out {
		r.write(s.segment, s.eth)
		if s.rest != nil {
			r.write(s.segment, s.rest)
		}
	}
	r.write(0, r.arpRequest())
	deadline := time.Now().Add(5 * time.Second)
	for answered := false; !answered; {
		if time.Now().After(deadline) {
			r.t.Fatal("the router does not answer")
		}
		fds := []unix.PollFd{{Fd: int32(r.sock[0]), Events: unix.POLLIN}, {Fd: int32(r.sock[1]), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, 100); err != nil && err != unix.EINTR {
			r.t.Fatal(err)
		}
		for _, fd := range []int{r.sock[1], r.sock[0]} {
			for _, f := range r.drain(fd) {
				if bytes.Equal(f[12:14], []byte{8, 6}) {
					answered = true
					continue
				}
				frames = append(frames, f)
			}
		}
	}
	return append(frames, r.drain(r.sock[1])...)
}

func (r *rig) write(segment int, eth []byte) {
	for {
		_, err := unix.Write(r.sock[segment], eth)
		switch err {
		case nil:
			return
		case unix.ENOBUFS, unix.EAGAIN:
			continue
		}
		r.t.Fatal(err)
	}
}

// drain reads what has come in from the router.
func (r *rig) drain(fd int) (frames [][]byte) {
	buf := make([]byte, 4096)
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EAGAIN {
			return frames
		}
		if err != nil {
			r.t.Fatal(err)
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		frames = append(frames, bytes.Clone(buf[:n]))
	}
}

func (r *rig) arpRequest() []byte {
	b := bytes.Repeat([]byte{0xff}, 6)
	b = append(b, r.mac[0][:]...)
	b = append(b, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
	b = append(b, r.mac[0][:]...)
	b = append(b, 10, 10, 1, 10, 0, 0, 0, 0, 0, 0, 10, 10, 1, 1)
	return append(b, make([]byte, 18)...)
}
