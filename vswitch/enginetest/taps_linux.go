package enginetest

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vnic/roottest"
	"sluice/vswitch"
)

// TAPs are devices in a network namespace of their own: the switch has a packet socket on each, as in a lab, and a case
// holds its file, as QEMU does.
type TAPs struct {
	work chan func()
	made atomic.Int64
}

// NewTAPs makes the namespace, which ends with the test. It needs root.
func NewTAPs(t *testing.T) *TAPs {
	t.Helper()
	roottest.Need(t, "makes TAPs and a namespace")
	w := &TAPs{work: make(chan func())}
	began := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends here
		began <- unix.Unshare(unix.CLONE_NEWNET)
		for do := range w.work {
			do()
		}
	}()
	if err := <-began; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(w.work) })
	return w
}

// Wire makes a TAP.
func (w *TAPs) Wire(t testing.TB, _ string) (sw, end vnic.NIC) {
	t.Helper()
	name := fmt.Sprint("tap", w.made.Add(1))
	done := make(chan error)
	w.work <- func() {
		file, err := vnic.NewTAP(name, frame.OffloadAll)
		if err == nil {
			end = &tapEnd{name: name, file: file, buf: frame.New(frame.MaxLen)}
			err = vnic.SetMTU(name, frame.SteerMTU) // in a lab only that of steered frames has it
		}
		if err == nil {
			sw, err = vnic.OpenPacket(name)
		}
		if err != nil && file != nil {
			file.Close()
		}
		done <- err
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return sw, end
}

// Missed is what the ring of the switch's socket had no room for.
func (w *TAPs) Missed(p vswitch.PortStats) uint64 { return p.NICDrops }

// tapEnd is the far end of a TAP: a NIC of one frame at a time.
type tapEnd struct {
	name string
	file *os.File
	buf  *frame.Frame
}

func (e *tapEnd) Name() string            { return e.name }
func (e *tapEnd) Offloads() frame.Offload { return frame.OffloadAll }
func (e *tapEnd) Close() error            { return ignoreClosed(e.file.Close()) }

func (e *tapEnd) ReadBatch(b *frame.Batch) error {
	b.N = 0
	e.buf.Off, e.buf.Len = frame.Headroom, frame.MaxLen
	n, err := e.file.Read(e.buf.Wire())
	if err != nil {
		return err
	}
	e.buf.Len = n - frame.VnetLen
	b.Frames[0], b.N = *e.buf, 1
	return nil
}

func (e *tapEnd) WriteBatch(frames []*frame.Frame) (int, error) {
	for i, f := range frames {
		if _, err := e.file.Write(f.Wire()); err != nil {
			return i, err
		}
	}
	return len(frames), nil
}

// ignoreClosed forgives a second Close, as any NIC does.
func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
