package vswitch

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"sluice/firewall"
	"sluice/vnic/frame"
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
		return c.s.core.flows.Len()
	}
	return len(c.s.core.flows.Export(c.s.core.Now(), c.program, 0))
}

// carryToAppliance copies the flows while the old plan forwards, holds frames for as long as it takes to copy what is
// new since, and lets them go by the new plan.
func (c *change) carryToAppliance(ctx context.Context) error {
	s := c.s
	limited, cancel := context.WithTimeout(ctx, carryAtMost)
	defer cancel()
	mark := s.core.flows.Mark()
	flows := c.routed(s.core.flows.Export(s.core.Now(), c.program, 0))
	if err := s.forgetOthers(limited, flows); err != nil {
		return err
	}
	if err := s.putFlows(limited, flows); err != nil {
		return err
	}
	return c.held(ctx, func() error {
		since := c.routed(s.core.flows.Export(s.core.Now(), c.program, mark))
		c.carried = union(flows, since)
		return s.putFlows(limited, since)
	})
}

// held runs work while the engine holds every frame, then applies the new plan. Where that fails, the caller goes back to
// the old one; the frames are let go in any case.
func (c *change) held(ctx context.Context, work func() error) error {
	hold := make(chan struct{})
	defer close(hold)
	p := c.s.newPlan(func(p *Plan) {
		c.old(p)
		p.ledger, p.Hold = c.ledger, hold
	})
	c.window.covers(p, c.from)
	if err := c.s.apply(ctx, p); err != nil {
		return errors.Join(err, c.restore(ctx))
	}
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
	return c.s.apply(context.WithoutCancel(ctx), c.s.newPlan(c.old))
}

// carryFromAppliance reads the flows that only the appliance knows. The engine has tracked what it forwarded, so an
// appliance that cannot be read any more costs nothing that it knew.
func (c *change) carryFromAppliance(ctx context.Context) {
	s := c.s
	if s.appliance == nil || s.lost || s.failure == firewall.Hung {
		return
	}
	limited, cancel := context.WithTimeout(ctx, carryAtMost)
	defer cancel()
	flows, err := s.appliance.Flows(limited)
	if err != nil {
		s.log.Warn("read the appliance's flows; those that the engine has tracked go on", "err", err)
		return
	}
	s.core.flows.Import(s.core.Now(), flows)
}

// cut forgets every flow on both sides, while no frame moves.
func (c *change) cut(ctx context.Context) error {
	s := c.s
	limited, cancel := context.WithTimeout(ctx, carryAtMost)
	defer cancel()
	return c.held(ctx, func() error {
		s.core.flows.Clear()
		if s.appliance == nil || !c.from.Tracks() && !c.to.Tracks() && !c.was.tracks() {
			return nil
		}
		return s.forgetOthers(limited, nil)
	})
}

// putFlows is Appliance.PutFlows for all of the flows or an error.
func (s *Switch) putFlows(ctx context.Context, flows []firewall.FlowRecord) error {
	if len(flows) == 0 {
		return nil
	}
	n, err := s.appliance.PutFlows(ctx, flows)
	if err == nil && n < len(flows) {
		err = fmt.Errorf("it took %d", n)
	}
	if err != nil {
		return fmt.Errorf("carry %d flows to the appliance: %w", len(flows), err)
	}
	return nil
}

// union is how many different flows two lists have together.
func union(a, b []firewall.FlowRecord) int {
	all := map[flowKey]bool{}
	for _, f := range a {
		all[recordKey(f)] = true
	}
	for _, f := range b {
		all[recordKey(f)] = true
	}
	return len(all)
}

// forgetOthers makes the appliance forget every flow but these: what it knows from an earlier time in slow may have been
// denied or ended since.
func (s *Switch) forgetOthers(ctx context.Context, keep []firewall.FlowRecord) error {
	have, err := s.appliance.Flows(ctx)
	if err != nil {
		return fmt.Errorf("read the appliance's flows: %w", err)
	}
	kept := map[flowKey]bool{}
	for _, f := range keep {
		kept[recordKey(f)] = true
	}
	var others []firewall.FlowRecord
	for _, f := range have {
		if !kept[recordKey(f)] {
			others = append(others, f)
		}
	}
	if len(others) == 0 {
		return nil
	}
	if _, err := s.appliance.DeleteFlows(ctx, others); err != nil {
		return fmt.Errorf("remove %d old flows from the appliance: %w", len(others), err)
	}
	return nil
}

// routed leaves out flows within one segment, which the appliance never sees in slow.
func (c *change) routed(flows []firewall.FlowRecord) []firewall.FlowRecord {
	if c.to != firewall.Slow {
		return flows
	}
	p := c.s.plan.Load()
	out := flows[:0:0]
	for _, f := range flows {
		from, _, _ := p.route(frame.AddrFrom(f.Src.Addr()))
		to, _, _ := p.route(frame.AddrFrom(f.Dst.Addr()))
		if from != to {
			out = append(out, f)
		}
	}
	return out
}

func recordKey(f firewall.FlowRecord) flowKey {
	return flowKey{
		src: frame.AddrFrom(f.Src.Addr()), dst: frame.AddrFrom(f.Dst.Addr()),
		sport: f.Src.Port(), dport: f.Dst.Port(), proto: f.Proto,
	}
}

// tupleOf is the first packet of a recorded flow, as rules see it.
func tupleOf(f firewall.FlowRecord) firewall.Tuple {
	t := firewall.Tuple{Proto: f.Proto, Src: f.Src, Dst: f.Dst}
	switch f.Proto {
	case frame.ProtoICMP:
		t.ICMPType = icmpEcho
	case frame.ProtoICMPv6:
		t.ICMPType = icmp6Echo
	default:
		return t
	}
	t.Src, t.Dst = netip.AddrPortFrom(f.Src.Addr(), 0), netip.AddrPortFrom(f.Dst.Addr(), 0)
	return t
}
