package firewall

import "sluice/vnic/frame"

// Flows is the flow table: bounded, shared by every port of a switch, and outliving programs and plans. All methods may
// be called at any time from any goroutine. Times are monotonic nanoseconds, given by the caller.
type Flows struct{}

// FlowsConfig bounds a flow table. The zero value takes the defaults.
type FlowsConfig struct {
	Max     int // flows; default 1,000,000
	PerPort int // flows begun by one port; default Max / 4
}

// Mark is a moment in the table's history, for Export.
type Mark uint64

// NewFlows makes an empty table. Its memory is reserved at once but used only as flows come.
func NewFlows(c FlowsConfig) *Flows { return &Flows{} }

// Len is how many flows the table holds.
func (f *Flows) Len() int { return 0 }

// PortLen is how many flows a port has begun.
func (f *Flows) PortLen(p frame.PortID) int { return 0 }

// Mark gives the present moment: what changes later is what Export gives for this mark.
func (f *Flows) Mark() Mark { return 0 }

// Each calls fn for every flow until it says false. The table may change meanwhile; fn may not call the table.
func (f *Flows) Each(now int64, p *Program, fn func(FlowRecord) bool) {}

// Export lists the flows that are alive, not closing, allowed by p's policy, and new or materially changed since a mark;
// mark 0 means all. It does not matter whether p's placement enforces.
func (f *Flows) Export(now int64, p *Program, since Mark) []FlowRecord { return nil }

// Import adds the flows that the table lacks, and says how many. They are evaluated by the program at their next frame.
func (f *Flows) Import(now int64, recs []FlowRecord) (n int) { return 0 }

// Revalidate removes the flows that p's policy denies, without waiting for their next frame, and says how many.
func (f *Flows) Revalidate(p *Program) (cut int) { return 0 }

// Expire removes flows whose time is over. It does a bounded piece of work at each call; call it about ten times a second.
func (f *Flows) Expire(now int64) (expired int) { return 0 }

// Clear removes every flow, and says how many.
func (f *Flows) Clear() (n int) { return 0 }
