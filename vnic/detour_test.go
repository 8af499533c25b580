package vnic

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"

	"sluice/vnic/frame"
	"sluice/vnic/roottest"
)

// puntAll is a program that punts every frame.
func puntAll(t testing.TB) *ebpf.Program {
	t.Helper()
	const ifindex = 40 // in struct __sk_buff
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "punt_all", Type: ebpf.SchedCLS, License: "Apache-2.0",
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R1, asm.R1, ifindex, asm.Word), asm.Add.Imm(asm.R1, PuntOffset), asm.Mov.Imm(asm.R2, 0),
			asm.FnRedirectPeer.Call(), asm.Return(),
		},
	})
	must(t, err)
	t.Cleanup(func() { prog.Close() })
	return prog
}

// divertedPort is a tapPort with a program in front that punts everything.
func divertedPort(t testing.TB, name string, how attacher) (guest *os.File, nic NIC) {
	t.Helper()
	guest, nic = tapPort(t, name)
	yard, err := NewYard()
	must(t, err)
	t.Cleanup(func() { yard.Close() })
	must(t, nic.(*packet).divert(yard, puntAll(t), how))
	return guest, nic
}

var attachers = map[string]attacher{"tcx": attach, "clsact": attachFilter}

// TestRootPuntedAsHeard sends the same to two TAPs, and what a diverted NIC reads is what the other one hears: the same
// bytes, and the same virtio_net_hdr.
func TestRootPuntedAsHeard(t *testing.T) {
	for way, how := range attachers {
		t.Run(way, func(t *testing.T) {
			roottest.Namespace(t)
			guestA, heard := tapPort(t, "sl-vnic-a")
			guestB, punted := divertedPort(t, "sl-vnic-b", how)
			for i, f := range oddFrames() {
				_, errA := guestA.Write(f)
				_, errB := guestB.Write(f)
				if (errA == nil) != (errB == nil) {
					t.Fatalf("frame %d: one TAP says %v, the other %v", i, errA, errB)
				}
			}
			end := tcpFrame(1234, 0)
			guestA.Write(end.Wire())
			guestB.Write(end.Wire())
			want, got := readThrough(t, heard, end), readThrough(t, punted, end)
			for i := range min(len(want), len(got)) {
				if !bytes.Equal(got[i], want[i]) {
					t.Fatalf("frame %d of %d and %d:\npunted % x\nheard  % x", i, len(got[i]), len(want[i]), got[i][:24], want[i][:24])
				}
			}
			if lost := heard.(Dropper).Drops(); len(got) != len(want) || punted.(Dropper).Drops() != lost {
				t.Errorf("%d frames punted and %d lost, %d heard and %d lost", len(got), punted.(Dropper).Drops(), len(want), lost)
			}
			if len(want) < 500 {
				t.Errorf("only %d frames came through", len(want))
			}
		})
	}
}

// oddFrames are what a guest may write to its TAP: long and short, tagged, unfinished in every way.
func oddFrames() (out [][]byte) {
	add := func(f *frame.Frame) { out = append(out, bytes.Clone(f.Wire())) }
	for _, n := range []int{0, 1, 1400, 1460, 2000, 20000, 60000, 65000} {
		add(tcpFrame(n, 0))
		add(tcpFrame(n, 1448))
		udp := tcpFrame(n, 1400)
		udp.Eth()[23] = frame.ProtoUDP
		udp.Vnet().SetChecksum(34, 6)
		udp.Vnet().SetGSO(frame.GSOUDPL4, 1400, 42)
		binary.BigEndian.PutUint16(udp.Eth()[38:], uint16(20+n))
		add(udp)
		for _, tag := range [][]byte{{0x81, 0, 0, 5}, {0x81, 0, 0, 0}, {0x88, 0xa8, 0x60, 7}, {0x88, 0xa8, 0, 7, 0x81, 0, 0, 5}} {
			f := tcpFrame(n, 0)
			add(frame.From(slices.Concat(f.Eth()[:12], tag, f.Eth()[12:])))
		}
	}
	for n := frame.MinLen; n < 64; n++ {
		add(frame.From(tcpFrame(100, 0).Eth()[:n]))
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 4000 {
		f := tcpFrame(rng.IntN(1400), 0)
		for i := range f.Vnet() {
			if rng.IntN(2) == 0 {
				f.Vnet()[i] = byte(rng.UintN(256))
			}
		}
		f.Vnet()[1] = []uint8{frame.GSONone, frame.GSOTCPv4, frame.GSOTCPv6, frame.GSOUDPL4}[rng.IntN(4)] // others stop the ring
		add(f)
	}
	return out
}

// readThrough reads frames with their virtio_net_hdr, until one that ends them.
func readThrough(t testing.TB, nic NIC, end *frame.Frame) (all [][]byte) {
	t.Helper()
	watchdog := time.AfterFunc(10*time.Second, func() { nic.Close() })
	defer watchdog.Stop()
	var b frame.Batch
	for {
		must(t, nic.ReadBatch(&b))
		for i := range b.N {
			all = append(all, bytes.Clone(b.Frames[i].Wire()))
		}
		if bytes.Equal(b.Frames[b.N-1].Eth(), end.Eth()) {
			return all
		}
	}
}

// TestRootDivertedLeaves closes a diverted NIC: nothing of the detour stays, and no frame comes to the namespace's
// stack.
func TestRootDivertedLeaves(t *testing.T) {
	for way, how := range attachers {
		t.Run(way, func(t *testing.T) {
			roottest.Namespace(t)
			guest, nic := divertedPort(t, "sl-vnic-a", how)
			dev, err := netlink.LinkByName("sl-vnic-a")
			must(t, err)
			must(t, netlink.AddrAdd(dev, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 0, 0, 2), Mask: net.CIDRMask(24, 32)}}))
			must(t, nic.Close())
			if left, err := netlink.LinkByIndex(dev.Attrs().Index + PuntOffset); err == nil {
				t.Errorf("%s is still there", left.Attrs().Name)
			}
			ask := frame.New(42)
			frame.PutEth(ask.Eth(), frame.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, macA, frame.EtherARP)
			frame.PutARP(ask.Eth()[14:], 1, macA, ipA, frame.MAC{}, ipB)
			_, err = guest.Write(ask.Wire())
			must(t, err)
			must(t, guest.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
			if n, err := guest.Read(make([]byte, 2048)); err == nil {
				t.Errorf("the namespace's stack answered with %d bytes", n)
			}
		})
	}
}

// TestRootDivertedDeviceGone takes the device away from a reader who hears another one.
func TestRootDivertedDeviceGone(t *testing.T) {
	roottest.Namespace(t)
	guest, nic := divertedPort(t, "sl-vnic-a", attach)
	ended := make(chan error)
	go func() {
		var b frame.Batch
		ended <- nic.ReadBatch(&b)
	}()
	must(t, guest.Close())
	select {
	case err := <-ended:
		if err == nil || errors.Is(err, os.ErrClosed) {
			t.Errorf("ReadBatch of a device that is gone: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("ReadBatch waits for a device that is gone")
	}
	must(t, nic.Close())
	if left, err := netlink.LinkByName(fmt.Sprint("punt", nic.(*packet).detour.punt-PuntOffset)); err == nil {
		t.Errorf("%s is still there", left.Attrs().Name)
	}
}

// TestRootDivertRefused diverts a NIC that is closed, and one twice.
func TestRootDivertRefused(t *testing.T) {
	roottest.Namespace(t)
	_, nic := divertedPort(t, "sl-vnic-a", attach)
	if err := nic.(Diverter).Divert(nil, nil, nil); err == nil {
		t.Error("a NIC was diverted twice")
	}
	must(t, nic.Close())
	if err := nic.(Diverter).Divert(nil, nil, nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a closed NIC is diverted: %v", err)
	}
}
