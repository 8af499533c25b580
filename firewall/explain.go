package firewall

import (
	"fmt"

	"sluice/vnic/frame"
)

// tell records one step where somebody listens; while forwarding nobody does. What must be put together is so only then
// (cx.Rec is asked first), because arguments of a format would be allocated.
func (cx *Context) tell(what, detail string) {
	if cx.Rec != nil {
		cx.Rec(Step{What: what, Detail: detail})
	}
}

// tellFlow records what is known of a frame's flow.
func (p *Program) tellFlow(cx *Context, e *entry, reply bool, ms uint32) {
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

// tellWindow records what a segment says, and what would have been within the windows.
func tellWindow(cx *Context, k *frame.Key, e *entry, reply bool) {
	from, to := &e.side[0], &e.side[1]
	if reply {
		from, to = to, from
	}
	cx.Rec(Step{
		What: "window",
		Detail: fmt.Sprintf("%d bytes from %d on, acknowledging up to %d; its side has sent up to %d and may send up to %d, the other has sent up to %d",
			k.PayloadLen, k.Seq, k.Ack, from.end, from.maxEnd, to.end),
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
