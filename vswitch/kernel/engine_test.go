package kernel_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vnic/roottest"
	"sluice/vswitch"
	"sluice/vswitch/kernel"
)

// TestRootAttached looks at a port's device while the engine has it, and after.
func TestRootAttached(t *testing.T) {
	roottest.Namespace(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	lan := netip.MustParsePrefix("10.10.1.0/24")
	sw, err := vswitch.New(vswitch.Config{
		Name: "attached", Engine: kernel.New, Segments: []vswitch.Segment{{Name: "lan", Prefixes: []netip.Prefix{lan}}},
	})
	must(err)
	defer sw.Close()
	guest, err := vnic.NewTAP("sl-kernel-a", frame.OffloadAll)
	must(err)
	defer guest.Close()
	dev, err := net.InterfaceByName("sl-kernel-a")
	must(err)
	nic, err := vnic.OpenPacket("sl-kernel-a")
	must(err)
	port := vswitch.Port{ID: 1, Name: "a", Segment: 1, MAC: frame.MAC{2, 0, 0, 0, 0, 1}}
	must(sw.AddPort(t.Context(), port, nic))

	_, err = guest.Write(frame.New(60).Wire())
	must(err)
	for late := time.Now().Add(10 * time.Second); sw.Stats().In == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("the switch has heard no frame")
		}
	}
	if _, err := netlink.LinkByIndex(dev.Index + vnic.PuntOffset); err != nil {
		t.Errorf("the device to punt to: %v", err)
	}
	if n := programsAt(t, dev.Index); n != 1 {
		t.Errorf("%d programs before the drop-all, want 1", n)
	}
	must(sw.RemovePort(t.Context(), 1))
	if beside, err := netlink.LinkByIndex(dev.Index + vnic.PuntOffset); err == nil {
		t.Errorf("%s is still there", beside.Attrs().Name)
	}
	if n := programsAt(t, dev.Index); n != 0 {
		t.Errorf("%d programs are still there", n)
	}
}

// programsAt counts what tcx has at a device's ingress.
func programsAt(t *testing.T, index int) int {
	t.Helper()
	there, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		t.Fatal(err)
	}
	return len(there.Programs)
}

func TestRootCheck(t *testing.T) {
	roottest.Need(t, "loads programs into the kernel")
	if err := kernel.Check(); err != nil {
		t.Error(err)
	}
}
