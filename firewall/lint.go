package firewall

import (
	"cmp"
	"fmt"
	"slices"

	"sluice/firewall/classifier"
)

// Finding is one thing that Lint has to say of a policy.
type Finding struct {
	Kind    string `json:"kind"`           // one of the kinds below
	Rule    string `json:"rule,omitempty"` // what it is about
	Line    int    `json:"line"`
	Col     int    `json:"col"`
	Detail  string `json:"detail"`            // one line for a person
	Other   string `json:"other,omitempty"`   // the rule before it that is to blame
	Witness string `json:"witness,omitempty"` // a flow that shows it
}

// The kinds of findings.
const (
	LintUnusedGroup   = "unused-group"
	LintUnusedService = "unused-service"
	LintUnusedHelper  = "unused-helper"
	LintEmpty         = "empty"         // the rule matches nothing
	LintShadowed      = "shadowed"      // one rule before it matches all of it
	LintUnreachable   = "unreachable"   // several rules before it do together
	LintContradictory = "contradictory" // it overlaps with one before it that says the opposite, and neither is an exception of the other
	LintNeverHit      = "never-hit"     // it has not decided about a flow since the policy is in force
)

// The bounds of the work of one Lint, in steps: a few seconds of it. A step compares two ranges, of addresses or of
// services.
const (
	leastSteps = 4_000_000
	stepsByte  = 40 // more for each byte of the policy
	lintSteps  = 40_000_000
)

// Lint lists what is allowed but looks wrong, in the order of the file. complete is false where the rules overlap so
// much that not all of them were compared: the work is bounded. What is found is sure even then.
func (p *Policy) Lint() (found []Finding, complete bool) {
	return p.lint(min(lintSteps, leastSteps+stepsByte*len(p.Source)))
}

func (p *Policy) lint(steps int) (found []Finding, complete bool) {
	for _, g := range p.groups {
		if !g.used {
			found = append(found, Finding{Kind: LintUnusedGroup, Line: g.line, Col: g.col, Detail: "no rule uses group " + g.name})
		}
	}
	for _, s := range p.services {
		if !s.used {
			found = append(found, Finding{Kind: LintUnusedService, Line: s.line, Col: s.col, Detail: "no rule uses service " + s.name})
		}
	}
	found = append(found, p.unusedHelpers()...)
	l := newLinter(p, steps)
	for i := range p.Rules {
		found = append(found, l.rule(uint32(i))...)
	}
	slices.SortStableFunc(found, func(a, b Finding) int { return cmp.Or(a.Line-b.Line, a.Col-b.Col) })
	return found, l.differ.left >= 0
}

// NeverHit lists the rules that have not decided about a flow, in order. hits are by rule's name, as an engine counts
// them; since is for people.
func (p *Policy) NeverHit(hits map[string]uint64, since string) (found []Finding) {
	for i := range p.Rules {
		if r := &p.Rules[i]; hits[r.Name] == 0 {
			found = append(found, r.finding(LintNeverHit, "rule %s has decided about no flow %s", r.Name, since))
		}
	}
	return found
}

func (r *Rule) finding(kind, format string, args ...any) Finding {
	return Finding{Kind: kind, Rule: r.Name, Line: r.Line, Col: r.Col, Detail: fmt.Sprintf(format, args...)}
}

// linter compares rules with those before them.
type linter struct {
	p      *Policy
	differ *differ            // knows the ends that a flow can have
	guests classifier.AddrSet // the addresses that guests have; any where there are none
	index  [3]overlaps
}

func newLinter(p *Policy, steps int) *linter {
	l := &linter{p: p, differ: &differ{a: p, b: p, left: steps}}
	l.differ.applied()
	l.differ.samples()
	if l.guests = p.owners.addrs().Normal(); len(l.guests) == 0 {
		l.guests = classifier.AnyAddr
	}
	for i := range p.Rules {
		if r := &p.Rules[i]; !r.match.IsEmpty() {
			l.index[0].add(r.match.From, uint32(i))
			l.index[1].add(r.match.To, uint32(i))
			l.index[2].add(asAddrs(r.match.Services), uint32(i))
		}
	}
	for i := range l.index {
		l.index[i].build()
	}
	return l
}

// rule says what there is to say of one rule, beside those before it.
func (l *linter) rule(i uint32) []Finding {
	r := &l.p.Rules[i]
	if r.match.IsEmpty() {
		return []Finding{r.finding(LintEmpty, "rule %s matches nothing: a group in it is empty", r.Name)}
	}
	if f := l.corner(r, r); !f.Src.IsValid() {
		return []Finding{r.finding(LintEmpty, "rule %s matches nothing: no flow has such ends and such a service", r.Name)}
	}
	near := l.before(i)
	for _, j := range near {
		e := &l.p.Rules[j]
		if l.differ.left -= e.match.Cost(&r.match); l.differ.left < 0 {
			return nil // it is not known
		}
		if e.match.Covers(&r.match) {
			return l.about(r, e, l.corner(r, r), LintShadowed, "rule %s is never reached: %s at line %d matches all of it before", r.Name, e.Name, e.Line)
		}
	}
	if !l.reached(i, near) {
		if l.differ.left < 0 {
			return nil // it is not known
		}
		if len(near) == 0 {
			return []Finding{r.finding(LintUnreachable, "rule %s is never reached: it is applied where no such flow begins or ends", r.Name)}
		}
		e := &l.p.Rules[near[len(near)-1]]
		return l.about(r, e, l.corner(r, r), LintUnreachable,
			"rule %s is never reached: the rules before it leave no flow to it, the last of them %s at line %d", r.Name, e.Name, e.Line)
	}
	for _, j := range near {
		e := &l.p.Rules[j]
		if l.differ.left -= e.match.Cost(&r.match); l.differ.left < 0 {
			return nil
		}
		if (e.Action == RuleAllow) == (r.Action == RuleAllow) || r.match.Covers(&e.match) {
			continue
		}
		if f := l.cornerWithin(e, r, l.guests); l.decides(j, f) {
			return l.about(r, e, f, LintContradictory, "rule %s (%s) overlaps with %s (%s) at line %d, and only their order decides", r.Name, r.Action, e.Name, e.Action, e.Line)
		}
	}
	return nil
}

// about is the one finding about a rule and one before it.
func (l *linter) about(r, before *Rule, f flowAt, kind, format string, args ...any) []Finding {
	out := r.finding(kind, format, args...)
	out.Other = before.Name
	if f.Src.IsValid() {
		out.Witness = f.String()
	}
	return []Finding{out}
}
