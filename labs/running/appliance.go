package running

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sluice/firewall"
	"sluice/labs/guest"
	"sluice/labs/guest/agent"
)

// slowSide is the appliance as the switch sees it: its agent.
type slowSide struct {
	machine guest.Machine
	desk    *desk
}

var errNoAgent = errors.New("the appliance does not answer")

func (s slowSide) agent() (*agent.Client, error) {
	if a := s.machine.Agent(); a != nil && s.machine.State() == guest.StateReady {
		return a, nil
	}
	return nil, fmt.Errorf("%w: it is %s", errNoAgent, s.machine.State())
}

// Patience counts no time in which the appliance waited for a processor.
func (s slowSide) Patience(ctx context.Context, most time.Duration) (context.Context, context.CancelFunc) {
	return guest.Patience(ctx, s.machine, most)
}

// Absent asks nobody.
func (s slowSide) Absent() bool { return s.machine.State() == guest.StateStopped }

// Ready asks the agent, so that a hung appliance is not ready.
func (s slowSide) Ready(ctx context.Context) error {
	a, err := s.agent()
	if err != nil {
		return err
	}
	_, err = a.Stats(ctx)
	return err
}

// SetPolicy applies a ruleset; its generation is in the script's first line, for people.
func (s slowSide) SetPolicy(ctx context.Context, nft string, _ uint64) error {
	a, err := s.agent()
	if err != nil {
		return err
	}
	return a.ApplyNFT(ctx, nft)
}

func (s slowSide) PutFlows(ctx context.Context, f []firewall.FlowRecord) (firewall.Carried, error) {
	a, err := s.agent()
	if err != nil {
		return firewall.Carried{}, err
	}
	return a.PutFlows(ctx, f)
}

func (s slowSide) FlushFlows(ctx context.Context) error {
	a, err := s.agent()
	if err != nil {
		return err
	}
	return a.FlushFlows(ctx)
}

func (s slowSide) Flows(ctx context.Context) ([]firewall.FlowRecord, error) {
	a, err := s.agent()
	if err != nil {
		return nil, err
	}
	return a.Flows(ctx)
}

func (s slowSide) DeleteFlows(ctx context.Context, f []firewall.FlowRecord) (int, error) {
	a, err := s.agent()
	if err != nil {
		return 0, err
	}
	return a.DeleteFlows(ctx, f)
}

// Steer says errors.ErrUnsupported for an appliance whose kernel, the host's in a namespace, lacks something.
func (s slowSide) Steer(ctx context.Context, spec firewall.SteerSpec) error {
	a, err := s.agent()
	if err != nil {
		return err
	}
	return a.Steer(ctx, spec)
}

func (s slowSide) EndSteer(ctx context.Context, session uint8) error {
	a, err := s.agent()
	if err != nil {
		return err
	}
	return a.EndSteer(ctx, session)
}

// Administer opens the appliance's desk, or closes it.
func (s slowSide) Administer(ctx context.Context, e *firewall.Edition) error {
	if e == nil {
		s.desk.shut()
		return nil
	}
	a, err := s.agent()
	if err != nil {
		return err
	}
	return s.desk.open(ctx, a, *e)
}
