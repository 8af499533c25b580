package vswitch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sluice/firewall"
)

// Pushed is a policy that comes from inside the appliance.
type Pushed struct {
	By   string // who pushes, for the events
	Base uint64 // the generation that it was made from; 0 takes the place of whatever is in force
	Load func() (*firewall.Policy, error)
}

// Realized is the policy that is in force at one vNIC of a guest.
type Realized struct {
	VNIC       string
	Generation uint64
}

var (
	errInAppliance = errors.New("the policy is administered inside the appliance while the placement is push: " +
		"use `policy edit` and `policy push` there, or change the placement first")
	errOnHost = errors.New("the policy is not administered in the appliance: the placement is not push")
)

// Push puts a policy in force that was made inside the appliance, as SetPolicy does elsewhere. Of two that were made
// from the same generation the first wins, and the second is told.
func (s *Switch) Push(ctx context.Context, p Pushed) (PolicyResult, error) {
	start := time.Now()
	r, err := s.push(ctx, p)
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		s.events.tell("push-failed", p.By+": "+first)
		return PolicyResult{}, err
	}
	r.DurationMS = milliseconds(time.Since(start))
	s.events.tell("push", fmt.Sprintf("%s: generation %d, %d rules, %d flows cut", p.By, r.Generation, r.Rules, r.FlowsCut))
	return r, nil
}

func (s *Switch) push(ctx context.Context, p Pushed) (PolicyResult, error) {
	policy, err := p.Load() // may take its time: nobody waits for it
	if err != nil {
		return PolicyResult{}, err
	}
	if err := s.acquire(ctx); err != nil {
		return PolicyResult{}, err
	}
	defer s.release()
	switch {
	case s.placement != firewall.Push:
		return PolicyResult{}, errOnHost
	case p.Base != 0 && p.Base != s.generation:
		const why = "conflict: generation %d was pushed meanwhile, yours began from %d; look at `policy diff`, then push again"
		return PolicyResult{}, fmt.Errorf(why, s.generation, p.Base)
	}
	return s.setPolicy(ctx, policy)
}

// Realized says what is in force at each vNIC of the guests.
func (s *Switch) Realized() (out []Realized) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, p := range s.ports {
		if p.ID != 0 && !p.Service {
			out = append(out, Realized{p.Name, s.realized[id]})
		}
	}
	return out
}

// Readminister gives the policy to the appliance again where the placement is push: one that was restarted, or whose
// line broke, has forgotten it.
func (s *Switch) Readminister(ctx context.Context) error {
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	if s.placement != firewall.Push {
		return nil
	}
	return s.administer(ctx)
}

// administer makes the appliance the place where the policy is administered. The caller has the token.
func (s *Switch) administer(ctx context.Context) error {
	e := &firewall.Edition{File: s.policy.File, Source: s.policy.Source, Generation: s.generation}
	if err := s.appliance.Administer(ctx, e); err != nil {
		return fmt.Errorf("administer the policy in the appliance: %w", err)
	}
	return nil
}

// endAdministration takes it back. The appliance may be dead: the switch refuses its pushes in any case.
func (s *Switch) endAdministration(ctx context.Context) {
	if s.appliance == nil {
		return
	}
	if err := s.appliance.Administer(ctx, nil); err != nil {
		s.log.Warn("end the administration in the appliance", "err", err)
	}
}
