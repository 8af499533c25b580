package vswitch

import (
	"context"
	"time"

	"sluice/firewall"
)

// Appliance is the slow side as the switch sees it. Labs implement it over the guest's agent. Its answers are not
// trusted: what it says of flows is evaluated by the program before a frame passes because of it.
type Appliance interface {
	// Absent says that its machine has ended, or was never there. It does not block.
	Absent() bool
	// Ready says whether the appliance would route frames now; an error says why not.
	Ready(context.Context) error
	// SetPolicy applies a whole nftables ruleset at once, or leaves the old one.
	SetPolicy(ctx context.Context, nft string, generation uint64) error
	// PutFlows makes conntrack know the flows, and says which it did not take. A flow that is there already is taken.
	PutFlows(context.Context, []firewall.FlowRecord) (firewall.Carried, error)
	// Flows is what conntrack knows.
	Flows(context.Context) ([]firewall.FlowRecord, error)
	// DeleteFlows makes conntrack forget flows, and says how many it knew.
	DeleteFlows(context.Context, []firewall.FlowRecord) (int, error)
	// FlushFlows makes conntrack forget all flows.
	FlushFlows(context.Context) error
	// Steer makes the appliance ready for the frames of a session. Called again for the same session with other ports,
	// it makes what is missing; other sessions go on. errors.ErrUnsupported says that it lacks the parts.
	Steer(context.Context, firewall.SteerSpec) error
	// EndSteer ends a session: what still comes for it goes nowhere.
	EndSteer(ctx context.Context, session uint8) error
	// Administer makes the appliance the place where the policy is administered, beginning with this edition; nil ends
	// that. What is changed there comes back by Switch.Push.
	Administer(context.Context, *firewall.Edition) error
}

// Patient is an Appliance that knows what its machine had to wait for. One that is emulated on a busy machine needs
// many times as long as it would alone, and is not hung for that.
type Patient interface {
	// Patience is a context that ends with ctx, or once the appliance could have worked for so long; context.Cause then
	// says that a deadline has passed. It ends whatever the load, since somebody waits for an answer.
	Patience(ctx context.Context, most time.Duration) (context.Context, context.CancelFunc)
}

// patience bounds what the appliance is waited for. The caller has the token.
func (s *Switch) patience(ctx context.Context, most time.Duration) (context.Context, context.CancelFunc) {
	if a, ok := s.appliance.(Patient); ok {
		return a.Patience(ctx, most)
	}
	return context.WithTimeout(ctx, most)
}
