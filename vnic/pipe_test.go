package vnic

import (
	"errors"
	"os"
	"testing"
	"time"

	"sluice/vnic/frame"
	"sluice/vnic/roottest"
)

func TestPipeCarriesInOrder(t *testing.T) {
	sw, guest := Pipe("p", PipeOptions{Offloads: frame.OffloadAll})
	if sw.Offloads() != frame.OffloadAll {
		t.Error("offloads are not those asked for")
	}
	in := []*frame.Frame{tcpFrame(10, 0), tcpFrame(3000, 1448), tcpFrame(30, 0)}
	if n, err := guest.WriteBatch(in); n != 3 || err != nil {
		t.Fatalf("%d %v", n, err)
	}
	in[0].Eth()[60] ^= 1 // the writer keeps its frame; the copy must not change
	var b frame.Batch
	must(t, sw.ReadBatch(&b))
	if b.N != 3 {
		t.Fatalf("%d frames", b.N)
	}
	in[0].Eth()[60] ^= 1
	for i := range b.N {
		if string(b.Frames[i].Wire()) != string(in[i].Wire()) {
			t.Errorf("frame %d is changed", i)
		}
	}
}

func TestPipeFullIsCounted(t *testing.T) {
	sw, guest := Pipe("p", PipeOptions{Queue: 5})
	frames := make([]*frame.Frame, 8)
	for i := range frames {
		frames[i] = tcpFrame(i+1, 0)
	}
	if n, err := guest.WriteBatch(frames); n != 5 || err != nil {
		t.Fatalf("%d of 8 sent into a queue of 5, %v", n, err)
	}
	if got := sw.(Dropper).Drops(); got != 3 {
		t.Errorf("%d drops, want 3", got)
	}
	if got := guest.(Dropper).Drops(); got != 0 {
		t.Errorf("%d drops the other way", got)
	}
	// What the reader has borrowed takes no room, and is not written over.
	var b frame.Batch
	must(t, sw.ReadBatch(&b))
	if n, _ := guest.WriteBatch(frames); n != 5 {
		t.Errorf("%d sent while a batch is borrowed", n)
	}
	for i := range b.N {
		if b.Frames[i].Len != 55+i {
			t.Errorf("borrowed frame %d was written over", i)
		}
	}
}

func TestPipeClose(t *testing.T) {
	sw, guest := Pipe("p", PipeOptions{})
	ended := make(chan error)
	go func() {
		var b frame.Batch
		ended <- sw.ReadBatch(&b)
	}()
	must(t, guest.Close())
	must(t, sw.Close())
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrClosed) {
			t.Fatalf("ReadBatch ended with %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("ReadBatch did not end")
	}
	if _, err := sw.WriteBatch([]*frame.Frame{tcpFrame(1, 0)}); !errors.Is(err, os.ErrClosed) {
		t.Fatalf("WriteBatch after Close: %v", err)
	}
}

func TestPipeDoesNotAllocate(t *testing.T) {
	sw, guest := Pipe("p", PipeOptions{Queue: 8})
	frames := []*frame.Frame{tcpFrame(100, 0)}
	var b frame.Batch
	round := func() {
		guest.WriteBatch(frames)
		sw.ReadBatch(&b)
	}
	for range 100 { // each buffer grows once
		round()
	}
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// waits says which batches its reader had to wait for: not for what was there before it asked.
func waits(t *testing.T, nic NIC, write func()) {
	t.Helper()
	var b frame.Batch
	write()
	time.Sleep(20 * time.Millisecond) // too short a pause could only make it wait, and fail
	must(t, nic.ReadBatch(&b))
	if b.Waited {
		t.Error("it waited for a frame that was there")
	}
	for range 3 {
		go func() {
			time.Sleep(50 * time.Millisecond) // until the reader waits
			write()
		}()
		must(t, nic.ReadBatch(&b))
		if !b.Waited {
			t.Error("it did not wait for a frame that was not there")
		}
	}
}

func TestPipeWaits(t *testing.T) {
	sw, guest := Pipe("p", PipeOptions{})
	waits(t, sw, func() { guest.WriteBatch([]*frame.Frame{tcpFrame(1, 0)}) })
}

func TestRootPacketWaits(t *testing.T) {
	roottest.Namespace(t)
	tap, nic := tapPort(t, "p0")
	waits(t, nic, func() { tap.Write(tcpFrame(1, 0).Wire()) })
}
