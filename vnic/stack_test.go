package vnic

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"sluice/vnic/frame"
	"sluice/vnic/roottest"
)

// newNamespace is a network namespace with nothing in it, for a guest.
func newNamespace(t testing.TB) *os.File {
	t.Helper()
	var ns *os.File
	within(t, nil, func() error {
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			ns, err = os.Open("/proc/thread-self/ns/net")
		}
		return err
	})
	t.Cleanup(func() { ns.Close() })
	return ns
}

// within runs f on a thread in the namespace, or in the process's own for nil.
func within(t testing.TB, ns *os.File, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends here
		if ns != nil {
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				done <- err
				return
			}
		}
		done <- f()
	}()
	must(t, <-done)
}

// stackPort is the switch's end of a guest with a kernel of its own.
type stackPort func(t *testing.T, name string, guest *os.File, addr string) NIC

func vethPort(t *testing.T, name string, guest *os.File, addr string) NIC {
	t.Helper()
	must(t, NewVeth(name, VethPeer{Name: "eth0", MAC: macA, NetNS: guest}))
	h, err := netlink.NewHandleAt(netns.NsHandle(guest.Fd()))
	must(t, err)
	defer h.Close()
	link, err := h.LinkByName("eth0")
	must(t, err)
	if !bytes.Equal(link.Attrs().HardwareAddr, macA[:]) {
		t.Fatalf("the guest's MAC is %v", link.Attrs().HardwareAddr)
	}
	must(t, h.LinkSetHardwareAddr(link, append(net.HardwareAddr{2, 0, 0, 0, 1}, name[len(name)-1])))
	a, err := netlink.ParseAddr(addr)
	must(t, err)
	must(t, h.AddrAdd(link, a))
	must(t, h.LinkSetUp(link))
	nic, err := OpenPacket(name)
	must(t, err)
	t.Cleanup(func() { nic.Close() })
	return nic
}

func hostPort(t *testing.T, name string, guest *os.File, addr string) NIC {
	t.Helper()
	nic, err := OpenHost(name, HostOptions{Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}, MAC: macB, MTU: 1500, NetNS: guest})
	must(t, err)
	t.Cleanup(func() { nic.Close() })
	return nic
}

// watcher notes the longest frame that its NIC gives.
type watcher struct {
	NIC
	longest atomic.Int64
}

func (w *watcher) ReadBatch(b *frame.Batch) error {
	err := w.NIC.ReadBatch(b)
	for i := range b.N {
		w.longest.Store(max(w.longest.Load(), int64(b.Frames[i].Len)))
	}
	return err
}

// TestRootStacksTalk has real kernels check every frame: TCP both ways, with offloads where the port has them.
func TestRootStacksTalk(t *testing.T) {
	for _, c := range []struct {
		name       string
		a, b       stackPort
		gsoA, gsoB bool // frames longer than the MTU come from it
	}{
		{"veth and veth", vethPort, vethPort, true, true},
		{"veth and host", vethPort, hostPort, true, false},
		{"host and host", hostPort, hostPort, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			roottest.Namespace(t)
			guestA, guestB := newNamespace(t), newNamespace(t)
			a := &watcher{NIC: c.a(t, "sl-vnic-a", guestA, "10.0.0.1/24")}
			b := &watcher{NIC: c.b(t, "sl-vnic-b", guestB, "10.0.0.2/24")}
			go forward(a, b)
			go forward(b, a)
			exchange(t, guestA, guestB, "10.0.0.2:7000")
			for _, w := range []struct {
				nic *watcher
				gso bool
			}{{a, c.gsoA}, {b, c.gsoB}} {
				if got := w.nic.longest.Load() > 1514; got != w.gso {
					t.Errorf("%s: longest frame is %d bytes", w.nic.Name(), w.nic.longest.Load())
				}
			}
		})
	}
}

// exchange sends some megabytes from one guest to the other and back, and compares.
func exchange(t *testing.T, client, server *os.File, addr string) {
	t.Helper()
	var l net.Listener
	within(t, server, func() (err error) { l, err = net.Listen("tcp4", addr); return })
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	var c net.Conn
	within(t, client, func() (err error) { c, err = net.DialTimeout("tcp4", addr, 10*time.Second); return })
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	sent := make([]byte, 8_000_003)
	for i := range sent {
		sent[i] = byte(i * i >> 8)
	}
	go func() {
		c.Write(sent)
		c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	must(t, err)
	if !bytes.Equal(sent, got) {
		t.Fatalf("%d bytes came back, or others than were sent", len(got))
	}
}
