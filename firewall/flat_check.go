package firewall

import (
	"cmp"
	"errors"
	"slices"

	"sluice/firewall/flat"
)

// check says what in a flat program that was read could lead Check astray. Its classifiers have been checked.
func (p *Policy) check(h *flatHead) error {
	return cmp.Or(h.check(), p.checkRules(), p.checkPorts(), p.owners.check(), p.places.check())
}

func (h *flatHead) check() error {
	tooLong := func(ms uint32) bool { return int64(ms) > maxTimeout.Milliseconds() }
	beyond := func(limit uint32) bool { return limit > maxLimit }
	switch {
	case h.placement > Inspect, h.defaultAction > RuleReject, h.midstream > 1, h.liberal > 1, h.unused != 0:
		return errors.New("the head has a value that there is not")
	case h.generation&^1 == 0:
		return errors.New("it has no generation")
	case limitsSources(h.stamp) != (h.limits[2] != 0 || h.limits[3] != 0):
		return errors.New("its stamp does not fit its limits")
	case slices.ContainsFunc(h.timeouts[:], tooLong), slices.ContainsFunc(h.limits[:], beyond):
		return errors.New("a timeout, or a limit, is out of range")
	}
	return nil
}

func (p *Policy) checkRules() error {
	stateless := 0
	for _, a := range p.actions {
		if a.action > RuleReject || a.flags > ruleFlags {
			return errors.New("a rule has an action that there is not")
		}
		stateless += int(a.flags & ruleStateless / ruleStateless)
	}
	if p.classes.Rules() != len(p.actions) || (p.stateless != nil) != (stateless > 0) || stateless > 0 && p.stateless.Rules() != stateless {
		return errors.New("the classifiers are of other rules")
	}
	return nil
}

func (p *Policy) checkPorts() error {
	for _, e := range p.excluded {
		if e > 1 {
			return errors.New("a port is neither excluded nor not")
		}
	}
	for _, l := range p.links {
		if !l.Within(len(p.ranges)) {
			return errors.New("a segment's addresses lie outside")
		}
	}
	for i := range p.guards {
		g := &p.guards[i]
		if g.on > 1 || g.on == 1 && int(g.port) != i || !g.addrs.Within(len(p.addrs)) || g.unused != (vnicGuard{}).unused {
			return errors.New("a guard's addresses lie outside, or it is another port's")
		}
	}
	return nil
}

func (t owners) check() error {
	if _, ok := flat.Probe(t, slotOfOwner); !ok {
		return errors.New("the owners of addresses are no hash table")
	}
	return nil
}
