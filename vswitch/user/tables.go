package user

import (
	"os"
	"time"

	"sluice/firewall"
	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vswitch"
	"sluice/vswitch/walk"
)

// What follows is asked of the core by the plan in force, or with the NICs.

// Flows is the flow table.
func (e *Engine) Flows() vswitch.FlowTable { return e.Core.Flows() }

// Rules is what the rules of the plan in force have counted.
func (e *Engine) Rules() []firewall.RuleInfo {
	if p := e.now.Load().plan.Program; p != nil {
		return e.Core.Rules(p)
	}
	return nil
}

// Counters is what a port has counted, and what its NIC has lost.
func (e *Engine) Counters(id frame.PortID) (n walk.Counters, ok bool) {
	n, ok = e.Core.Counters(id)
	if nic, is := e.nic(id).(vnic.Dropper); is {
		n.NICDrops = nic.Drops()
	}
	return n, ok
}

// nic is a port's NIC; nil where it has none.
func (e *Engine) nic(id frame.PortID) vnic.NIC {
	if nics := *e.nics.Load(); int(id) < len(nics) {
		return nics[id]
	}
	return nil
}

// MACs calls fn with what the FDB has learnt.
func (e *Engine) MACs(fn func(frame.SegmentID, frame.MAC, frame.PortID, time.Duration)) {
	e.Core.MACs(e.now.Load().plan, fn)
}

// Forget forgets a port; of port 0 what was learnt from any, and what rules have counted.
func (e *Engine) Forget(id frame.PortID) {
	if p := e.now.Load().plan.Program; id == 0 && p != nil {
		p.Policy().Recount()
	}
	e.Core.Forget(id)
}

// Trace explains the way of a frame that nobody sends.
func (e *Engine) Trace(r vswitch.TraceRequest, appliance firewall.Failure) (vswitch.TraceResult, error) {
	return e.Core.Trace(e.now.Load().plan, r, appliance)
}

// Send hands frames to a port's NIC.
func (e *Engine) Send(id frame.PortID, frames ...*frame.Frame) {
	if nic := e.nic(id); nic != nil {
		_, _ = nic.WriteBatch(frames)
	}
}

// Tend lets flows expire, and says what the gateway has to say by itself. Nothing in the loop waits for that.
func (e *Engine) Tend() {
	e.Core.Expire()
	for due := true; due; {
		var said []walk.Output
		e.own.Begin(e.now.Load().plan, nil)
		said, due = e.own.Settle()
		for i, o := range said {
			sent, err := 0, os.ErrClosed
			if nic := e.nic(o.Port); nic != nil {
				sent, err = nic.WriteBatch([]*frame.Frame{o.Frame})
			}
			e.own.Sent(o.Port, said[i:i+1], sent, err)
		}
		e.own.End()
	}
}
