// Package kernel is the engine with a part in the kernel: a BPF program at the ingress of each port's device decides
// what it knows wholly, and punts the rest to the engine in Go (vswitch/user), which goes on with the same frame. So
// whatever holds frames, changes plans and measures is one piece of code. It forwards nothing in Go itself, and makes
// no devices (vnic).
package kernel

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vswitch"
	"sluice/vswitch/user"
	"sluice/vswitch/walk"
)

// Engine is a vswitch.Engine: the one in Go, with programs in front.
type Engine struct {
	vswitch.Engine
	decide *ebpf.Program
	yard   *vnic.Yard
}

// New loads the programs, and makes an engine without ports.
func New(c walk.Config) (vswitch.Engine, error) {
	e := &Engine{}
	err := e.load()
	if err == nil {
		e.Engine, err = user.New(c)
	}
	if err != nil {
		return nil, errors.Join(err, e.unload())
	}
	return e, nil
}

// Check is nil where this process can have the engine, or says why not.
func Check() error {
	e := &Engine{}
	return errors.Join(e.load(), e.unload())
}

func (e *Engine) load() (err error) {
	if e.decide, err = loadDecide(); err != nil {
		return fmt.Errorf("load the engine's programs into the kernel: %w", err)
	}
	e.yard, err = vnic.NewYard()
	return err
}

func (e *Engine) unload() error {
	err := e.decide.Close()
	if e.yard != nil {
		err = errors.Join(err, e.yard.Close())
	}
	return err
}

// Attach puts the program before a NIC that has a device, and gives it to Go. Of another NIC, in memory or on the
// machine's own stack, Go hears every frame. To close the NIC, as Detach does, takes the program away.
func (e *Engine) Attach(id frame.PortID, nic vnic.NIC) error {
	if d, ok := nic.(vnic.Diverter); ok {
		if err := d.Divert(e.yard, e.decide); err != nil {
			return err
		}
	}
	return e.Engine.Attach(id, nic)
}

// Close detaches every port, and lets go of what is in the kernel.
func (e *Engine) Close() error { return errors.Join(e.Engine.Close(), e.unload()) }
