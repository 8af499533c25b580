package firewall

import (
	"sluice/vnic/frame"
)

// Check says what an insertion point does with a frame. It never allocates. In placements where the engine does not
// enforce, it lets everything through, but keeps the flow table. Where the placement steers, what a guest may send is steered.
func (p *Program) Check(cx *Context, pt Point, k *frame.Key) Verdict {
	v := p.check(cx, pt, k)
	if p.steers && v.Action == Pass && pt.Dir == FromGuest {
		v.Action = Steer
	}
	return v
}

// check is Check without steering.
//
// The way of a frame: what is forged; what is not IP; fragments (fragments.go); ICMP's own ways (icmp.go); the flow table; and what no flow explains
// goes to the rules, and begins a flow where they allow it.
func (p *Program) check(cx *Context, pt Point, k *frame.Key) Verdict {
	if g := p.policy.guardAt(pt); g != nil {
		if forged := g.forged(cx, k); forged != "" {
			cx.tell("spoofguard", forged)
			return Verdict{Reason: frame.ReasonSpoof}
		}
	}
	if k.Flags&(frame.KeyIPv4|frame.KeyIPv6) == 0 {
		return p.checkOther(cx, pt, k)
	}
	if k.Has(frame.KeyLater) {
		return p.checkLater(cx, pt, k)
	}
	if k.Has(frame.KeyFragment) {
		return p.checkFirst(cx, pt, k)
	}
	id, swapped := identify(k)
	mayBegin := true
	if k.Proto == frame.ProtoICMP || k.Proto == frame.ProtoICMPv6 {
		var v Verdict
		var done bool
		if v, mayBegin, done = p.checkICMP(cx, pt, k, &id, swapped); done {
			return v
		}
	}
	hash := id.hash()
	s := cx.Flows.shard(hash)
	ms := milliseconds(cx.Now)
	s.mu.Lock()
	e := s.find(&id, hash)
	if e != nil {
		if flags, ok := p.settled(cx, pt, k, e, swapped, ms); ok {
			v := Verdict{Action: Pass, Flags: flags, Rule: e.rule}
			s.mu.Unlock()
			return v
		}
	}
	v := p.judge(cx, pt, k, s, e, &id, hash, swapped, mayBegin, ms)
	s.mu.Unlock()
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

// judge says what becomes of a frame for which the flow table has e, or nothing.
func (p *Program) judge(cx *Context, pt Point, k *frame.Key, s *shard, e *flow, id *flowID, hash uint64, swapped, mayBegin bool, ms uint32) Verdict {
	if e != nil && !e.expired(ms, p.timeouts) && !e.reopens(k, swapped != e.swapped(), pt.Dir) {
		return p.known(cx, pt, k, s, e, swapped, ms)
	}
	if e != nil && !cx.Dry {
		cx.Flows.remove(s, e)
	}
	return p.begin(cx, pt, k, s, id, hash, swapped, mayBegin, ms)
}

// settled is the short way for nearly all frames: of a flow that is answered, at a point that has accepted it, and that change nothing
// but counters. It must say what known would say.
func (p *Program) settled(cx *Context, pt Point, k *frame.Key, e *flow, swapped bool, ms uint32) (flags VerdictFlag, ok bool) {
	const handshake = frame.TCPSyn | frame.TCPFin | frame.TCPRst | frame.TCPAck
	steady := e.state == datagramMultiple || e.state == tcpEstablished && e.flags&flowLast == 0 && k.TCPFlags&handshake == frame.TCPAck
	side := pt.Dir
	flags = VerdictKnown
	if swapped != e.swapped() {
		side = 1 - side
		flags |= VerdictReply
	}
	if !steady || p.enforce && (e.gen != p.generation || e.points[side&1] != pt.Port) || e.expired(ms, p.timeouts) || cx.Dry || cx.Rec != nil {
		return 0, false
	}
	if pt.Dir == FromGuest {
		e.frames[side&1]++
		e.bytes[side&1] += uint64(k.L3Len)
	}
	e.seen = ms
	return flags, true
}

// known judges a frame of a known flow: whether it fits the flow's state, and whether this point has accepted the flow.
func (p *Program) known(cx *Context, pt Point, k *frame.Key, s *shard, e *flow, swapped bool, ms uint32) Verdict {
	if cx.Dry {
		cx.copied = *e
		e = &cx.copied
	}
	reply := swapped != e.swapped()
	next, flags, fits := e.state, e.flags, true
	if k.Proto == frame.ProtoTCP {
		next, flags, fits = nextTCP(e.state, segmentOf(k.TCPFlags), reply, e.flags)
	}
	if cx.Rec != nil {
		p.tellFlow(cx, e, reply, ms)
	}
	if !fits {
		if segmentOf(k.TCPFlags) == segmentRst && !reply && flags&flowReplied == 0 && !cx.Dry {
			cx.Flows.remove(s, e) // who began takes it back, as conntrack sees it too
		}
		return p.refuse(cx, pt, frame.ReasonState, "these TCP flags do not fit the flow's state")
	}
	v := Verdict{Action: Pass, Flags: VerdictKnown, Rule: e.rule}
	side := 0
	dir := pt.Dir
	if reply {
		v.Flags |= VerdictReply
		side, dir = 1, 1-dir
	}
	if p.enforce && (e.gen != p.generation || e.points[dir] != pt.Port) {
		if v = p.again(cx, Point{pt.Port, dir}, k, s, e, v.Flags); v.Action != Pass {
			return v
		}
	}
	e.seen = ms
	if pt.Dir == ToGuest {
		return v // it was counted, and moved the flow's state, where it left its guest
	}
	e.frames[side]++
	e.bytes[side] += uint64(k.L3Len)
	if k.Proto != frame.ProtoTCP {
		next = nextDatagram(e.state, reply, e.frames[0], &flags)
	}
	if next != e.state || flags != e.flags {
		e.state, e.flags = next, flags
		if !cx.Dry {
			e.changed = cx.Flows.seq.Add(1)
		}
	}
	return v
}

// again asks the rules about a known flow, at a point that has not accepted it yet, or not under this program. at is as the one who
// began the flow sees it.
func (p *Program) again(cx *Context, at Point, k *frame.Key, s *shard, e *flow, flags VerdictFlag) Verdict {
	first := e.first(e.swapped())
	v := p.evaluate(cx, at, &first.src, &first.dst, first.service, k.L3Len)
	v.Flags |= flags
	if v.Action == Pass {
		if e.gen != p.generation {
			e.gen, e.points = p.generation, [2]frame.PortID{}
		}
		e.points[at.Dir], e.rule = at.Port, v.Rule
		return v
	}
	switch {
	case e.gen == p.generation:
		// Nobody has received the flow's first packet yet: it never began. Where a flooded copy was denied where it is no use, it
		// begins again at the port where it is.
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
func (p *Program) begin(cx *Context, pt Point, k *frame.Key, s *shard, id *flowID, hash uint64, swapped, mayBegin bool, ms uint32) Verdict {
	start := datagramFirst
	if k.Proto == frame.ProtoTCP {
		start, mayBegin = p.beginTCP(k)
	}
	if !mayBegin {
		return p.refuse(cx, pt, frame.ReasonState, "no flow is known, and this may not begin one")
	}
	v := Verdict{Action: Pass}
	if p.enforce {
		service := serviceNumber(k.Proto, k.DstPort, k.ICMPType, k.ICMPCode)
		if v = p.evaluate(cx, pt, &k.Src, &k.Dst, service, k.L3Len); v.Action != Pass {
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
	if cx.Flows.timeouts.Load() != p.timeouts {
		cx.Flows.timeouts.Store(p.timeouts)
	}
	if p.enforce && !cx.Flows.within(p.policy.Limits, owner, cx.Now) {
		return p.refuse(cx, pt, frame.ReasonFlows, "the vNIC has begun as many flows as the policy's limits allow")
	}
	e := cx.Flows.insert(s, id, hash, owner, ms)
	if e == nil {
		return p.refuse(cx, pt, frame.ReasonFlows, "the flow table, or the port's share of it, is full")
	}
	e.state = start
	if swapped {
		e.flags |= flowSwapped
	}
	if pt.Dir == FromGuest {
		e.frames[0], e.bytes[0] = 1, uint64(k.L3Len)
	}
	if p.enforce {
		e.gen, e.rule, e.points[pt.Dir] = p.generation, v.Rule, pt.Port
	}
	return v
}
