package firewall

import (
	"sync/atomic"

	"sluice/firewall/classifier"
	"sluice/vnic/frame"
)

// Program is a policy compiled for one placement: flat, immutable data that an engine walks, and the rules' counters.
// Any number of goroutines may call Check at once.
type Program struct {
	policy     *Policy
	placement  Placement
	enforce    bool                   // the engine drops what the policy denies
	passes     [2]Action              // by direction: what a frame that may pass does; what a guest sends may visit the appliance first
	stateless  *classifier.Classifier // the policy's
	generation uint64
	stamp      uint32 // the policy's, in the flows that it lets in
	timeouts   *[states]uint32
}

// counter counts for one rule. It belongs to the policy, so that a change of placement keeps it. What a flow carries is
// counted in the flow, and added here when it ends: so a frame of a known flow costs no more than its own line of the
// cache.
type counter struct {
	hits, frames, bytes atomic.Uint64
	last                atomic.Int64
	log                 limiter
}

// Recount lets every rule count from zero. What flows that live have carried stays with them.
func (p *Policy) Recount() {
	for i := range p.counters {
		c := &p.counters[i]
		c.hits.Store(0)
		c.frames.Store(0)
		c.bytes.Store(0)
		c.last.Store(0)
	}
}

// ended adds to its rule what a flow has carried that the policy let in.
func (p *Policy) ended(e *entry) {
	if e.stamp == p.stamp && int(e.rule) < len(p.counters) {
		c := &p.counters[e.rule]
		c.frames.Add(uint64(e.frames[0]) + uint64(e.frames[1]))
		c.bytes.Add(e.bytes(0) + e.bytes(1))
	}
}

// lastPrecision, in ns, is how exactly a rule's last hit is known: what all ports write for every frame would be passed
// between processors.
const lastPrecision = 1e8

// Compile makes the program of a policy for a placement. It is pure: the same policy gives the same program.
func Compile(p *Policy, pl Placement) (*Program, error) {
	g := &Program{
		policy: p, placement: pl, enforce: pl.EngineEnforces(), passes: [2]Action{Pass, Pass}, generation: p.content, stamp: p.stamp,
		stateless: p.stateless, timeouts: p.timeouts,
	}
	if pl.Steers() {
		g.passes[FromGuest] = Steer
	}
	if g.enforce {
		g.generation |= 1
	}
	return g, nil
}

// Generation identifies what the program decides: the policy's content, and whether the engine enforces it. It is never
// 0.
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
	File string `json:"file"`
	Hits uint64 `json:"hits"` // how often an insertion point asked the rules and got this one
	Last int64  `json:"-"`    // when the last time was, as Context.Now, to 0.1 s; 0 is never
	// Frames and Bytes, of IP, are what the flows have carried whose latest answer this rule was, over their whole life
	// and in both directions; and what hit the rule without becoming a flow.
	Frames uint64 `json:"frames"`
	Bytes  uint64 `json:"bytes"`
	// Unlogged is how many decisions of a logged rule were not logged since the last one that was.
	Unlogged uint64 `json:"unlogged"`
}

// Rules lists the rules in order; the last one, called default, is the default. flows is the table whose flows count;
// it may be nil.
func (p *Program) Rules(flows *Flows) []RuleInfo {
	out := make([]RuleInfo, 0, len(p.policy.Rules)+1)
	for i := range p.policy.Rules {
		out = append(out, p.info(p.policy.Rules[i], uint32(i+1)))
	}
	out = append(out, p.info(Rule{Name: "default", Direction: "in-out", Action: p.policy.Default}, 0))
	if flows != nil {
		flows.all(func(_ *shard, e *entry) {
			if e.stamp == p.stamp && int(e.rule) < len(out) {
				r := &out[(int(e.rule)+len(out)-1)%len(out)]
				r.Frames += uint64(e.frames[0]) + uint64(e.frames[1])
				r.Bytes += e.bytes(0) + e.bytes(1)
			}
		})
	}
	return out
}

func (p *Program) info(r Rule, number uint32) RuleInfo {
	c := &p.policy.counters[number]
	return RuleInfo{
		Rule: r, File: p.policy.File, Hits: c.hits.Load(), Last: c.last.Load(), Frames: c.frames.Load(), Bytes: c.bytes.Load(),
		Unlogged: c.log.suppressed.Load(),
	}
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
func (p *Program) evaluate(cx *Context, at Point, packet classifier.Packet, length uint32) Verdict {
	action, rule := p.policy.decide(at, packet)
	v := Verdict{Rule: rule}
	if rule > 0 && p.policy.actions[rule-1].flags&ruleLogged != 0 {
		v.Flags |= VerdictLog
		if cx.Log != nil && !cx.Dry {
			r := &p.policy.Rules[rule-1]
			n := Note{
				At: cx.Now, Point: at, Rule: r.Name, Prefix: r.LogPrefix, Action: action,
				Src: *packet.Src, Dst: *packet.Dst, Service: packet.Service,
			}
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
		if v.Action != Pass || cx.stateless {
			c.frames.Add(1)
			c.bytes.Add(uint64(length))
		}
		if cx.Now-c.last.Load() > lastPrecision {
			c.last.Store(cx.Now)
		}
	}
	if cx.Rec != nil {
		p.tellRule(cx, at, action, rule)
	}
	return v
}
