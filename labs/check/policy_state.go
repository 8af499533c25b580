package check

import (
	"fmt"
	"slices"
	"time"

	"sluice/firewall"
)

// leastMemory is for how long any policy is to remember a connection that is silent, unless the wanted one does not.
const leastMemory = time.Minute

// state compares what becomes of a flow after its first packet.
func (c *Policy) state(p *firewall.Policy) (Finding, bool) {
	wrong := func(fact, reason string) (Finding, bool) {
		f := Finding{Reason: reason, Look: "sluice policy show"}
		if fact != "" { // what a hint may speak of; of a key that no text asks for, the reason says all
			f.Facts = []string{fact}
		}
		return f, false
	}
	if c.How != AtLeast {
		switch {
		case p.Midstream && !c.Wanted.Midstream:
			return wrong("", "the policy lets connections begin in their middle (midstream); it is not to")
		case slices.ContainsFunc(p.Helpers, func(h firewall.Helper) bool { return !slices.Contains(c.Wanted.Helpers, h) }):
			return wrong("", "the policy lets flows pass that are related to others (helpers: "+p.HelperNames()+"); it is not to")
		case p.Liberal && !c.Wanted.Liberal:
			return wrong("", "the policy lets segments pass that lie outside of their connection's windows (tcp-windows); it is not to")
		}
	}
	if c.How == AtMost {
		return passed(), true
	}
	found, stopped := p.Forgets(c.Wanted, c.But)
	switch {
	case found != nil:
		r := p.Rules[found.Rule]
		d := firewall.Difference{Witness: found.Witness}
		f, _ := wrong(forgets, fmt.Sprintf("the policy does not remember %s: rule %s in line %d is stateless, and about its packets or its answers; "+
			"it is to allow that with a memory", c.flow(d), r.Name, r.Line))
		f.Look = c.lookAt(d)
		return f, false
	case stopped:
		return wrong(forgets, "the policy has too many stateless rules to be compared with what is wanted: write it with fewer")
	case p.Limits.Tighter(c.Wanted.Limits):
		return wrong("", "the policy bounds how many flows may be begun (limits); it is not to")
	case p.Established() < min(leastMemory, c.Wanted.Established()):
		return wrong(forgets, fmt.Sprintf("the policy forgets a connection that is silent for %v (timeouts); it is to remember it for longer", p.Established()))
	}
	return passed(), true
}

// source says whether what the policy denies ends at the vNIC of who sends it.
func (c *Policy) source(p *firewall.Policy) Finding {
	d, stopped := p.EndsLate()
	switch {
	case d != nil:
		return Finding{Reason: fmt.Sprintf("the policy lets %s leave its sender, and %s it only at the receiver's vNIC; it is to end at its source",
			c.flow(*d), verbs[d.A.Action]), Look: c.lookAt(*d), Facts: []string{endsLate}}
	case stopped:
		return Finding{Reason: "the policy is too long to be looked through: write it with fewer rules", Look: "sluice policy lint"}
	}
	return passed()
}
