package vnic

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sluice/vnic/frame"
)

// inNamespace gives the test's goroutine a thread in a network namespace of its own. The thread is never unlocked, so it ends with the
// test, and the namespace with the last descriptor in it.
func inNamespace(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("SLUICE_TEST_NO_SKIP") == "1" {
			t.Fatal("needs root: makes TAPs and namespaces")
		}
		t.Skip("needs root: makes TAPs and namespaces")
	}
	runtime.LockOSThread()
	must(t, unix.Unshare(unix.CLONE_NEWNET))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tapPort is a TAP as QEMU would hold it, and the switch's end of it.
func tapPort(t testing.TB, name string) (guest *os.File, nic NIC) {
	t.Helper()
	guest, err := NewTAP(name, frame.OffloadAll)
	must(t, err)
	t.Cleanup(func() { guest.Close() })
	nic, err = OpenPacket(name)
	must(t, err)
	t.Cleanup(func() { nic.Close() })
	return guest, nic
}

// forward moves frames one way until its NIC is closed.
func forward(from, to NIC) {
	var b frame.Batch
	out := make([]*frame.Frame, 0, frame.BatchSize)
	for from.ReadBatch(&b) == nil {
		out = out[:0]
		for i := range b.N {
			out = append(out, &b.Frames[i])
		}
		to.WriteBatch(out)
	}
}

var (
	macA = frame.MAC{2, 0, 0, 0, 0, 0xa}
	macB = frame.MAC{2, 0, 0, 0, 0, 0xb}
	ipA  = frame.AddrFrom(netip4(10, 0, 0, 1))
	ipB  = frame.AddrFrom(netip4(10, 0, 0, 2))
)

// tcpFrame is a TCP/IPv4 frame whose checksum is left open, in packets of size bytes of payload; 0 means one packet.
func tcpFrame(payload, size int) *frame.Frame {
	f := frame.New(54 + payload)
	b := f.Eth()
	frame.PutEth(b, macB, macA, frame.EtherIPv4)
	frame.PutIPv4(b[14:], ipA, ipB, frame.ProtoTCP, 64, 40+payload)
	binary.BigEndian.PutUint16(b[34:], 1234)
	binary.BigEndian.PutUint16(b[36:], 80)
	b[46], b[47] = 5<<4, frame.TCPAck
	for i := range payload {
		b[54+i] = byte(i * 7)
	}
	pseudo := frame.L4Checksum(ipA, ipB, frame.ProtoTCP, make([]byte, 40+payload-20))
	binary.BigEndian.PutUint16(b[50:], ^pseudo)
	f.Vnet().SetChecksum(34, 16)
	if size > 0 {
		f.Vnet().SetGSO(frame.GSOTCPv4, size, 54)
	}
	return f
}

// readTAP reads one IPv4 frame that the guest gets.
func readTAP(t testing.TB, tap *os.File) *frame.Frame {
	t.Helper()
	must(t, tap.SetReadDeadline(time.Now().Add(5*time.Second)))
	f := frame.New(frame.MaxLen)
	for {
		n, err := tap.Read(f.Wire())
		must(t, err)
		f.Len = n - frame.VnetLen
		if f.Len >= frame.MinLen && binary.BigEndian.Uint16(f.Eth()[12:]) == frame.EtherIPv4 {
			return f
		}
		f.Len = frame.MaxLen
	}
}

func TestRootGSOFrameStaysWhole(t *testing.T) {
	inNamespace(t)
	guestA, a := tapPort(t, "sl-vnic-a")
	guestB, b := tapPort(t, "sl-vnic-b")
	go forward(a, b)
	for _, payload := range []int{1, 1400, 20000, 65000} {
		size := 0
		if payload > 1448 {
			size = 1448
		}
		in := tcpFrame(payload, size)
		_, err := guestA.Write(in.Wire())
		must(t, err)
		out := readTAP(t, guestB)
		if string(out.Eth()) != string(in.Eth()) {
			t.Fatalf("%d bytes of payload: came out changed: %d bytes in, %d out", payload, in.Len, out.Len)
		}
		if out.Vnet().GSOSize() != uint16(size) || out.Vnet().Flags()&frame.VnetNeedsCsum == 0 {
			t.Fatalf("%d bytes of payload: vnet header % x became % x", payload, *in.Vnet(), *out.Vnet())
		}
	}
}

func TestRootCloseEndsRead(t *testing.T) {
	inNamespace(t)
	_, nic := tapPort(t, "sl-vnic-a")
	ended := make(chan error)
	go func() {
		var b frame.Batch
		ended <- nic.ReadBatch(&b)
	}()
	must(t, nic.Close())
	must(t, nic.Close())
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrClosed) {
			t.Fatalf("ReadBatch ended with %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("ReadBatch did not end")
	}
	if _, err := nic.WriteBatch([]*frame.Frame{frame.New(60)}); !errors.Is(err, os.ErrClosed) {
		t.Fatalf("WriteBatch after Close: %v", err)
	}
}

func TestRootDeviceGoneIsFinal(t *testing.T) {
	inNamespace(t)
	guest, nic := tapPort(t, "sl-vnic-a")
	must(t, guest.Close())
	var b frame.Batch
	if err := nic.ReadBatch(&b); err == nil || errors.Is(err, os.ErrClosed) {
		t.Fatalf("ReadBatch of a device that is gone: %v", err)
	}
	if _, err := nic.WriteBatch([]*frame.Frame{frame.New(60)}); err == nil {
		t.Fatal("WriteBatch to a device that is gone: no error")
	}
}

func TestRootNothingReachesTheStack(t *testing.T) {
	inNamespace(t)
	guest, nic := tapPort(t, "sl-vnic-a")
	link, err := netlink.LinkByName("sl-vnic-a")
	must(t, err)
	// Even with an address, which a lab's namespace never has, the stack must not hear.
	must(t, netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 0, 0, 2), Mask: net.CIDRMask(24, 32)}}))
	ask := frame.New(42)
	frame.PutEth(ask.Eth(), frame.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, macA, frame.EtherARP)
	frame.PutARP(ask.Eth()[14:], 1, macA, ipA, frame.MAC{}, ipB)
	_, err = guest.Write(ask.Wire())
	must(t, err)
	var b frame.Batch
	must(t, nic.ReadBatch(&b))
	if string(b.Frames[0].Eth()) != string(ask.Eth()) {
		t.Fatal("the packet socket did not hear the question first")
	}
	// What the switch writes comes after any answer of the stack.
	mark := tcpFrame(1, 0)
	_, err = nic.WriteBatch([]*frame.Frame{mark})
	must(t, err)
	must(t, guest.SetReadDeadline(time.Now().Add(5*time.Second)))
	got := make([]byte, 2048)
	n, err := guest.Read(got)
	must(t, err)
	if string(got[frame.VnetLen:n]) != string(mark.Eth()) {
		t.Fatalf("the namespace's stack answered: % x", got[frame.VnetLen:n])
	}
}
