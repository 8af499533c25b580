package vswitch

import (
	"context"
	"time"

	"sluice/firewall"
	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vswitch/measure"
	"sluice/vswitch/walk"
)

// NewEngine makes an engine. The core says what the switch above gives it; an engine in Go walks with a Core that it
// makes of that.
type NewEngine func(walk.Config) (Engine, error)

// Engine is what a switch asks of what moves its frames. It keeps what outlives a plan: flows, MACs, neighbours,
// sessions, counters. The methods that change it are called by one goroutine at a time; what may be called beside them
// is said to be so "at any time". Times are monotonic ns.
type Engine interface {
	// Attach begins to move a port's frames, by the plan in force, which has the port. The engine closes the NIC in the
	// end, unless it errs.
	Attach(frame.PortID, vnic.NIC) error
	// Detach ends that and closes the NIC, at any time. No frame is delivered to the port once it has returned.
	Detach(frame.PortID) error
	// Apply puts a plan in force, and returns once no frame walks by an older one. Where ctx ends first, it is in force
	// nevertheless.
	Apply(context.Context, *walk.Plan) error
	// Hold returns once no frame walks: all wait, and go by the plan that is in force at Release. On an error none is
	// held.
	Hold(context.Context) error
	Release()
	// Close detaches every port.
	Close() error

	// Flows is the flow table, and Rules what the rules of the plan in force have counted; both at any time.
	Flows() FlowTable
	Rules() []firewall.RuleInfo
	// Counters is what a port has counted since it was attached, at any time; ok is false where no plan has had it.
	// Port 0 is the switch.
	Counters(frame.PortID) (n walk.Counters, ok bool)
	// Returned counts the frames that came back in a session that the plan names; 0 for others.
	Returned(session uint8) uint64
	// MACs calls fn with each MAC learnt, its port, and for how long it has been silent; Neighbours with what ARP and
	// ND said. At any time.
	MACs(fn func(frame.SegmentID, frame.MAC, frame.PortID, time.Duration))
	Neighbours(fn func(frame.SegmentID, frame.Addr, frame.MAC))
	// Forget forgets what was learnt from a port, and its counters; the plan lacks it. Of port 0: what was learnt from
	// any, and rules' counts.
	Forget(frame.PortID)

	// Record begins to note each IP frame that enters and that is delivered; Records ends that, and gives what was
	// noted.
	Record(context.Context) error
	Records(context.Context) (*measure.Ledger, error)
	// Watch counts frames for a check, instead of for the one before; nil for none. Trace says how a frame would go. At
	// any time.
	Watch(*walk.Watch)
	Trace(TraceRequest, firewall.Failure) (TraceResult, error)
	// Send hands a port frames of the switch's own, which no book has: as many as find room. At any time.
	Send(frame.PortID, ...*frame.Frame)
	// Tend does what is due: flows expire, silent neighbours are asked again. It is called ten times a second, by a
	// goroutine of its own.
	Tend()
}

// FlowTable is an engine's flow table; *firewall.Flows is one, and says what each method does. All may be called at any
// time.
type FlowTable interface {
	Len() int
	Knows(now int64, t firewall.Tuple) bool
	Each(now int64, p *firewall.Program, fn func(firewall.FlowRecord) bool)
	Mark() firewall.Mark
	Export(now int64, p *firewall.Program, since firewall.Mark) []firewall.FlowRecord
	Import(now int64, recs []firewall.FlowRecord) (added, left int)
	Revalidate(*firewall.Program) (cut int)
	Clear() int
	Keep(now int64, p *firewall.Program, since firewall.Mark) int
	KeptLen() int
	KeepsAny(now int64) bool
	Release()
}
