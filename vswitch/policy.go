package vswitch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sluice/firewall"
)

// PolicyResult is what applying a policy did.
type PolicyResult struct {
	Generation uint64             `json:"generation" doc:"Of the policy now in force; counts from 1"`
	Epoch      uint64             `json:"epoch"`
	Placement  firewall.Placement `json:"placement"`
	Rules      int                `json:"rules"`
	FlowsCut   int                `json:"flows_cut" doc:"Flows that were known and that the policy does not allow: connections, and where the appliance enforces also attempts"`
	DurationMS float64            `json:"duration_ms"`
}

// Policy is the policy in force, and its generation; nil and 0 before the first SetPolicy.
func (s *Switch) Policy() (*firewall.Policy, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.policy, s.generation
}

// PolicySince is when the policy in force was put in force.
func (s *Switch) PolicySince() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since
}

// SetPolicy puts a policy in force, in the present placement, at once for all frames or not at all. Where the appliance
// enforces, it goes there first. Flows that it denies are cut, on both sides.
func (s *Switch) SetPolicy(ctx context.Context, p *firewall.Policy) (PolicyResult, error) {
	if err := s.acquire(ctx); err != nil {
		return PolicyResult{}, err
	}
	defer s.release()
	start := time.Now()
	if s.placement == firewall.Push {
		return PolicyResult{}, fmt.Errorf("apply policy: %w", errInAppliance)
	}
	r, err := s.setPolicy(ctx, p)
	if err != nil {
		s.events.tell("policy-failed", err.Error())
		return PolicyResult{}, fmt.Errorf("apply policy: %w", err)
	}
	r.DurationMS = milliseconds(time.Since(start))
	s.events.tell("policy", fmt.Sprintf("generation %d, %d rules, %d flows cut", r.Generation, r.Rules, r.FlowsCut))
	return r, nil
}

func (s *Switch) setPolicy(ctx context.Context, p *firewall.Policy) (PolicyResult, error) {
	if p == nil {
		return PolicyResult{}, errors.New("there is no policy to apply")
	}
	program, err := firewall.Compile(p, s.effective())
	if err != nil {
		return PolicyResult{}, fmt.Errorf("compile: %w", err)
	}
	kept, err := s.kept.with(p)
	if err != nil {
		return PolicyResult{}, err
	}
	old, oldPolicy := s.plan.Load().Program, s.policy
	if s.told() {
		if err := s.sendPolicy(ctx, p, s.generation+1, s.placement, s.kept.way()); err != nil {
			return PolicyResult{}, err
		}
	}
	if err := s.apply(ctx, s.newPlan(func(n *draft) { n.Program, n.Generation, n.keeping = program, s.generation+1, kept })); err != nil {
		back := context.WithoutCancel(ctx)
		err = errors.Join(err, s.apply(back, s.newPlan(func(n *draft) { n.Program = old })))
		if s.told() && oldPolicy != nil {
			err = errors.Join(err, s.sendPolicy(back, oldPolicy, s.generation, s.placement, s.kept.way()))
		}
		return PolicyResult{}, err
	}
	s.mu.Lock()
	s.policy, s.since, s.kept = p, time.Now(), kept
	s.generation++
	s.mu.Unlock()
	r := PolicyResult{Generation: s.generation, Epoch: s.epoch, Placement: s.placement, Rules: len(p.Rules)}
	if s.placement.Enforces() {
		r.FlowsCut = s.engine.Flows().Revalidate(program)
	}
	if s.told() {
		// The new rules are in force; only flows that began before could still pass, as established.
		n, err := s.cutDenied(ctx, p)
		r.FlowsCut = max(r.FlowsCut, n)
		if err != nil {
			return r, fmt.Errorf("the new policy is in force, but flows that it denies may live on in the appliance: %w", err)
		}
	}
	return r, nil
}

// told says whether the appliance must take a policy before it can be in force. One that has gone is told when it is
// there again.
func (s *Switch) told() bool { return (s.effective().Tracks() || s.kept.tracks()) && !s.lost }

// sendPolicy renders a policy and applies it in the appliance, for all of the placements that are in force or come.
func (s *Switch) sendPolicy(ctx context.Context, p *firewall.Policy, generation uint64, in ...firewall.Placement) error {
	if s.appliance == nil {
		return errNoAppliance
	}
	nft, err := p.NFT(firewall.NFTOptions{
		Comment: fmt.Sprintf("policy %s, generation %d", p.File, generation), Steer: true, Bridge: slices.Contains(in, firewall.Tunnel),
	})
	if err != nil {
		return fmt.Errorf("render for the appliance: %w", err)
	}
	ctx, cancel := s.patience(ctx, applianceAtMost+rulesAtMost(len(nft)))
	defer cancel()
	if err := s.sessionsEnded(ctx); err != nil {
		return err
	}
	if err := s.appliance.SetPolicy(ctx, nft, generation); err != nil {
		return fmt.Errorf("apply in the appliance: %w", err)
	}
	s.mu.Lock()
	s.sent, s.sentBytes = generation, len(nft)
	s.mu.Unlock()
	return nil
}

// rulesAtMost is what a ruleset of so many bytes may take beyond what any takes: nft needs a few seconds for each MiB,
// and an emulated processor many times as long.
func rulesAtMost(bytes int) time.Duration { return time.Minute * time.Duration(bytes) / (1 << 20) }

// cutDenied makes the appliance forget the flows that a policy denies: of those that a helper knew of, the ones between
// whose ends the policy lets no helper read any more.
func (s *Switch) cutDenied(ctx context.Context, p *firewall.Policy) (int, error) {
	ctx, cancel := s.patience(ctx, applianceAtMost)
	defer cancel()
	flows, err := s.appliance.Flows(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the appliance's flows: %w", err)
	}
	var denied []firewall.FlowRecord
	for _, f := range flows {
		if p.Evaluate(f.First()).Action != firewall.RuleAllow && !related(p, f) {
			denied = append(denied, f)
		}
	}
	if len(denied) == 0 {
		return 0, nil
	}
	return s.appliance.DeleteFlows(ctx, denied)
}

// related says whether the appliance lets a flow pass that the rules deny, because a helper knew that it would come.
func related(p *firewall.Policy, f firewall.FlowRecord) bool {
	if !f.Related {
		return false
	}
	_, is := p.Relates(f.First())
	return is
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
