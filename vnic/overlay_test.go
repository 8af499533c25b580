package vnic

import (
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"sluice/vnic/frame"
	"sluice/vnic/roottest"
)

// judge counts the frames of its NIC that would be dropped before anybody looks at them.
type judge struct {
	NIC
	refused atomic.Int64
}

func (j *judge) ReadBatch(b *frame.Batch) error {
	err := j.NIC.ReadBatch(b)
	for i := range b.N {
		var k frame.Key
		if frame.Parse(&b.Frames[i], &k) != frame.ReasonNone {
			j.refused.Add(1)
		}
	}
	return err
}

// TestRootOverlays: what a guest's kernel sends through a tunnel of its own is taken whole, with TCP inside at full
// speed.
func TestRootOverlays(t *testing.T) {
	for _, c := range []struct {
		name string
		link netlink.Vxlan
		v6   bool // outside
	}{
		{"vxlan", netlink.Vxlan{}, false},
		{"vxlan with checksums", netlink.Vxlan{UDPCSum: true}, false},
		{"vxlan over IPv6", netlink.Vxlan{}, true},
		{"vxlan over IPv6 without checksums", netlink.Vxlan{UDP6ZeroCSumTx: true, UDP6ZeroCSumRx: true}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			roottest.Namespace(t)
			guests := [2]*os.File{newNamespace(t), newNamespace(t)}
			a := &judge{NIC: vethPort(t, "sl-over-a", guests[0], "10.0.0.1/24")}
			b := &judge{NIC: vethPort(t, "sl-over-b", guests[1], "10.0.0.2/24")}
			ends := [2]string{"10.0.0.1", "10.0.0.2"}
			if c.v6 {
				ends = [2]string{"fd00::1", "fd00::2"}
			}
			for i, ns := range guests {
				tunnel(t, ns, c.link, ends[i], ends[1-i], []string{"10.9.0.1/24", "10.9.0.2/24"}[i])
			}
			go forward(a, b)
			go forward(b, a)
			exchange(t, guests[0], guests[1], "10.9.0.2:7000")
			if n := a.refused.Load() + b.refused.Load(); n > 0 {
				t.Errorf("%d frames refused", n)
			}
		})
	}
}

// tunnel makes one end of a VXLAN in a guest.
func tunnel(t *testing.T, ns *os.File, link netlink.Vxlan, local, remote, inner string) {
	t.Helper()
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()))
	must(t, err)
	defer h.Close()
	eth0, err := h.LinkByName("eth0")
	must(t, err)
	if ip := net.ParseIP(local); ip.To4() == nil {
		must(t, h.AddrReplace(eth0, &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD}))
	}
	link.LinkAttrs = netlink.LinkAttrs{Name: "over0"}
	link.VxlanId, link.Port, link.SrcAddr, link.Group = 42, 4789, net.ParseIP(local), net.ParseIP(remote)
	must(t, h.LinkAdd(&link))
	over, err := h.LinkByName("over0")
	must(t, err)
	addr, err := netlink.ParseAddr(inner)
	must(t, err)
	must(t, h.AddrAdd(over, addr))
	must(t, h.LinkSetUp(over))
}

// TestRootGuestSendsAsVirtio: the guest's end of a veth leaves nothing unfinished that a virtio NIC would not.
func TestRootGuestSendsAsVirtio(t *testing.T) {
	roottest.Namespace(t)
	ns := newNamespace(t)
	vethPort(t, "sl-feat-a", ns, "10.0.0.1/24")
	within(t, ns, func() error {
		names, err := features()
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		has := deviceFeatures{cmd: unix.ETHTOOL_GFEATURES, size: featureBlocks}
		if err := ethtool(fd, "eth0", unsafe.Pointer(&has)); err != nil {
			return err
		}
		for bit, name := range names {
			b := has.block[bit/32]
			on := b.active&^b.never&(1<<(bit%32)) != 0
			if strings.HasPrefix(name, "tx-") && on && !virtioSends[name] {
				t.Errorf("%s is on", name)
			}
			if name == "tx-tcp-segmentation" && !on {
				t.Error("TCP is cut into packets before it leaves the guest")
			}
		}
		return nil
	})
}
