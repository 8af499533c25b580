package vswitch

import (
	"context"

	"sluice/vnic"
	"sluice/vnic/frame"
)

// Datapath is an engine: what moves frames by a plan.
type Datapath interface {
	// Attach begins to move a port's frames, by the plan that was applied last. The engine closes the NIC in the end.
	Attach(frame.PortID, vnic.NIC) error
	// Detach ends that and closes the NIC. No frame is delivered to the port once it has returned.
	Detach(frame.PortID) error
	// Apply returns once no frame is walking by an older plan. Where ctx ends first, the new plan is nevertheless the one
	// that later frames walk by.
	Apply(context.Context, *Plan) error
	// Close detaches every port.
	Close() error
}
