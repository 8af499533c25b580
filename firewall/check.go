package firewall

import (
	"sluice/firewall/classifier"
	"sluice/vnic/frame"
)

// Check says what an insertion point does with a frame. It never allocates. In placements where the engine does not
// enforce, it lets everything through, but keeps the flow table. Where the placement steers, what a guest may send is
// steered.
//
// The way of a frame: what is forged; what is not IP; fragments (fragments.go); what stateless rules are about
// (stateless.go); ICMP's own ways (icmp.go); the flow table; and what no flow explains goes to the rules, and begins a
// flow where they allow it.
func (p *Program) Check(cx *Context, pt Point, k *frame.Key) Verdict {
	if g := p.policy.guardAt(pt); g != nil {
		if forged := (guard{g, p.policy}).forged(cx, k); forged != "" {
			cx.tell("spoofguard", forged)
			return Verdict{Reason: frame.ReasonSpoof}
		}
	}
	switch {
	case k.Flags&(frame.KeyIPv4|frame.KeyIPv6) == 0:
		return p.steer(pt, p.checkOther(cx, pt, k))
	case k.Has(frame.KeyLater):
		return p.steer(pt, p.checkLater(cx, pt, k))
	case k.Has(frame.KeyFragment):
		return p.checkFirst(cx, pt, k)
	case p.stateless != nil && p.isStateless(k):
		return p.steer(pt, p.checkStateless(cx, pt, k))
	}
	id, swapped := identify(k)
	mayBegin := true
	if hasOwnWay(k.Proto) {
		var v Verdict
		var done bool
		if v, mayBegin, done = p.checkICMP(cx, pt, k, &id, swapped); done {
			return p.steer(pt, v)
		}
	}
	ms := milliseconds(cx.Now)
	at, e := cx.Flows.hold(&id)
	if e != nil {
		verdict := p.verdictOf(cx.Flows, pt, &id, at.hash)
		if verdict == frame.VerdictQuarantine && !e.expired(ms, p.timeouts) {
			cx.Flows.release(at)
			cx.tell("inspector", "the flow is in quarantine")
			return Verdict{Reason: frame.ReasonInspected, Flags: VerdictKnown}
		}
		if flags, ok := p.settled(cx, pt, k, e, swapped, ms); ok {
			v := Verdict{Action: p.passes[pt.Dir&1], Flags: flags, Rule: e.rule}
			cx.Settled = Place{e, at.hash}
			cx.Flows.release(at)
			if verdict == frame.VerdictClean {
				v.Action = Pass
			}
			return v
		}
	}
	v := p.judge(cx, &arrival{pt, k, at, &id, swapped, mayBegin, ms}, e)
	clean := p.verdictOf(cx.Flows, pt, &id, at.hash) == frame.VerdictClean // a flow that began anew is another
	cx.Flows.release(at)
	if clean {
		cx.tell("inspector", "the flow is clean: it is not steered any more")
		return v
	}
	return p.steer(pt, v)
}

// steer makes a pass what a pass is at a point.
func (p *Program) steer(pt Point, v Verdict) Verdict {
	if v.Action == Pass {
		v.Action = p.passes[pt.Dir&1]
	}
	return v
}

// checkOther is for frames that are not IP. ARP is no matter of policy; what else there is matches no rule.
func (p *Program) checkOther(cx *Context, pt Point, k *frame.Key) Verdict {
	switch {
	case k.Has(frame.KeyARP):
		cx.tell("arp", "ARP is housekeeping: no rule is asked")
	case p.policy.Default != RuleAllow:
		return p.refuse(cx, pt, frame.ReasonDefault, "neither IP nor ARP: no rule can match, and the default does not allow it")
	}
	return Verdict{Action: Pass}
}

// refuse drops what fits no flow and may not begin one, where the engine enforces.
func (p *Program) refuse(cx *Context, pt Point, r frame.Reason, why string) Verdict {
	cx.tell("flow", why)
	switch {
	case !p.enforce:
		cx.tell("pass", "in this placement the engine enforces nothing")
		return Verdict{Action: Pass}
	case p.policy.excludes(pt.Port):
		cx.tell("pass", "the policy excludes this vNIC")
		return Verdict{Action: Pass}
	}
	return Verdict{Reason: r}
}

// arrival is a frame at a point, and where the flow table has its flow, or would have it.
type arrival struct {
	at       Point
	key      *frame.Key
	spot     // whose locks are held
	id       *flowID
	swapped  bool // the frame's source is the flow's end b
	mayBegin bool // it may begin a flow
	ms       uint32
}

// judge says what becomes of a frame for which the flow table has e, or nothing.
func (p *Program) judge(cx *Context, a *arrival, e *entry) Verdict {
	if e != nil && !e.expired(a.ms, p.timeouts) && !e.reopens(a.key, a.swapped != e.swapped(), a.at.Dir) {
		return p.known(cx, a, e)
	}
	if e != nil && !cx.Dry {
		cx.Flows.remove(a.shard, e)
	}
	return p.begin(cx, a)
}

// settled is the short way for nearly all frames: of a flow that is answered, or is one side's only, at a point that
// has accepted it, and that change nothing but counters and windows. It must say what known would say.
func (p *Program) settled(cx *Context, pt Point, k *frame.Key, e *entry, swapped bool, ms uint32) (flags VerdictFlag, ok bool) {
	side := uint8(pt.Dir)
	flags = VerdictKnown
	reply := swapped != e.swapped()
	if reply {
		side = 1 - side
		flags |= VerdictReply
	}
	if p.enforce && (e.stamp != p.stamp || e.points[side&1] != pt.Port) || e.expired(ms, p.timeouts) || cx.Dry || cx.Rec != nil {
		return 0, false
	}
	const handshake = frame.TCPSyn | frame.TCPFin | frame.TCPRst | frame.TCPAck
	switch {
	case e.state == datagramMultiple, e.state == datagramSingle && !reply:
	case e.state != tcpEstablished || k.TCPFlags&handshake != frame.TCPAck || cx.partial || reply && e.flags&flowReplied == 0:
		return 0, false
	case pt.Dir == FromGuest && !e.follow(k, cx.Eth, side&1), pt.Dir == ToGuest && len(p.policy.excluded) > 0:
		return 0, false
	}
	if pt.Dir == FromGuest {
		e.add(side, k.L3Len)
	}
	e.seen = ms
	return flags, true
}

// known judges a frame of a known flow: whether it fits the flow's state, and whether this point has accepted the flow.
func (p *Program) known(cx *Context, a *arrival, e *entry) Verdict {
	pt, k := a.at, a.key
	e = cx.own(e)
	reply := a.swapped != e.swapped()
	if cx.Rec != nil {
		p.tellFlow(cx, e, reply, a.ms)
	}
	before := e.state
	ignored := false
	if k.Proto == frame.ProtoTCP && (pt.Dir == FromGuest || p.unjudged(k)) {
		verdict := p.advance(cx, pt, k, e, reply)
		if v, passes := p.misfit(cx, a, e, reply, verdict); !passes {
			return v
		}
		ignored = verdict == tcpIgnored
	}
	v := Verdict{Action: Pass, Flags: VerdictKnown, Rule: e.rule}
	side := uint8(0)
	dir := pt.Dir
	if reply {
		v.Flags |= VerdictReply
		side, dir = 1, 1-dir
	}
	if p.enforce && (e.stamp != p.stamp || e.points[dir] != pt.Port) {
		if v = p.again(cx, Point{pt.Port, dir}, k, a.shard, e, v.Flags); v.Action != Pass {
			return v
		}
	}
	if !ignored {
		e.seen = a.ms
	}
	if pt.Dir == ToGuest {
		return v // it was counted, and moved the flow's state, where it left its guest
	}
	e.add(side, k.L3Len)
	if k.Proto != frame.ProtoTCP {
		e.state = nextDatagram(e.state, reply, e.frames[0], &e.flags)
	}
	if e.state != before {
		e.changed = cx.Flows.now()
	}
	return v
}

// unjudged says whether a segment has passed where it left its guest whatever it was, because the policy is not for
// that vNIC. Then, and only then, is it judged where it arrives.
func (p *Program) unjudged(k *frame.Key) bool {
	return len(p.policy.excluded) > 0 && p.policy.excludes(p.policy.PortOf(k.Src.IP()))
}

// advance judges a segment, and takes it into account where it leaves its guest.
func (p *Program) advance(cx *Context, pt Point, k *frame.Key, e *entry, reply bool) tcpVerdict {
	g := p.segment(cx, k, reply)
	t := tcp{e.state, e.flags, e.progress}
	if cx.partial {
		t.unchecked() // how long the segment is, only its other fragments know
	}
	verdict := t.step(&g)
	if pt.Dir == ToGuest {
		return verdict
	}
	if verdict == tcpOutside && p.placement == Off {
		t.unchecked() // nobody keeps it from passing, so what comes after it cannot be held against the windows
	}
	e.state, e.flags, e.progress = t.state, t.flags, t.progress
	return verdict
}

// misfit says what becomes of a segment that does not fit its flow.
func (p *Program) misfit(cx *Context, a *arrival, e *entry, reply bool, verdict tcpVerdict) (v Verdict, passes bool) {
	switch verdict {
	case tcpFits, tcpIgnored:
		return v, true
	case tcpOutside:
		if cx.Rec != nil {
			tellWindow(cx, a.key, e, reply)
		}
		return p.refuse(cx, a.at, frame.ReasonWindow, "these numbers lie outside the flow's windows"), false
	case tcpTakenBack:
		if !cx.Dry {
			cx.Flows.remove(a.shard, e) // as conntrack sees it too
		}
	}
	return p.refuse(cx, a.at, frame.ReasonState, "these TCP flags do not fit the flow's state"), false
}

// again asks the rules about a known flow, at a point that has not accepted it yet, or not under this program. at is as
// the one who began the flow sees it.
func (p *Program) again(cx *Context, at Point, k *frame.Key, s *shard, e *entry, flags VerdictFlag) Verdict {
	first := e.flowID.first(e.swapped())
	if at.Dir == ToGuest && flags&VerdictReply == 0 && k.Proto == e.proto() && e.frames[0] <= 1 && e.frames[1] == 0 {
		first.more = classifier.MoreOf(k.SrcPort, k.TCPFlags) // this is the flow's first packet itself
	}
	v := p.evaluate(cx, at, first.packet(), k.L3Len)
	v.Flags |= flags
	if v.Action == Pass {
		if e.stamp != p.stamp {
			if cx.Dry {
				e.stamp = p.stamp // of the copy
			} else {
				cx.Flows.use(p)
				cx.Flows.restamp(e, p.stamp, cx.Now)
			}
			e.points = [2]frame.PortID{}
		}
		e.points[at.Dir], e.rule = at.Port, v.Rule
		return v
	}
	switch {
	case e.stamp == p.stamp:
		// Nobody has received the flow's first packet yet: it never began. Where a flooded copy was denied where it is
		// no use, it begins again at the port where it is.
		if at.Dir == FromGuest || e.points[ToGuest] != 0 {
			return v
		}
	case e.points[at.Dir] == at.Port || p.policy.owns(at, &first):
		v.Reason, v.Flags = frame.ReasonRevoked, v.Flags&^VerdictReject
		cx.tell("flow", "the flow was let in before; this policy denies it, so it is cut")
	default:
		return v // a flooded copy
	}
	if !cx.Dry {
		cx.Flows.remove(s, e)
	}
	return v
}

// owns says whether a flow begins, or ends, at a point.
func (p *Policy) owns(at Point, first *firstPacket) bool {
	a := first.src
	if at.Dir == ToGuest {
		a = first.dst
	}
	return at.Port != 0 && p.PortOf(a.IP()) == at.Port
}

// begin judges a frame that belongs to no known flow.
func (p *Program) begin(cx *Context, a *arrival) Verdict {
	pt, k, mayBegin, start := a.at, a.key, a.mayBegin, datagramFirst
	if k.Proto == frame.ProtoTCP {
		start, mayBegin = p.beginTCP(k)
	}
	switch {
	case !mayBegin:
		return p.refuse(cx, pt, frame.ReasonState, "no flow is known, and this may not begin one")
	case !cx.partial && !frame.L4Holds(cx.Eth, k):
		return p.refuse(cx, pt, frame.ReasonChecksum, "its checksum is wrong: it begins no flow")
	}
	v := Verdict{Action: Pass}
	if p.enforce {
		if v = p.evaluate(cx, pt, classifier.PacketOf(k), k.L3Len); v.Action != Pass {
			return v
		}
	} else {
		cx.tell("flow", "a new flow; in this placement the engine asks no rule")
	}
	v.Flags |= VerdictNew
	if cx.Dry {
		return v
	}
	owner := frame.PortID(0)
	if pt.Dir == FromGuest {
		owner = pt.Port
	}
	cx.Flows.use(p)
	if p.enforce && !cx.Flows.within(p.policy.Limits, owner, cx.Now) {
		return p.refuse(cx, pt, frame.ReasonFlows, "the vNIC has begun as many flows as the policy's limits allow")
	}
	limited := p.enforce && limitsSources(p.stamp)
	if limited && !cx.Flows.sources.Load().begin(&k.Src, &p.policy.Limits.PerSource, cx.Now) {
		return p.refuse(cx, pt, frame.ReasonFlows, "the source has begun as many flows as the policy's limits allow")
	}
	e := cx.Flows.insert(a.spot, a.id, owner, a.ms)
	if e == nil {
		if limited {
			cx.Flows.sources.Load().ended(&k.Src)
		}
		return p.refuse(cx, pt, frame.ReasonFlows, "the flow table, or the port's share of it, is full")
	}
	e.state = start
	if a.swapped {
		e.flags |= flowSwapped
	}
	if k.Proto == frame.ProtoTCP {
		g := p.segment(cx, k, false)
		e.begin(&g)
		if cx.partial {
			e.unchecked()
		}
	}
	if pt.Dir == FromGuest {
		e.add(0, k.L3Len)
	}
	if p.enforce {
		e.stamp, e.rule, e.points[pt.Dir] = p.stamp, v.Rule, pt.Port
	}
	return v
}

// Begins says whether a packet may begin a flow: a SYN does, and an ACK where the policy has midstream; of ICMP a
// request does.
func (p *Program) Begins(k *frame.Key) bool {
	switch {
	case k.Proto == frame.ProtoTCP:
		_, ok := p.beginTCP(k)
		return ok
	case hasOwnWay(k.Proto) && k.Has(frame.KeyL4):
		kind, _ := icmpKindOf(k)
		return kind == icmpRequest
	}
	return true
}
