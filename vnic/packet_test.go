package vnic

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"sluice/vnic/frame"
	"sluice/vnic/roottest"
)

func TestRootGSOFrameStaysWhole(t *testing.T) {
	roottest.Namespace(t)
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

// A guest that takes no GSO frames gets the packets that they stand for.
func TestRootGSOFrameIsSplitWhereItMustBe(t *testing.T) {
	roottest.Namespace(t)
	guest, err := NewTAP("sl-vnic-a", frame.OffloadNone)
	must(t, err)
	defer guest.Close()
	nic, err := OpenPacket("sl-vnic-a")
	must(t, err)
	defer nic.Close()
	sent, err := nic.WriteBatch([]*frame.Frame{tcpFrame(1, 0), tcpFrame(3000, 1448), tcpFrame(2, 0)})
	must(t, err)
	if sent != 3 {
		t.Errorf("%d of 3 frames sent", sent)
	}
	for i, want := range []int{1, 1448, 1448, 104, 2} {
		if got := readTAP(t, guest); got.Len != 54+want || !got.Vnet().Plain() {
			t.Fatalf("packet %d has %d bytes of payload, want %d; vnet header % x", i, got.Len-54, want, *got.Vnet())
		}
	}
}

// A full queue must not be mistaken for a far end that takes no GSO frames: frames would come in pieces.
func TestRootFeaturesOfTheFarEnd(t *testing.T) {
	roottest.Namespace(t)
	for _, c := range []struct {
		offloads frame.Offload
		kind     uint8
		whole    bool
	}{
		{frame.OffloadNone, frame.GSOTCPv4, false},
		{frame.OffloadAll, frame.GSOTCPv4, true},
		{frame.OffloadAll, frame.GSOTCPv6, true},
		{frame.OffloadAll, frame.GSOUDPL4, true},
		{frame.OffloadChecksum | frame.OffloadTSO4, frame.GSOTCPv4, true},
		{frame.OffloadChecksum | frame.OffloadTSO4, frame.GSOTCPv6, false},
	} {
		guest, err := NewTAP("sl-vnic-a", c.offloads)
		must(t, err)
		nic, err := OpenPacket("sl-vnic-a")
		must(t, err)
		if got := takesWhole(nic.(*packet).fd, "sl-vnic-a", c.kind); got != c.whole {
			t.Errorf("offloads %b, GSO type %d: taken whole %t, want %t", c.offloads, c.kind, got, c.whole)
		}
		must(t, nic.Close())
		must(t, guest.Close())
	}
}

func TestRootCloseEndsRead(t *testing.T) {
	roottest.Namespace(t)
	_, nic := tapPort(t, "sl-vnic-a")
	ended := make(chan error)
	go func() {
		var b frame.Batch
		ended <- nic.ReadBatch(&b)
	}()
	for p := nic.(*packet); p.reading.TryLock(); runtime.Gosched() { // until the reader has it
		p.reading.Unlock()
	}
	must(t, nic.Close())
	must(t, nic.Close())
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrClosed) {
			t.Fatalf("ReadBatch ended with %v", err)
		}
		if nic.(*packet).rx.ring.mem != nil {
			t.Error("the ring is still mapped")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("ReadBatch did not end")
	}
	if _, err := nic.WriteBatch([]*frame.Frame{frame.New(60)}); !errors.Is(err, os.ErrClosed) {
		t.Fatalf("WriteBatch after Close: %v", err)
	}
}

func TestRootDeviceGoneIsFinal(t *testing.T) {
	roottest.Namespace(t)
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
	roottest.Namespace(t)
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

func TestRootFullQueueIsCountedAndDoesNotBlock(t *testing.T) {
	roottest.Namespace(t)
	guest, nic := tapPort(t, "sl-vnic-a")
	frames := make([]*frame.Frame, 3000)
	for i := range frames {
		frames[i] = tcpFrame(1, 0)
	}
	sent, err := nic.WriteBatch(frames)
	must(t, err)
	if sent == 0 || sent == len(frames) {
		t.Fatalf("%d of %d frames sent to a guest that reads none", sent, len(frames))
	}
	for range sent {
		readTAP(t, guest)
	}
	must(t, guest.SetReadDeadline(time.Now()))
	if n, err := guest.Read(make([]byte, 2048)); err == nil {
		t.Fatalf("a frame of %d bytes more than the %d sent", n, sent)
	}
}

func TestRootDropsAreCounted(t *testing.T) { eachPort(t, testDropsAreCounted) }

func testDropsAreCounted(t *testing.T, port porter) {
	guest, nic := port(t, "sl-vnic-a")
	wire := tcpFrame(1, 0).Wire()
	drops := nic.(Dropper)
	written := 0
	for drops.Drops() < 1000 {
		if written += 1000; written > 1_000_000 {
			t.Fatal("the socket holds a million frames")
		}
		for range 1000 {
			_, err := guest.Write(wire)
			must(t, err)
		}
	}
	want := written - int(drops.Drops())
	if got := readUntil(t, nic, want); got != want {
		t.Fatalf("%d written, %d dropped, %d read", written, drops.Drops(), got)
	}
	t.Logf("the socket held %d frames", want)
}

// A long frame that the socket's queue cannot hold leaves a slot with its beginning, which must not pass for a frame.
func TestRootNoFrameIsCutShort(t *testing.T) { eachPort(t, testNoFrameIsCutShort) }

func testNoFrameIsCutShort(t *testing.T, port porter) {
	guest, nic := port(t, "sl-vnic-a")
	const long = 300
	for range long {
		_, err := guest.Write(tcpFrame(60000, 1448).Wire())
		must(t, err)
	}
	_, err := guest.Write(tcpFrame(1, 0).Wire())
	must(t, err)
	whole := 0
	var b frame.Batch
	for done := false; !done; {
		must(t, nic.ReadBatch(&b))
		for i := range b.N {
			switch b.Frames[i].Len {
			case 60054:
				whole++
			case 55:
				done = true
			default:
				t.Fatalf("a frame of %d bytes", b.Frames[i].Len)
			}
		}
	}
	if lost := nic.(Dropper).Drops(); lost == 0 || whole+int(lost) != long {
		t.Fatalf("%d sent, %d read, %d dropped", long, whole, lost)
	}
}

func TestRootBadFrameHurtsNobodyElse(t *testing.T) {
	roottest.Namespace(t)
	guest, nic := tapPort(t, "sl-vnic-a")
	bad := tcpFrame(1, 0)
	bad.Vnet().SetChecksum(60000, 2)
	kind := tcpFrame(1, 0)
	kind.Vnet().SetGSO(77, 1, 54)
	sent, err := nic.WriteBatch([]*frame.Frame{tcpFrame(1, 0), bad, kind, tcpFrame(2, 0), frame.New(0), tcpFrame(3, 0)})
	must(t, err)
	if sent != 3 {
		t.Errorf("%d frames sent", sent)
	}
	for n := 1; n <= 3; n++ {
		if got := readTAP(t, guest); got.Len != 54+n {
			t.Fatalf("frame of %d bytes, want %d", got.Len, 54+n)
		}
	}
}

// TestRootHostileVnet sends every kind of header that a guest could make up, and only what Parse accepts is sent on.
func TestRootHostileVnet(t *testing.T) { eachPort(t, testHostileVnet) }

func testHostileVnet(t *testing.T, port porter) {
	guestA, a := port(t, "sl-vnic-a")
	guestB, b := tapPort(t, "sl-vnic-b")
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		f := tcpFrame(rng.IntN(1400), 0)
		for i := range f.Vnet() {
			if rng.IntN(2) == 0 {
				f.Vnet()[i] = byte(rng.UintN(256))
			}
		}
		guestA.Write(f.Wire()) // the kernel refuses some
	}
	// One of these kinds stops the kernel's ring; the NIC notices, so what is repeated comes through.
	last := tcpFrame(7777, 1448)
	repeat := time.NewTicker(20 * time.Millisecond)
	over := make(chan struct{})
	defer close(over)
	defer repeat.Stop()
	go func() {
		for {
			select {
			case <-repeat.C:
				guestA.Write(last.Wire())
			case <-over:
				return
			}
		}
	}()
	watchdog := time.AfterFunc(10*time.Second, func() { a.Close() })
	defer watchdog.Stop()
	var batch frame.Batch
	var k frame.Key
	for done := false; !done; {
		must(t, a.ReadBatch(&batch))
		for i := range batch.N {
			f := &batch.Frames[i]
			if frame.Parse(f, &k) != frame.ReasonNone {
				continue
			}
			if n, err := b.WriteBatch([]*frame.Frame{f}); err != nil || n != 1 {
				t.Fatalf("a frame that Parse accepted is refused: %d %v: % x", n, err, *f.Vnet())
			}
			done = readTAP(t, guestB).Len == last.Len
		}
	}
}

func TestRootWritersShare(t *testing.T) {
	roottest.Namespace(t)
	guest, nic := tapPort(t, "sl-vnic-a")
	const writers, each = 4, 2000
	sent := make(chan int)
	for w := range writers {
		go func() {
			total := 0
			for i := range each {
				f := tcpFrame(8, 0)
				f.Eth()[54] = byte(w)
				binary.BigEndian.PutUint32(f.Eth()[55:], uint32(i))
				n, _ := nic.WriteBatch([]*frame.Frame{f})
				total += n
			}
			sent <- total
		}()
	}
	want, got, open := 0, 0, writers
	next := [writers]int{}
	buf := make([]byte, 2048)
	for open > 0 || got < want {
		select {
		case n := <-sent:
			want += n
			open--
		default:
		}
		must(t, guest.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
		n, err := guest.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if open == 0 {
				break
			}
			continue
		}
		must(t, err)
		b := buf[frame.VnetLen:n]
		w, i := b[54], int(binary.BigEndian.Uint32(b[55:]))
		if i < next[w] {
			t.Fatalf("writer %d: frame %d after %d", w, i, next[w])
		}
		next[w] = i + 1
		got++
	}
	if got != want || got == 0 {
		t.Fatalf("%d frames sent, %d came", want, got)
	}
}

func TestRootBatchDoesNotAllocate(t *testing.T) {
	roottest.Namespace(t)
	guestA, a := tapPort(t, "sl-vnic-a")
	guestB, b := tapPort(t, "sl-vnic-b")
	wire := tcpFrame(100, 0).Wire()
	var batch frame.Batch
	out := make([]*frame.Frame, 0, frame.BatchSize)
	buf := make([]byte, 2048)
	n := testing.AllocsPerRun(200, func() {
		guestA.Write(wire)
		must(t, a.ReadBatch(&batch))
		out = append(out[:0], &batch.Frames[0])
		b.WriteBatch(out)
		guestB.Read(buf)
	})
	if n != 0 {
		t.Fatalf("%v allocations for a batch", n)
	}
}

func TestRootRingTurns(t *testing.T) {
	roottest.Namespace(t)
	guest, nic := tapPort(t, "sl-vnic-a")
	for n := 0; n < 3*ringSlots; n += 32 {
		for range 32 {
			_, err := guest.Write(tcpFrame(n%1000, 0).Wire())
			must(t, err)
		}
		readUntil(t, nic, 32)
	}
	if got := nic.(Dropper).Drops(); got != 0 {
		t.Errorf("%d frames dropped", got)
	}
}

// Short and long frames take different ways through the kernel; their order must not change.
func TestRootLongAndShortStayInOrder(t *testing.T) { eachPort(t, testLongAndShortStayInOrder) }

func testLongAndShortStayInOrder(t *testing.T, port porter) {
	guest, nic := port(t, "sl-vnic-a")
	lengths := []int{1, 60000, 2, 3, 60000, 1460, 60000, 60000, 60000, 60000, 60000, 60000, 60000, 60000, 60000, 60000, 4}
	for _, n := range lengths {
		_, err := guest.Write(tcpFrame(n, 1448).Wire())
		must(t, err)
	}
	var b frame.Batch
	for got := 0; got < len(lengths); {
		must(t, nic.ReadBatch(&b))
		bytes := 0
		for i := range b.N {
			f := &b.Frames[i]
			if string(f.Eth()) != string(tcpFrame(lengths[got], 1448).Eth()) {
				t.Fatalf("frame %d of %d bytes came instead of one of %d", got, f.Len, lengths[got]+54)
			}
			bytes += f.Len
			got++
		}
		if bytes > batchBytes+frame.MaxLen {
			t.Errorf("a batch of %d bytes", bytes)
		}
	}
}

// TestRootTaggedFrameIsSeen says that a frame comes with the VLAN tags that its guest gave it: the kernel takes the
// outer one off.
func TestRootTaggedFrameIsSeen(t *testing.T) {
	roottest.Namespace(t)
	guest, nic := tapPort(t, "sl-vnic-a")
	want := [][]byte{}
	for _, tag := range [][]byte{{0x81, 0, 0, 5}, {0x81, 0, 0xe0, 0}, {0x88, 0xa8, 0x60, 7}, {0x88, 0xa8, 0, 7, 0x81, 0, 0, 5}} {
		for _, n := range []int{1, 3000} { // in a slot of the ring, and beside it
			plain := tcpFrame(n, 1448)
			plain.Vnet().Clear()
			tagged := frame.From(slices.Concat(plain.Eth()[:12], tag, plain.Eth()[12:]))
			want = append(want, bytes.Clone(tagged.Eth()))
			_, err := guest.Write(tagged.Wire())
			must(t, err)
		}
	}
	var b frame.Batch
	for len(want) > 0 {
		must(t, nic.ReadBatch(&b))
		for i := range b.N {
			if !bytes.Equal(b.Frames[i].Eth(), want[0]) {
				t.Fatalf("came %x\nsent %x", b.Frames[i].Eth()[:24], want[0][:24])
			}
			var k frame.Key
			if r := frame.Parse(&b.Frames[i], &k); r != frame.ReasonVLAN {
				t.Errorf("%x: %v", want[0][:24], r)
			}
			want = want[1:]
		}
	}
	if n := nic.(Dropper).Drops(); n != 0 {
		t.Errorf("%d dropped", n)
	}
}
