package kernel_test

import (
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/firewall"
	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vnic/roottest"
	"sluice/vswitch"
	"sluice/vswitch/kernel"
	"sluice/vswitch/user"
)

// TestRootSame draws frames of a few flows, most of them plain and some odd, and lets both engines have each: what
// comes out at every port, the counters and the flow table must be the same.
func TestRootSame(t *testing.T) {
	roottest.Namespace(t)
	frames, seed := fromEnvironment(t, "SLUICE_TEST_FRAMES", sameFrames), fromEnvironment(t, "SLUICE_TEST_SEED", 1)
	for _, placement := range []firewall.Placement{firewall.Fast, firewall.Off} {
		t.Run(placement.String(), func(t *testing.T) {
			rigs := []*twin{newTwin(t, "u", user.New, placement), newTwin(t, "k", kernel.New, placement)}
			d := newDrawer(uint64(seed))
			for i := range frames {
				from, f := d.draw()
				said := f.String()
				var got [2]string
				for j, r := range rigs {
					got[j] = r.pass(from, f.frame)
				}
				if got[0] != got[1] {
					t.Fatalf("frame %d, %s\nuser:\n%s\nkernel:\n%s", i, said, got[0], got[1])
				}
			}
			if a, b := rigs[0].state(), rigs[1].state(); a != b {
				t.Errorf("user:\n%s\nkernel:\n%s", a, b)
			}
			moved := uint64(0)
			for _, p := range rigs[1].sw.Stats().Ports {
				moved += p.KernelFrames
			}
			if t.Logf("%d of %d frames were moved in the kernel", moved, frames); moved < uint64(frames)/4 {
				t.Errorf("the kernel has moved %d of %d frames", moved, frames)
			}
		})
	}
}

// sameFrames are drawn for each placement; SLUICE_TEST_FRAMES says another number, and SLUICE_TEST_SEED which.
const sameFrames = 6000

func fromEnvironment(t *testing.T, name string, usual int) int {
	said := os.Getenv(name)
	if said == "" {
		return usual
	}
	n, err := strconv.Atoi(said)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The guests: two on one segment, one on another.
var sameAddrs = []string{"10.10.1.10", "10.10.1.11", "10.10.2.10"}

var sameAddrs6 = []string{"fd00:10:1::10", "fd00:10:1::11", "fd00:10:2::10"}

// twin is a switch with its guests' TAPs, by port, from 1.
type twin struct {
	sw   *vswitch.Switch
	taps []*os.File
	sent uint64
	buf  []byte
}

func newTwin(t *testing.T, prefix string, engine vswitch.NewEngine, placement firewall.Placement) *twin {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w := &twin{buf: make([]byte, frame.MaxLen+frame.VnetLen)}
	var segments []vswitch.Segment
	inv := &firewall.Inventory{}
	for i := range 2 {
		prefixes := []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.10.%d.0/24", i+1)), netip.MustParsePrefix(fmt.Sprintf("fd00:10:%d::/64", i+1))}
		segments = append(segments, vswitch.Segment{
			Name: fmt.Sprint("s", i+1), Prefixes: prefixes,
			Gateways: []netip.Addr{prefixes[0].Addr().Next(), prefixes[1].Addr().Next()}, GatewayMAC: gatewayMAC(i),
		})
		inv.Segments = append(inv.Segments, firewall.InvSegment{Name: fmt.Sprint("s", i+1), ID: frame.SegmentID(i + 1), Prefixes: prefixes})
	}
	var err error
	w.sw, err = vswitch.New(vswitch.Config{Name: prefix, Engine: engine, Segments: segments})
	must(err)
	t.Cleanup(func() {
		w.sw.Close()
		for _, tap := range w.taps {
			tap.Close()
		}
	})
	for i, a := range sameAddrs {
		name := fmt.Sprintf("same-%s%d", prefix, i+1)
		tap, err := vnic.NewTAP(name, frame.OffloadAll)
		must(err)
		nic, err := vnic.OpenPacket(name)
		must(err)
		addrs := []netip.Addr{netip.MustParseAddr(a), netip.MustParseAddr(sameAddrs6[i])}
		p := vswitch.Port{ID: frame.PortID(i + 1), Name: fmt.Sprint("g", i+1), Segment: frame.SegmentID(1 + i/2), MAC: guestMAC(i), Addrs: addrs}
		must(w.sw.AddPort(t.Context(), p, nic))
		inv.Guests = append(inv.Guests, firewall.InvGuest{Name: p.Name, VNICs: []firewall.InvVNIC{{Port: p.ID, Segment: p.Segment, MAC: p.MAC, Addrs: addrs}}})
		w.taps = append(w.taps, tap)
	}
	policy, err := firewall.Load("same.yaml", []byte("default: drop\nservices: {some: {tcp: 80, udp: 53}}\nrules:\n"+
		"  - {name: some, service: some, action: allow}\n"), inv)
	must(err)
	_, err = w.sw.SetPolicy(t.Context(), policy)
	must(err)
	_, err = w.sw.Place(t.Context(), placement, vswitch.PlaceOptions{})
	must(err)
	return w
}

func guestMAC(i int) frame.MAC   { return frame.MAC{2, 0, 0, 0, 0, byte(i + 1)} }
func gatewayMAC(i int) frame.MAC { return frame.MAC{2, 0, 0, 0, 1, byte(i + 1)} }

// pass lets a guest send a frame, and says what comes out where.
func (w *twin) pass(from int, f *frame.Frame) string {
	if _, err := w.taps[from].Write(f.Wire()); err != nil {
		return err.Error()
	}
	w.sent++
	for late := time.Now().Add(5 * time.Second); w.sw.Stats().In < w.sent; {
		if time.Now().After(late) {
			return "it does not come in"
		}
	}
	var b strings.Builder
	for i, tap := range w.taps {
		for {
			n, err := readNow(tap, w.buf)
			if errors.Is(err, unix.EAGAIN) {
				break
			}
			if err != nil {
				return err.Error()
			}
			copy(w.buf[hdrLenAt:], []byte{0, 0})
			fmt.Fprintf(&b, "port %d: %d bytes of sum %08x: %x\n", i+1, n, crc32.ChecksumIEEE(w.buf[:n]), w.buf[:min(n, 100)])
		}
	}
	return b.String()
}

// hdrLenAt is where a virtio_net_hdr says how much of a frame is headers. It is a hint: the kernel writes how much of
// it lies in one piece, and that is more where the frame was written by a packet socket.
const hdrLenAt = 2

// readNow reads what is there.
func readNow(f *os.File, b []byte) (n int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	if e := raw.Read(func(fd uintptr) bool { n, err = unix.Read(int(fd), b); return true }); e != nil {
		return 0, e
	}
	return n, err
}

// state is what the switch has counted and knows.
func (w *twin) state() string {
	var b strings.Builder
	st := w.sw.Stats()
	for _, p := range st.Ports {
		fmt.Fprintln(&b, p.Name, p.InFrames, p.InBytes, p.OutFrames, p.OutBytes, p.Copies, p.Dropped, p.NICDrops)
	}
	for _, r := range st.Rules {
		fmt.Fprintln(&b, r.Rule, r.Hits, r.Frames, r.Bytes)
	}
	var lines []string
	for _, f := range w.sw.Flows() {
		f.Timeout = 0
		lines = append(lines, fmt.Sprintf("%+v\n", f))
	}
	slices.Sort(lines)
	b.WriteString(strings.Join(lines, ""))
	return b.String()
}
