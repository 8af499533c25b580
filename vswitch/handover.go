package vswitch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch/measure"
)

// Handover says what becomes of the flows that run while the placement changes.
type Handover string

// The handovers.
const (
	Carry Handover = "carry" // flow state is moved, and the flows live on
	Keep  Handover = "keep"  // old flows stay on the old side until they end
	Cut   Handover = "cut"   // every flow is forgotten, on both sides
)

// handOver brings the new plan into force, and the flows to where it looks for them.
func (c *change) handOver(ctx context.Context) error {
	switch {
	case c.handover == Cut:
		return c.cut(ctx)
	case c.handover == Keep:
		return c.keep(ctx)
	case c.to.Tracks():
		return c.carryToAppliance(ctx)
	case c.from.Tracks() || c.was.tracks():
		c.carryFromAppliance(ctx)
	}
	if err := c.activate(ctx); err != nil {
		return err
	}
	c.carried = c.alive()
	return nil
}

// alive is how many flows go on under the new plan.
func (c *change) alive() int {
	if c.program == nil || !c.to.Enforces() {
		return c.s.engine.Flows().Len()
	}
	return len(c.s.engine.Flows().Export(c.s.clock(), c.program, 0))
}

// carryToAppliance copies the flows while the old plan forwards, holds frames for as long as it takes to copy what is
// new since, and lets them go by the new plan.
func (c *change) carryToAppliance(ctx context.Context) error {
	s := c.s
	limited, cancel := s.patience(ctx, c.carryAtMost())
	defer cancel()
	mark := s.engine.Flows().Mark()
	flows := c.routed(s.engine.Flows().Export(s.clock(), c.program, 0))
	knows, err := c.forgetOthers(limited, flows)
	if err != nil {
		return err
	}
	if err := c.putFlows(limited, flows, knows); err != nil {
		return err
	}
	return c.held(ctx, func() error {
		limited, cancel := context.WithTimeout(limited, c.carryAtMost())
		defer cancel()
		since := c.routed(s.engine.Flows().Export(s.clock(), c.program, mark))
		if err := c.putFlows(limited, since, knows); err != nil {
			return err
		}
		c.carried, c.anew = 0, 0
		for _, known := range knows {
			if known {
				c.carried++
			} else {
				c.anew++
			}
		}
		return nil
	})
}

// carryAtMost is how long the appliance may take for the flows. A recovery that has failed is given longer.
func (c *change) carryAtMost() time.Duration { return max(carryAtMost, c.patience) }

// held runs work while the engine holds every frame, then applies the new plan. Where that fails, the caller goes back
// to the old one; the frames are let go in any case.
func (c *change) held(ctx context.Context, work func() error) error {
	if err := c.s.engine.Hold(ctx); err != nil {
		return fmt.Errorf("hold the frames: %w", err)
	}
	defer c.s.engine.Release()
	if err := work(); err != nil {
		return errors.Join(err, c.restore(ctx))
	}
	if err := c.activate(ctx); err != nil {
		return errors.Join(err, c.restore(ctx))
	}
	return nil
}

// restore puts the old plan into force before held lets the frames go.
func (c *change) restore(ctx context.Context) error {
	return c.s.apply(context.WithoutCancel(ctx), c.s.newPlan(nil))
}

// carryFromAppliance reads the flows that only the appliance knows. The engine has tracked what it forwarded, so an
// appliance that cannot be read any more, or takes its time, costs nothing that it knew.
func (c *change) carryFromAppliance(ctx context.Context) {
	s := c.s
	if !s.answers() {
		return
	}
	limited, cancel := context.WithTimeout(ctx, leaveAtMost)
	defer cancel()
	flows, err := s.appliance.Flows(limited)
	if err != nil {
		s.log.Warn("read the appliance's flows; those that the engine has tracked go on", "err", err)
		return
	}
	if c.to.EngineEnforces() {
		flows = slices.DeleteFunc(flows, func(f firewall.FlowRecord) bool {
			cut := related(s.policy, f) && s.policy.Evaluate(f.First()).Action != firewall.RuleAllow
			if cut {
				c.cutRelated++
			}
			return cut
		})
	}
	_, c.anew = s.engine.Flows().Import(s.clock(), flows)
}

// answers says whether the appliance may be asked something that the switch could do without: one that has failed may
// never answer.
func (s *Switch) answers() bool {
	return !s.noMachine() && !s.lost && s.failing() != firewall.Hung
}

// noMachine says whether there is no machine that could answer.
func (s *Switch) noMachine() bool { return s.appliance == nil || s.appliance.Absent() }

// cut forgets every flow, while no frame moves: the engine's, and where the appliance decides from now on, its own,
// too. One that is left is asked nothing before the new plan is in force (see forgetLeft).
func (c *change) cut(ctx context.Context) error {
	s := c.s
	limited, cancel := context.WithTimeout(ctx, carryAtMost)
	defer cancel()
	return c.held(ctx, func() error {
		s.engine.Flows().Clear()
		if !c.to.Tracks() {
			return nil
		}
		return s.flush(limited)
	})
}

// flush makes the appliance forget every flow.
func (s *Switch) flush(ctx context.Context) error {
	if err := s.appliance.FlushFlows(ctx); err != nil {
		return fmt.Errorf("remove all flows from the appliance: %w", err)
	}
	return nil
}

// forgetLeft lets an appliance that a cut has left forget its flows, once it is empty. That it cannot is no matter:
// before frames come to it again, it is made to forget.
func (c *change) forgetLeft(ctx context.Context) {
	s := c.s
	if c.handover != Cut || c.to.Tracks() || !c.from.Tracks() && !c.was.tracks() || c.failed || !s.answers() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveAtMost)
	defer cancel()
	if err := s.flush(ctx); err != nil {
		s.log.Warn("the appliance that is left still knows flows", "err", err)
	}
}

// putFlows makes the appliance know flows, and notes in knows which of them it has. Those that it does not take begin
// anew: a kind of flow of which conntrack must know more than is known here. That it has no room is an error, unless
// the appliance recovers: then what it has taken is better than nothing.
func (c *change) putFlows(ctx context.Context, flows []firewall.FlowRecord, knows map[measure.Flow]bool) error {
	if len(flows) == 0 {
		return nil
	}
	done, err := c.s.appliance.PutFlows(ctx, flows)
	switch {
	case err != nil:
		return fmt.Errorf("carry %d flows to the appliance: %w", len(flows), err)
	case done.Full && c.patience == 0:
		return fmt.Errorf("carry %d flows to the appliance: its table is full, and it did not take %d: %s; "+
			"handover keep or cut does without", len(flows), len(done.Left), done.Why)
	case len(done.Left) > 0:
		c.s.log.Info("flows that the appliance does not take begin anew", "flows", len(done.Left), "why", done.Why)
	}
	for i, f := range flows {
		left := len(done.Left) > 0 && done.Left[0] == i
		if left {
			done.Left = done.Left[1:]
		}
		key := recordKey(f)
		knows[key] = knows[key] || !left
	}
	return nil
}

// forgetOthers makes the appliance forget every flow but these: what it knows from an earlier time in slow may have
// been denied or ended since. Those that a helper knew of live on where its conntrack decides before and after, though
// no rule allows them. It says which flows that stay it knows.
func (c *change) forgetOthers(ctx context.Context, keep []firewall.FlowRecord) (knows map[measure.Flow]bool, err error) {
	s := c.s
	have, err := s.appliance.Flows(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the appliance's flows: %w", err)
	}
	kept := map[measure.Flow]bool{}
	for _, f := range keep {
		kept[recordKey(f)] = true
	}
	knows = map[measure.Flow]bool{}
	var others []firewall.FlowRecord
	for _, f := range have {
		if key := recordKey(f); kept[key] || c.from.Tracks() && related(s.policy, f) {
			knows[key] = true
		} else {
			others = append(others, f)
		}
	}
	if len(others) == 0 {
		return knows, nil
	}
	if _, err := s.appliance.DeleteFlows(ctx, others); err != nil {
		return nil, fmt.Errorf("remove %d old flows from the appliance: %w", len(others), err)
	}
	return knows, nil
}

// routed leaves out what the appliance never sees in slow: flows within one segment, and those to a group or to
// nobody's address.
func (c *change) routed(flows []firewall.FlowRecord) []firewall.FlowRecord {
	if c.to != firewall.Slow {
		return flows
	}
	p := c.s.plan.Load()
	out := flows[:0:0]
	for _, f := range flows {
		from, _, _ := p.Route(frame.AddrFrom(f.Src.Addr()))
		to, _, _ := p.Route(frame.AddrFrom(f.Dst.Addr()))
		if from != to && to != 0 {
			out = append(out, f)
		}
	}
	return out
}

// recordKey tells recorded flows apart as the engine does: a conntrack may have ports or keys of protocols that have
// none here.
func recordKey(f firewall.FlowRecord) measure.Flow {
	k := measure.Flow{Src: frame.AddrFrom(f.Src.Addr()), Dst: frame.AddrFrom(f.Dst.Addr()), Proto: f.Proto}
	kind, _, asks := f.Request()
	if asks || firewall.HasPorts(f.Proto) {
		k.SrcPort, k.DstPort, k.ICMPType = f.Src.Port(), f.Dst.Port(), kind
	}
	return k
}
