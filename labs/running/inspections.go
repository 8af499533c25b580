package running

import (
	"context"
	"fmt"

	"sluice/firewall/appliance"
	"sluice/firewall/fault"
	inspector "sluice/firewall/inspect"
	"sluice/labs/guest"
)

// instruct says to an appliance that is new what its inspector looks for.
func (w *world) instruct(ctx context.Context, m guest.Machine) error {
	a, err := slowSide{machine: m}.agent()
	if err != nil {
		return err
	}
	look := appliance.InspectConfig{Signatures: string(w.lab.Inspect.Signatures), BypassAfter: uint64(w.lab.Inspect.BypassAfter)}
	if err := a.ConfigureInspection(ctx, look); err != nil {
		return fmt.Errorf("say what %s looks for: %w", m.Name(), err)
	}
	return nil
}

// Inspections is what the appliance's inspector has counted.
func (w *world) Inspections(ctx context.Context) (inspector.Report, error) {
	if w.lab.Appliance == nil {
		return inspector.Report{}, fault.Errorf(fault.BadInput, "lab %s has no appliance, so nothing is looked into", w.lab.Name)
	}
	a, err := w.agentOf(w.lab.Appliance.Name)
	if err != nil {
		return inspector.Report{}, err
	}
	r, err := a.Inspections(ctx)
	if err != nil {
		return r, fault.Errorf(fault.Failed, "ask %s: %w", w.lab.Appliance.Name, err)
	}
	return r, nil
}
