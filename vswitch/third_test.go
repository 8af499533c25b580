package vswitch_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vswitch"
	"sluice/vswitch/enginetest"
	"sluice/vswitch/measure"
	"sluice/vswitch/walk"
)

// blackHole is an engine that counts what comes and drops it. It shows that one can be written from outside, with
// nothing but the contract.
type blackHole struct {
	flows   *firewall.Flows
	nics    sync.Map // frame.PortID to vnic.NIC
	frames  [64]atomic.Uint64
	readers sync.WaitGroup
}

func newBlackHole(c walk.Config) (vswitch.Engine, error) {
	flows, err := firewall.NewFlows(c.Flows)
	return &blackHole{flows: flows}, err
}

func (h *blackHole) Attach(id frame.PortID, nic vnic.NIC) error {
	if _, taken := h.nics.LoadOrStore(id, nic); taken {
		return errors.New("the port has a NIC")
	}
	h.readers.Go(func() {
		for b := (frame.Batch{}); nic.ReadBatch(&b) == nil; {
			h.frames[id].Add(uint64(b.N))
		}
	})
	return nil
}

func (h *blackHole) Detach(id frame.PortID) error {
	nic, known := h.nics.LoadAndDelete(id)
	if !known {
		return nil
	}
	return nic.(vnic.NIC).Close()
}

func (h *blackHole) Close() (err error) {
	h.nics.Range(func(id, _ any) bool { err = errors.Join(err, h.Detach(id.(frame.PortID))); return true })
	h.readers.Wait()
	return err
}

func (h *blackHole) Counters(id frame.PortID) (n walk.Counters, ok bool) {
	n.In = h.frames[id].Load()
	n.Dropped[frame.ReasonFailed] = n.In
	return n, true
}

func (h *blackHole) Apply(context.Context, *walk.Plan) error                            { return nil }
func (h *blackHole) Hold(context.Context) error                                         { return nil }
func (h *blackHole) Release()                                                           {}
func (h *blackHole) Flows() vswitch.FlowTable                                           { return h.flows }
func (h *blackHole) Rules() []firewall.RuleInfo                                         { return nil }
func (h *blackHole) Returned(uint8) uint64                                              { return 0 }
func (h *blackHole) MACs(func(frame.SegmentID, frame.MAC, frame.PortID, time.Duration)) {}
func (h *blackHole) Neighbours(func(frame.SegmentID, frame.Addr, frame.MAC))            {}
func (h *blackHole) Forget(frame.PortID)                                                {}
func (h *blackHole) Record(context.Context) error                                       { return nil }
func (h *blackHole) Records(context.Context) (*measure.Ledger, error) {
	return measure.NewLedger(nil, nil), nil
}
func (h *blackHole) Watch(*walk.Watch)                  {}
func (h *blackHole) Send(frame.PortID, ...*frame.Frame) {}
func (h *blackHole) Tend()                              {}
func (h *blackHole) Trace(vswitch.TraceRequest, firewall.Failure) (r vswitch.TraceResult, err error) {
	return r, errors.ErrUnsupported
}

// TestThirdEngine puts a switch on it: frames are counted and go nowhere, and the books balance.
func TestThirdEngine(t *testing.T) {
	sw, err := vswitch.New(vswitch.Config{Name: "hole", Engine: newBlackHole, Segments: []vswitch.Segment{{Name: "lan"}}})
	if err != nil {
		t.Fatal(err)
	}
	inner, guest := vnic.Pipe("client", vnic.PipeOptions{Queue: 8})
	if err := sw.AddPort(t.Context(), vswitch.Port{ID: 1, Name: "client", Segment: 1}, inner); err != nil {
		t.Fatal(err)
	}
	if _, err := guest.WriteBatch([]*frame.Frame{frame.New(frame.MinLen)}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); sw.Stats().In == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the frame was not counted")
		}
	}
	if err := sw.Close(); err != nil {
		t.Error(err)
	}
	if s := sw.Stats(); s.In != 1 || s.Out != 0 || s.Dropped[frame.ReasonFailed.String()] != 1 {
		t.Errorf("%+v", s)
	}
}

// TestThirdRefuses says that what a switch refuses it refuses on any engine.
func TestThirdRefuses(t *testing.T) {
	enginetest.Run(t, enginetest.Bed{Engine: newBlackHole}, enginetest.Refusals)
}
