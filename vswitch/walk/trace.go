package walk

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sluice/firewall"
	"sluice/firewall/fault"
	"sluice/vnic/frame"
	"sluice/vswitch/measure"
)

// TraceRequest describes the frame whose way is asked for: the first of a flow, or one of a flow that is known; or it
// is the frame.
type TraceRequest struct {
	Proto string `json:"proto,omitempty"` // tcp, udp, icmp; or another one of IP, by its name in policies or its number
	From  string `json:"from,omitempty"`  // a guest, one of its vNICs (R1/1, R1/eth1), or one of its addresses
	To    string `json:"to,omitempty"`    // a guest, one of its vNICs, or any address
	Flags string `json:"flags,omitempty"` // TCP's, as syn,ack or none; empty is syn
	ICMP  string `json:"icmp,omitempty"`  // type or code, as policies have it: host-unreachable, 3/1; empty is echo
	// SrcPort and DstPort are TCP's or UDP's, 0 to 65535. A source port of 0 is one that no flow uses.
	SrcPort uint16 `json:"src_port,omitempty"`
	DstPort uint16 `json:"dst_port,omitempty"`
	IPv6    bool   `json:"ipv6,omitempty"` // between guests with addresses of both kinds
	// Frame is a whole Ethernet frame, in place of all of the above, and At the insertion point where it is:
	// client/from-guest, or client for short, is a frame that the guest sends; client/to-guest one that is about to be
	// delivered.
	Frame []byte `json:"frame,omitempty"`
	At    string `json:"at,omitempty"`
}

// TraceResult is the way of one frame through the switch, which nobody sent.
type TraceResult struct {
	Verdict string      `json:"verdict"` // pass, drop, reject, or answered: the gateway itself does
	Rule    string      `json:"rule"`    // the rule that decided; empty where none did
	Reason  string      `json:"reason"`  // a frame.Reason's name where the frame goes to no guest, else empty
	Crosses bool        `json:"crosses"` // it meets the appliance on its way
	Reaches []string    `json:"reaches"` // the vNICs that it is delivered to: several where it is flooded
	Steps   []TraceStep `json:"steps"`
}

// TraceStep is one step on the way.
type TraceStep struct {
	firewall.Step
	Point string `json:"point,omitempty"` // the insertion point, as in client/from-guest; empty between two of them
}

// Trace explains the way of a frame that nobody sends, by a plan and with an appliance that is so: it is Decide with a
// recorder, and changes nothing.
func (c *Core) Trace(p *Plan, r TraceRequest, appliance firewall.Failure) (TraceResult, error) {
	t := &tracer{core: c, plan: p, failure: appliance, result: TraceResult{Reaches: []string{}}}
	if len(r.Frame) > 0 {
		if err := t.traceFrame(r.Frame, r.At); err != nil {
			return TraceResult{}, fmt.Errorf("trace: %w", err)
		}
		return t.result, nil
	}
	if err := r.validate(); err != nil {
		return TraceResult{}, fmt.Errorf("trace: %w", err)
	}
	src, dst, err := t.ends(r)
	if err != nil {
		return TraceResult{}, fmt.Errorf("trace: %w", err)
	}
	f, err := t.build(r, src, dst)
	if err != nil {
		return TraceResult{}, fmt.Errorf("trace: %w", err)
	}
	t.walk(src, dst, f)
	return t.result, nil
}

// tracer follows one frame.
type tracer struct {
	core     *Core
	plan     *Plan
	failure  firewall.Failure // of the appliance
	result   TraceResult
	key      frame.Key
	last     firewall.Verdict // of the last check point
	outs     []frame.PortID   // where the last decision sends it
	answered bool             // the gateway answers it
}

// end is one end of a traced flow. The host is zero where the plan does not know the address.
type end struct {
	Host
	addr frame.Addr
}

// ends finds who is meant by the names of a request.
func (t *tracer) ends(r TraceRequest) (src, dst end, err error) {
	from, err := t.addrs(r.From)
	if err != nil {
		return src, dst, err
	}
	to, err := t.addrs(r.To)
	if err != nil {
		return src, dst, err
	}
	src, dst, ok := t.pair(from, to, r.IPv6)
	if !ok {
		src, dst, ok = t.pair(from, to, !r.IPv6)
	}
	switch {
	case !ok:
		return src, dst, fmt.Errorf("%s and %s have no addresses of the same family", r.From, r.To)
	case src.Port == 0:
		return src, dst, fmt.Errorf("no guest has the address %s", src.addr.IP())
	}
	return src, dst, nil
}

// pair takes two addresses of a family: the first that who is sent to has, and who sends the one that its kernel takes
// for it. That is the one on the same segment, or else its first, as its first leg has the default route.
func (t *tracer) pair(from, to []netip.Addr, v6 bool) (src, dst end, ok bool) {
	other := func(a netip.Addr) bool { return a.Is6() != v6 }
	from, to = slices.DeleteFunc(slices.Clone(from), other), slices.DeleteFunc(slices.Clone(to), other)
	if len(from) == 0 || len(to) == 0 {
		return src, dst, false
	}
	src, dst = t.end(from[0]), t.end(to[0])
	for _, a := range from {
		if leg := t.end(a); leg.Port != 0 && leg.Segment == dst.Segment {
			return leg, dst, true
		}
	}
	return src, dst, true
}

func (t *tracer) end(a netip.Addr) end {
	e := end{addr: frame.AddrFrom(a)}
	seg, h, known := t.plan.Route(e.addr)
	if e.Host = h; !known {
		e.Segment = seg
	}
	return e
}

// addrs are the addresses of a guest or of one of its vNICs, or the one that is named.
func (t *tracer) addrs(name string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{a.Unmap().WithZone("")}, nil
	}
	var found []netip.Addr
	var legs []string
	whose, _, _ := strings.Cut(name, "/")
	for _, p := range t.plan.Ports {
		guest, leg, several := strings.Cut(p.Name, "/")
		if !several {
			leg = "0"
		}
		switch {
		case p.ID == 0 || p.Service || guest != whose:
			continue
		case name == guest || name == p.Name || name == guest+"/eth"+leg: // as it is called inside
			found = append(found, p.Addrs...)
		}
		legs = append(legs, p.Name)
	}
	switch {
	case len(found) > 0:
		return found, nil
	case name != whose && len(legs) > 0:
		return nil, fmt.Errorf("no vNIC %q with an address: %s has %s", name, whose, strings.Join(legs, ", "))
	}
	return nil, fmt.Errorf("no guest %q with an address%s", name, fault.Instead(whose, t.guests()))
}

// guests are those that a trace may begin or end at.
func (t *tracer) guests() (names []string) {
	for _, p := range t.plan.Ports {
		if guest, _, _ := strings.Cut(p.Name, "/"); p.ID != 0 && !p.Service && len(p.Addrs) > 0 && !slices.Contains(names, guest) {
			names = append(names, guest)
		}
	}
	return names
}

// walk decides the frame, and follows it through the appliance where the plan leads there.
func (t *tracer) walk(src, dst end, f *frame.Frame) {
	frame.Parse(f, &t.key)
	t.side(f)
	out, ok := t.decide(src.Port, f)
	switch {
	case ok && t.plan.Ports[out].Steer:
		_, ok = t.throughSession(src.Port, f)
	case ok && t.plan.Ports[out].Service:
		_, ok = t.throughAppliance(dst, f)
	case !ok && t.plan.Program != nil && t.plan.Program.Enforces() && t.last.Action == firewall.Drop:
		t.sayRelated(measure.FlowOf(&t.key).Tuple())
	case ok && t.plan.Bypassed:
		t.note("appliance", fmt.Sprintf("it is %s and fails open: the frame passes it by", t.failure))
	case ok && t.plan.Placement == firewall.Slow:
		t.note("appliance", "the frame stays in its segment: the appliance never sees it")
	}
	if t.result.Verdict == "" {
		t.result.Verdict = t.verdict(ok)
		t.result.Rule = t.ruleOf(t.last)
	}
	if !ok {
		return
	}
	for _, out := range t.outs {
		t.result.Reaches = append(t.result.Reaches, t.plan.Ports[out].Name)
		t.note("out", "delivered to "+t.plan.Ports[out].Name)
	}
}

// side takes the plan by which the frame's flow walks.
func (t *tracer) side(f *frame.Frame) {
	if t.plan.Beside == nil {
		return
	}
	if side := t.plan.sideOf(t.core.flows, 0, f, &t.key); side != t.plan {
		t.plan = side
		t.note("kept", "its flow stays on the way of "+side.Placement.String()+" until it ends: the change of placement has kept it")
	}
}

// verdict is that of the walk so far.
func (t *tracer) verdict(passed bool) string {
	if t.answered {
		return "answered"
	}
	return verdictWord(passed, t.last)
}

// verdictWord is the verdict of a trace.
func verdictWord(passed bool, v firewall.Verdict) string {
	switch {
	case passed:
		return "pass"
	case v.Flags&firewall.VerdictReject != 0:
		return "reject"
	}
	return "drop"
}

// ruleOf names the rule behind a verdict; empty where no rule was asked.
func (t *tracer) ruleOf(v firewall.Verdict) string {
	if t.plan.Program == nil || v.Rule == 0 && v.Reason != frame.ReasonDefault {
		return ""
	}
	return t.plan.Program.RuleName(v.Rule)
}

// decide walks one frame from one port, dry. ok says that it goes on, to the port out and maybe others. The switch's
// own answers to a frame do not count.
func (t *tracer) decide(from frame.PortID, f *frame.Frame) (out frame.PortID, ok bool) {
	w := t.walker(from)
	return t.outcome(w, from, f, w.Decide(f))
}

// outcome reads what a walk has come to.
func (t *tracer) outcome(w *Walker, from frame.PortID, f *frame.Frame, outputs []Output) (out frame.PortID, ok bool) {
	t.last = w.last
	t.outs = t.outs[:0]
	for _, o := range outputs {
		if o.Frame == f && o.Port != from {
			t.outs = append(t.outs, o.Port)
		}
	}
	if len(t.outs) > 0 {
		return t.outs[0], true
	}
	t.result.Reason = w.ended.String()
	if w.ended == frame.ReasonOwnGateway {
		t.atGateway(slices.ContainsFunc(outputs, func(o Output) bool { return o.Port == from }))
	}
	return 0, false
}

// atGateway is said of a frame that was for the gateway itself: that it goes nowhere is no loss.
func (t *tracer) atGateway(answers bool) {
	t.result.Reason = frame.ReasonOwnGateway.String()
	if t.answered = answers; !answers {
		t.note("gateway", "the gateway does not answer it")
		return
	}
	t.note("gateway", "the gateway answers, to whoever asked")
}

// walker makes a walker that changes nothing and records.
func (t *tracer) walker(from frame.PortID) *Walker {
	w := t.core.NewWalker(from)
	w.dry, w.cx.Dry = true, true
	w.record = func(s TraceStep) { t.result.Steps = append(t.result.Steps, s) }
	w.Begin(t.plan, nil)
	return w
}

// throughAppliance says what the appliance does with a packet by the policy, and walks on from where it routes it.
func (t *tracer) throughAppliance(dst end, f *frame.Frame) (out frame.PortID, ok bool) {
	t.result.Crosses = true
	if t.hangs() || !t.passesAppliance() {
		return 0, false
	}
	if _, h, known := t.plan.Route(t.key.Dst); known && h.Port == 0 {
		t.atGateway(t.key.IsEchoRequest() || t.key.Proto == frame.ProtoUDP)
		t.result.Verdict = t.verdict(false)
		return 0, false
	}
	back := t.plan.Segments[dst.Segment].GatewayPort
	if back == 0 || dst.Port == 0 { // the rule that is named let it pass, and is not why
		t.result.Verdict, t.result.Reason, t.result.Rule = "drop", frame.ReasonNoRoute.String(), ""
		return 0, false
	}
	frame.DecTTL(f, &t.key)
	frame.PutEth(f.Eth(), dst.MAC, t.plan.Segments[dst.Segment].GatewayMAC, t.key.EtherType)
	out, ok = t.decide(back, f)
	t.result.Verdict = t.verdict(ok)
	return out, ok
}

// throughSession says what the far end of a session does with a frame that was steered, and walks on from where it was.
func (t *tracer) throughSession(from frame.PortID, f *frame.Frame) (out frame.PortID, ok bool) {
	t.result.Crosses = true
	switch {
	case t.hangs():
		return 0, false
	case t.plan.Steering.Out.Ticketed:
		t.note("appliance", "the inspector looks into it: what it says depends on what came before")
	case t.key.Flags&(frame.KeyIPv4|frame.KeyIPv6) == 0 || t.key.IsND():
		t.note("appliance", "the bridge lets it pass: no rule is asked")
	case !t.passesAppliance():
		return 0, false
	}
	rule := t.result.Rule
	w := t.walker(t.plan.Steering.Port)
	out, ok = t.outcome(w, from, f, w.resume(f, from))
	t.result.Verdict = t.verdict(ok)
	if t.result.Rule = t.ruleOf(t.last); t.result.Rule == "" {
		t.result.Rule = rule
	}
	return out, ok
}

// hangs says whether the appliance would keep the frame, and why.
func (t *tracer) hangs() bool {
	if t.failure != firewall.Hung {
		return false
	}
	t.note("appliance", "it is hung: what it is handed does not come back")
	t.result.Verdict, t.result.Reason = "drop", frame.ReasonFailed.String()
	return true
}

// passesAppliance evaluates the policy as the appliance's nftables do. Its conntrack is not asked: the engine's own
// table, which has the same flows, says whether the packet belongs to one, and which way it goes in it.
func (t *tracer) passesAppliance() bool {
	policy, tuple := t.plan.Program.Policy(), measure.FlowOf(&t.key).Tuple()
	if t.last.Flags&firewall.VerdictReply != 0 {
		tuple.Src, tuple.Dst = tuple.Dst, tuple.Src
	}
	tuple.ICMPCode, tuple.TCPFlags, tuple.NoSYN = t.key.ICMPCode, t.key.TCPFlags, t.key.TCPFlags&frame.TCPSyn == 0
	switch known := t.last.Flags&firewall.VerdictKnown != 0; {
	case t.plan.Program.Stateless(&t.key):
		t.note("appliance", "nftables: a stateless rule is about it, so it is in no flow")
	case known:
		tuple.TCPFlags, tuple.NoSYN = 0, false // the flow was let in, or not, by its SYN
	case !t.plan.Program.Begins(&t.key):
		t.note("appliance", "nftables: no flow is known, and this may not begin one")
		t.result.Verdict, t.result.Reason = "drop", frame.ReasonState.String()
		return false
	}
	d := policy.Evaluate(tuple)
	t.result.Rule = t.plan.Program.RuleName(d.Rule)
	t.note("appliance", fmt.Sprintf("nftables by the same policy: %s, rule %s", d.Action, t.result.Rule))
	t.sayHelper(policy, tuple, d.Action)
	switch d.Action {
	case firewall.RuleDrop:
		t.result.Verdict, t.result.Reason = "drop", frame.ReasonRule.String()
		if d.Rule == 0 {
			t.result.Reason = frame.ReasonDefault.String()
		}
		return false
	case firewall.RuleReject:
		t.result.Verdict, t.result.Reason = "reject", frame.ReasonReject.String()
		return false
	}
	return true
}

// sayHelper says what the appliance's helpers have to do with a packet that its rules were asked about.
func (t *tracer) sayHelper(policy *firewall.Policy, tuple firewall.Tuple, action firewall.RuleAction) {
	if action != firewall.RuleAllow {
		t.sayRelated(tuple)
		return
	}
	if h, reads := firewall.ReaderOf(tuple, policy.Helpers); reads && t.plan.Placement == firewall.Slow {
		t.note("helper", h.Name+" reads this connection: the flows that are announced in it pass, too")
	}
}

// sayRelated says of a denied packet that a helper might know of its flow. Whether it does, only conntrack knows.
func (t *tracer) sayRelated(tuple firewall.Tuple) {
	h, may := t.plan.Program.Policy().Relates(tuple)
	switch {
	case !may:
	case t.plan.Placement == firewall.Slow:
		t.note("helper", "if it was announced in a connection that "+h.Name+" reads, it passes all the same, as related")
	default:
		t.note("helper", fmt.Sprintf("in %s nobody reads what %s announces: the rules alone decide", t.plan.Placement, h.Name))
	}
}

func (t *tracer) note(what, detail string) {
	t.result.Steps = append(t.result.Steps, TraceStep{Step: firewall.Step{What: what, Detail: detail}})
}
