package vswitch

import (
	"context"
	"errors"
	"log/slog"

	"sluice/firewall"
	"sluice/vnic"
	"sluice/vnic/frame"
)

// Config describes a switch before it has ports.
type Config struct {
	Name string
	// Segments are numbered by their place in the list, from 1. Segment.ID may be left 0; if set, it must agree.
	Segments []Segment
	Log      *slog.Logger // slog.Default() where nil
	Limits   Limits
	Clock    func() int64 // monotonic ns; nil is the machine's clock
}

// Limits bound what guests can make the switch remember. Zero values take the defaults.
type Limits struct {
	Flows        int // flow table; default 1,000,000
	FlowsPerPort int // flows begun by one port; default Flows / 4
	MACs         int // FDB entries of a port that sets no MaxMACs; default 64
}

// Switch is a virtual switch: it owns the plan, and everything that outlives one. Its methods may be called at once from
// many goroutines; those that change it wait for each other.
type Switch struct {
	core *Core
}

var errNotYet = errors.New("not ready")

// New makes a switch without ports, with placement off.
func New(c Config) (*Switch, error) { return nil, errNotYet }

// Core is what an engine walks with.
func (s *Switch) Core() *Core { return s.core }

// Use puts an engine under the switch. It is called once, before the first AddPort.
func (s *Switch) Use(d Datapath) {}

// AddPort adds a port with a number of its own choice, which is free, and begins to move its frames.
func (s *Switch) AddPort(ctx context.Context, p Port, nic vnic.NIC) error { return errNotYet }

// RemovePort forgets a port and all that was learnt from it, and closes its NIC.
func (s *Switch) RemovePort(ctx context.Context, id frame.PortID) error { return errNotYet }

// SetAppliance says who serves the slow side; nil is nobody. For each segment that it serves, it has one service port.
func (s *Switch) SetAppliance(a Appliance) {}

// SetPolicy puts a policy in force, in the present placement, at once for all frames or not at all.
func (s *Switch) SetPolicy(ctx context.Context, p *firewall.Policy) (PolicyResult, error) {
	return PolicyResult{}, errNotYet
}

// Policy is the policy in force, and its generation; nil and 0 before the first SetPolicy.
func (s *Switch) Policy() (*firewall.Policy, uint64) { return nil, 0 }

// Place changes where the policy is enforced. On an error the old placement stays.
func (s *Switch) Place(ctx context.Context, to firewall.Placement, o PlaceOptions) (Receipt, error) {
	return Receipt{}, errNotYet
}

// Trace explains the way of a frame that nobody sends: it changes nothing.
func (s *Switch) Trace(r TraceRequest) (TraceResult, error) { return TraceResult{}, errNotYet }

// ParseTrace reads "tcp from client to server port 80"; also udp and icmp, addresses for guests, and "from port N".
func ParseTrace(s string) (TraceRequest, error) { return TraceRequest{}, errNotYet }

// Flows lists the flows.
func (s *Switch) Flows() []firewall.FlowRecord { return nil }

// Stats are the counters now.
func (s *Switch) Stats() Stats { return Stats{} }

// Status is how the switch is now.
func (s *Switch) Status() Status { return Status{} }

// History lists the receipts of the latest changes, oldest first.
func (s *Switch) History() []Receipt { return nil }

// Events tells of what happens from now on, until the cancel function is called; then the channel is closed. A reader
// that does not keep up loses events, and is told how many.
func (s *Switch) Events() (<-chan Event, func()) { return nil, func() {} }

// Close detaches every port and ends the engine.
func (s *Switch) Close() error { return nil }

// Core is what an engine's goroutines share.
type Core struct{}
