package firewall

import (
	"sync/atomic"

	"sluice/vnic/frame"
)

// Program is a policy compiled for one placement: flat, immutable data that an engine walks, and the rules' counters. Any
// number of goroutines may call Check at once.
type Program struct {
	policy     *Policy
	placement  Placement
	enforce    bool // the engine drops what the policy denies
	steers     bool // what a guest may send goes to the appliance first
	generation uint64
	timeouts   *[states]uint32
}

// counter counts for one rule. It belongs to the policy, so that a change of placement keeps it.
type counter struct {
	hits, bytes atomic.Uint64
	last        atomic.Int64
	log         limiter
}

// lastPrecision, in ns, is how exactly a rule's last hit is known: what all ports write for every frame would be passed between processors.
const lastPrecision = 1e8

// Compile makes the program of a policy for a placement. It is pure: the same policy gives the same program.
func Compile(p *Policy, pl Placement) (*Program, error) {
	g := &Program{policy: p, placement: pl, enforce: pl.EngineEnforces(), steers: pl.Steers(), generation: p.content, timeouts: p.timeouts}
	if g.enforce {
		g.generation |= 1
	}
	return g, nil
}

// Generation identifies what the program decides: the policy's content, and whether the engine enforces it. It is never 0.
func (p *Program) Generation() uint64 { return p.generation }

// Placement is the placement that the program was compiled for.
func (p *Program) Placement() Placement { return p.placement }

// Enforces says whether the program denies anything.
func (p *Program) Enforces() bool { return p.enforce }

// Policy is what the program was compiled from.
func (p *Program) Policy() *Policy { return p.policy }

// RuleInfo is a rule of a program, for people.
type RuleInfo struct {
	Rule
	File  string `json:"file"`
	Hits  uint64 `json:"hits"`  // frames for which an insertion point asked the rules and got this one
	Bytes uint64 `json:"bytes"` // of IP, in these frames
	Last  int64  `json:"-"`     // when the last of them was, as Context.Now, to 0.1 s; 0 is never
	// Unlogged is how many decisions of a logged rule were not logged since the last one that was.
	Unlogged uint64 `json:"unlogged"`
}

// Rules lists the rules in order; the last one, called default, is the default.
func (p *Program) Rules() []RuleInfo {
	out := make([]RuleInfo, 0, len(p.policy.Rules)+1)
	for i := range p.policy.Rules {
		out = append(out, p.info(p.policy.Rules[i], uint32(i+1)))
	}
	return append(out, p.info(Rule{Name: "default", Direction: "in-out", Action: p.policy.Default}, 0))
}

func (p *Program) info(r Rule, number uint32) RuleInfo {
	c := &p.policy.counters[number]
	return RuleInfo{Rule: r, File: p.policy.File, Hits: c.hits.Load(), Bytes: c.bytes.Load(), Last: c.last.Load(), Unlogged: c.log.suppressed.Load()}
}

// RuleName is the name of the rule in a verdict; "default" where Verdict.Rule is 0.
func (p *Program) RuleName(rule uint32) string { return p.policy.ruleName(rule) }

func (p *Policy) ruleName(rule uint32) string {
	if rule == 0 || int(rule) > len(p.Rules) {
		return "default"
	}
	return p.Rules[rule-1].Name
}

// evaluate asks the rules about a flow's first frame at a point, counts, and gives the verdict.
func (p *Program) evaluate(cx *Context, at Point, src, dst *frame.Addr, service, length uint32) Verdict {
	action, rule := p.policy.decide(at, src, dst, service)
	v := Verdict{Rule: rule}
	if rule > 0 && p.policy.Rules[rule-1].Log {
		v.Flags |= VerdictLog
		if cx.Log != nil && !cx.Dry {
			n := Note{At: cx.Now, Point: at, Rule: p.policy.Rules[rule-1].Name, Action: action, Src: *src, Dst: *dst, Service: service}
			cx.Log.take(n, &p.policy.counters[rule].log)
		}
	}
	switch {
	case action == RuleAllow:
		v.Action = Pass
	case action == RuleReject:
		v.Reason, v.Flags = frame.ReasonReject, v.Flags|VerdictReject
	case rule == 0:
		v.Reason = frame.ReasonDefault
	default:
		v.Reason = frame.ReasonRule
	}
	if !cx.Dry {
		c := &p.policy.counters[rule]
		c.hits.Add(1)
		c.bytes.Add(uint64(length))
		if cx.Now-c.last.Load() > lastPrecision {
			c.last.Store(cx.Now)
		}
	}
	if cx.Rec != nil {
		p.tellRule(cx, at, action, rule)
	}
	return v
}
