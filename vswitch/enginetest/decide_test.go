package enginetest

import (
	"context"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vswitch"
	"sluice/vswitch/measure"
	"sluice/vswitch/walk"
)

// still is an engine that moves nothing: it keeps the plan, and a test walks frames by it.
type still struct {
	*walk.Core
	plan *walk.Plan
}

func (s *still) Attach(frame.PortID, vnic.NIC) error { return nil }
func (s *still) Detach(frame.PortID) error           { return nil }
func (s *still) Apply(_ context.Context, p *walk.Plan) error {
	s.Prepare(p)
	s.plan = p
	return nil
}
func (s *still) Hold(context.Context) error   { return nil }
func (s *still) Release()                     {}
func (s *still) Record(context.Context) error { return nil }
func (s *still) Records(context.Context) (*measure.Ledger, error) {
	return measure.NewLedger(nil, nil), nil
}
func (s *still) Flows() vswitch.FlowTable   { return s.Core.Flows() }
func (s *still) Rules() []firewall.RuleInfo { return s.Core.Rules(s.plan.Program) }
func (s *still) MACs(fn func(frame.SegmentID, frame.MAC, frame.PortID, time.Duration)) {
	s.Core.MACs(s.plan, fn)
}

// Send answers each probe at once.
func (s *still) Send(_ frame.PortID, frames ...*frame.Frame) {
	for _, f := range frames {
		s.Probed(f.Eth()[f.Len-16:], s.Now())
	}
}
func (s *still) Trace(r vswitch.TraceRequest, f firewall.Failure) (vswitch.TraceResult, error) {
	return s.Core.Trace(s.plan, r, f)
}
func (s *still) Tend()        {}
func (s *still) Close() error { return nil }

// desk is a rig in which nothing runs.
type desk struct {
	*rig
	engine *still
}

func newDesk(t testing.TB, policy string, to firewall.Placement) *desk {
	t.Helper()
	bed := Bed{Wires: Pipes{}, Engine: func(c walk.Config) (vswitch.Engine, error) {
		core, err := walk.NewCore(c)
		return &still{Core: core}, err
	}}
	r := bed.rig(t)
	r.policy(policy)
	r.place(to)
	return &desk{rig: r, engine: r.engine.(*still)}
}

// walk decides one frame, and accounts for its outputs as if they had been sent.
func (d *desk) walk(w *walk.Walker, f *frame.Frame) (sent int) {
	w.Begin(d.engine.plan, nil)
	outputs := w.Decide(f)
	for i := range outputs {
		w.Sent(outputs[i].Port, outputs[i:i+1], 1, nil)
	}
	w.End()
	return len(outputs)
}

// TestDecideAllocates says that a known flow, a flood, a denied frame and an answer cost no memory.
func TestDecideAllocates(t *testing.T) {
	d := newDesk(t, referencePolicy, firewall.Fast)
	w := d.engine.NewWalker(portClient)
	known := d.client.to(d.server, false, packet{proto: frame.ProtoUDP, sport: 5, dport: 5201}).build()
	known6 := d.client.to(d.server, true, packet{proto: frame.ProtoUDP, sport: 5, dport: 5201}).build()
	denied := d.client.to(d.server, false, packet{proto: frame.ProtoUDP, sport: 5, dport: 53}).build()
	rejected := d.client.to(d.server, false, packet{proto: frame.ProtoTCP, sport: 5, dport: 22, flags: frame.TCPSyn}).build()
	question := arp(1, d.client.port.MAC, broadcast, d.client.addr(false), frame.AddrFrom(lan4))
	work := &frame.Frame{}
	for _, c := range []struct {
		name    string
		f       *frame.Frame
		watched bool
	}{
		{"known", known, false}, {"known IPv6", known6, false}, {"denied", denied, false}, {"rejected", rejected, false}, {"ARP", question, false},
		{"known, watched", known, true}, {"denied, watched", denied, true},
	} {
		if c.watched { // the first 256 are kept, more are counted
			if err := d.sw.Watch([]vswitch.Sight{{At: "client/from-guest"}, {At: "server/to-guest"}}); err != nil {
				t.Fatal(err)
			}
		}
		work.CopyFrom(c.f)
		d.walk(w, work)
		if n := testing.AllocsPerRun(300, func() {
			work.CopyFrom(c.f)
			d.walk(w, work)
		}); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

// FuzzDecide throws frames at the walk. It may not panic, and the books must balance.
func FuzzDecide(f *testing.F) {
	d := newDesk(f, referencePolicy, firewall.Fast)
	for _, v6 := range []bool{false, true} {
		for _, proto := range []uint8{frame.ProtoTCP, frame.ProtoUDP, frame.ProtoICMP, frame.ProtoICMPv6} {
			p := d.client.to(d.server, v6, packet{proto: proto, sport: 9, dport: 80, flags: frame.TCPSyn, ttl: 2, payload: []byte("x")})
			f.Add(p.build().Wire())
		}
	}
	f.Add(arp(1, d.client.port.MAC, broadcast, d.client.addr(false), frame.AddrFrom(lan4)).Wire())
	f.Add(solicit(d.client.port.MAC, d.client.addr(true), frame.AddrFrom(lan6)).Wire())
	w := d.engine.NewWalker(portClient)
	work := frame.New(frame.MaxLen)
	f.Fuzz(func(t *testing.T, wire []byte) {
		if len(wire) < frame.VnetLen || len(wire) > frame.MaxLen {
			return
		}
		work.Off, work.Len = frame.Headroom, len(wire)-frame.VnetLen
		copy(work.Wire(), wire)
		d.walk(w, work)
		checkBooks(t, d.sw.Stats())
	})
}

// FuzzReturned throws frames at the walk as if they came back from the appliance, in both placements that steer: it may
// not panic, the books must balance, and never does more come back than was steered. What forges a probe gets nowhere.
func FuzzReturned(f *testing.F) {
	type far struct {
		*desk
		out, back     *walk.Walker
		steered, took int
	}
	var fars []*far
	for i, to := range steering {
		d := &far{desk: newDesk(f, "default: allow\n", firewall.Fast)}
		d.place(to)
		if err := d.sw.Close(); err != nil { // its plan stays: nobody answers probes here, so it would soon be another
			f.Fatal(err)
		}
		d.out, d.back = d.engine.NewWalker(portClient), d.engine.NewWalker(portSteer)
		fars = append(fars, d)
		seeds := []packet{
			d.client.to(d.server, false, packet{proto: frame.ProtoUDP, sport: 9, dport: 80, payload: []byte("x")}),
			d.client.to(d.server, true, packet{proto: frame.ProtoTCP, sport: 9, dport: 80, flags: frame.TCPSyn}),
			{src: frame.AddrFrom(frame.TunnelProbe), dst: switchOuter.Local, smac: d.client.port.MAC, proto: frame.ProtoUDP,
				sport: 1, dport: frame.GenevePort, payload: make([]byte, 16)},
		}
		for n, s := range seeds {
			for _, port := range []frame.PortID{portClient, 0} {
				fr := s.build()
				ticket := &frame.Ticket{Seq: uint64(n + 1), Port: port, Verdict: frame.VerdictPass}
				if to == firewall.Tunnel {
					ticket = nil
				}
				fr.Wrap(&farOuter, frame.NewVNI(1, port, true), ticket, 50000)
				f.Add(i == 1, fr.Wire())
			}
		}
	}
	work := frame.New(frame.MaxLen)
	f.Fuzz(func(t *testing.T, second bool, wire []byte) {
		if len(wire) < frame.VnetLen || len(wire) > frame.MaxLen {
			return
		}
		d := fars[0]
		if second {
			d = fars[1]
		}
		one := d.client.to(d.server, false, packet{proto: frame.ProtoUDP, sport: 5, dport: 5201}).build()
		d.steered += d.walk(d.out, one)
		for range 3 {
			work.Off, work.Len = frame.Headroom, len(wire)-frame.VnetLen
			copy(work.Wire(), wire)
			if d.walk(d.back, work) > 0 {
				d.took++
			}
		}
		if d.took > d.steered {
			t.Fatalf("%d frames were steered, and %d came back", d.steered, d.took)
		}
		checkBooks(t, d.sw.Stats())
	})
}

// BenchmarkDecide is the walk of one frame of a known flow that is routed, both check points included.
func BenchmarkDecide(b *testing.B) {
	for _, to := range []firewall.Placement{firewall.Off, firewall.Fast} {
		b.Run(to.String(), func(b *testing.B) {
			d := newDesk(b, referencePolicy, to)
			w := d.engine.NewWalker(portClient)
			proto := d.client.to(d.server, false, packet{proto: frame.ProtoUDP, sport: 5, dport: 5201}).build()
			work := &frame.Frame{}
			work.CopyFrom(proto)
			b.ReportAllocs()
			for i := range b.N {
				if i%frame.BatchSize == 0 {
					w.Begin(d.engine.plan, nil)
				}
				copy(work.Wire(), proto.Wire())
				if len(w.Decide(work)) != 1 {
					b.Fatal("not delivered")
				}
				if i%frame.BatchSize == frame.BatchSize-1 {
					w.End()
				}
			}
		})
	}
}
