package enginetest

import (
	"time"

	"sluice/vnic"
	"sluice/vnic/frame"
)

// switchOuter is the tunnel as the switch sees it, and farOuter as the appliance does.
var (
	switchOuter = frame.Outer{
		Local: frame.AddrFrom(frame.TunnelSwitch), Peer: frame.AddrFrom(frame.TunnelAppliance),
		LocalMAC: frame.MAC{2, 2}, PeerMAC: frame.MAC{2, 1},
	}
	farOuter = frame.Outer{Local: switchOuter.Peer, Peer: switchOuter.Local, LocalMAC: switchOuter.PeerMAC, PeerMAC: switchOuter.LocalMAC}
)

// serveSteered is both far ends: a bump in the wire with the policy's own evaluation for nftables, and an inspector.
func (a *fakeAppliance) serveSteered() {
	var b frame.Batch
	for a.steer.ReadBatch(&b) == nil {
		for i := range b.N {
			a.standStill()
			if !a.steer.marks(&b.Frames[i]) {
				a.serveFrame(&b.Frames[i])
			}
		}
	}
}

func (a *fakeAppliance) serveFrame(f *frame.Frame) {
	var t frame.Ticket
	vni, has, ok := f.Unwrap(&farOuter, &t)
	a.mu.Lock()
	s, known := a.sessions[vni.Session()]
	a.mu.Unlock()
	if a.hung.Load() || ok && !known {
		return // it was told of no such session, or not since it was restarted
	}
	if !ok || s.Inspect != has || vni.Back() {
		panic("the switch has steered what it may not")
	}
	if !a.passes(f, &t, s.Inspect) {
		return
	}
	ticket := &t
	if !s.Inspect {
		ticket = nil
	}
	f.Wrap(&farOuter, frame.NewVNI(vni.Session(), vni.Port(), true), ticket, 50000)
	back := vnic.NIC(a.steer)
	if vni.Port() == 0 {
		back = a.steer.NIC // a probe
	} else if a.returned != nil {
		a.returned(f)
	}
	if late := a.delay.Load(); late > 0 {
		kept := &frame.Frame{}
		kept.CopyFrom(f)
		time.AfterFunc(time.Duration(late), func() { back.WriteBatch([]*frame.Frame{kept}) })
		return
	}
	back.WriteBatch([]*frame.Frame{f})
}

// passes says whether a frame goes back. The inspector gives every frame back, with its verdict.
func (a *fakeAppliance) passes(f *frame.Frame, t *frame.Ticket, inspect bool) bool {
	if inspect {
		a.mu.Lock()
		defer a.mu.Unlock()
		*f.Vnet() = t.Vnet // Wrap puts it into the ticket again
		if t.Verdict = frame.VerdictPass; a.judge != nil {
			t.Verdict = a.judge(f.Eth())
		}
		if t.Port != 0 { // else a probe
			a.forwards++
		}
		return true
	}
	var k frame.Key
	if frame.Parse(f, &k) != frame.ReasonNone {
		return false
	}
	if k.Dst == switchOuter.Local { // a probe
		return k.SrcPort == 1 || !a.tableFull.Load()
	}
	ip := k.Flags&(frame.KeyIPv4|frame.KeyIPv6) != 0
	neighbours := k.Has(frame.KeyIPv6) && k.Proto == frame.ProtoICMPv6 && k.ICMPType >= 133
	return !ip || neighbours || a.lets(&k)
}
