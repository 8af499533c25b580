package firewall

import "fmt"

// tell records one step where somebody listens; while forwarding nobody does. What must be put together is so only then (cx.Rec is
// asked first), because arguments of a format would be allocated.
func (cx *Context) tell(what, detail string) {
	if cx.Rec != nil {
		cx.Rec(Step{What: what, Detail: detail})
	}
}

// tellFlow records what is known of a frame's flow.
func (p *Program) tellFlow(cx *Context, e tracked, reply bool, ms uint32) {
	r := e.record(ms, p, p.policy.timeouts)
	way := "in the direction in which it began"
	if reply {
		way = "a reply"
	}
	cx.Rec(Step{
		What: "flow", Rule: r.Rule,
		Detail: fmt.Sprintf("belongs to the flow %s from %s to %s, %s; %s, %d s left", r.Service, r.Src, r.Dst, r.State, way, r.Timeout),
	})
}

// tellRule records which rule decided.
func (p *Program) tellRule(cx *Context, at Point, action RuleAction, rule uint32) {
	if rule == 0 {
		cx.Rec(Step{What: "default", Detail: fmt.Sprintf("no rule matches at %s: the default says %s", at.Dir, action)})
		return
	}
	r := &p.policy.Rules[rule-1]
	cx.Rec(Step{
		What: "rule", Rule: r.Name, Where: fmt.Sprintf("%s:%d", p.policy.File, r.Line),
		Detail: fmt.Sprintf("rule %d of %d, %s, matches at %s: %s", rule, len(p.policy.Rules), r.Name, at.Dir, action),
	})
}
