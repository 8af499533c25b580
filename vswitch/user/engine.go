// Package user is the engine in Go: one goroutine for each port, which reads a batch, asks the switch's core what
// becomes of each frame, and writes. It decides nothing.
package user

import (
	"context"
	"errors"

	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

// Engine moves frames between NICs. It is a vswitch.Datapath.
type Engine struct{ core *vswitch.Core }

// New makes an engine that walks with a switch's core. Use it so: s.Use(user.New(s.Core())).
func New(core *vswitch.Core) *Engine { return &Engine{core: core} }

// Attach starts the goroutine of a port.
func (e *Engine) Attach(id frame.PortID, nic vnic.NIC) error { return errors.New("not ready") }

// Detach ends it and closes the NIC.
func (e *Engine) Detach(id frame.PortID) error { return nil }

// Apply puts a plan in force, and returns once no frame is walking by an older one.
func (e *Engine) Apply(ctx context.Context, p *vswitch.Plan) error { return nil }

// Close detaches every port.
func (e *Engine) Close() error { return nil }
