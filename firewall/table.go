package firewall

import (
	"net/netip"

	"sluice/vnic/frame"
)

// Len is how many flows the table holds.
func (f *Flows) Len() (n int) {
	for i := range f.shards {
		s := &f.shards[i]
		s.mu.Lock()
		n += int(s.n)
		s.mu.Unlock()
	}
	return n
}

// PortLen is how many flows a port has begun.
func (f *Flows) PortLen(p frame.PortID) int { return int(f.ports[p].Load()) }

// Mark gives the present moment: what changes later is what Export gives for this mark.
func (f *Flows) Mark() Mark { return Mark(f.epoch.Add(1)) }

// piece is how many entries are walked under one hold of a shard's lock: some microseconds.
const piece = 256

// walk calls fn for a shard's flows from one entry on, at most a piece of them, under its lock, and says whether there
// are more. fn may remove the flow.
func (f *Flows) walk(s *shard, from uint32, fn func(*entry)) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	end := min(s.used, from+piece)
	for i := from; i < end; i++ {
		f.visit(&s.entries[i], fn)
	}
	return end < s.used
}

// all calls fn for every flow, under its shard's lock. fn may remove the flow.
func (f *Flows) all(fn func(*shard, *entry)) {
	for i := range f.shards {
		s := &f.shards[i]
		for from, more := uint32(0), true; more; from += piece {
			more = f.walk(s, from, func(e *entry) { fn(s, e) })
		}
	}
}

// Each calls fn for every flow until it says false. The table may change meanwhile; fn may call the table. p names the
// flows' rules; it may be nil.
func (f *Flows) Each(now int64, p *Program, fn func(FlowRecord) bool) {
	ms, timeouts := milliseconds(now), f.timeouts()
	var batch []FlowRecord
	for i := range f.shards {
		for from, more := uint32(0), true; more; from += piece {
			batch = batch[:0]
			more = f.walk(&f.shards[i], from, func(e *entry) {
				if !e.expired(ms, timeouts) {
					r := e.record(ms, p, timeouts)
					_, r.Kept = f.kept[i][e.flowID]
					batch = append(batch, r)
				}
			})
			for _, r := range batch {
				if !fn(r) {
					return
				}
			}
		}
	}
}

// Knows says whether the table has a flow, in either direction, that has not expired. t has both ports.
func (f *Flows) Knows(now int64, t Tuple) bool {
	id, _ := identify(&frame.Key{
		Proto: t.Proto, Src: frame.AddrFrom(t.Src.Addr()), Dst: frame.AddrFrom(t.Dst.Addr()), SrcPort: t.Src.Port(), DstPort: t.Dst.Port(),
	})
	at, e := f.hold(&id)
	defer f.release(at)
	return e != nil && !e.expired(milliseconds(now), f.timeouts())
}

// Export lists the flows that are alive, not closing, allowed by p's policy, and new or materially changed since a
// mark; mark 0 means all. A flow that no mark of the last 128 has seen change may be given, too. It does not matter
// whether p's placement enforces.
func (f *Flows) Export(now int64, p *Program, since Mark) (out []FlowRecord) {
	ms, timeouts := milliseconds(now), f.timeouts()
	f.all(func(_ *shard, e *entry) {
		if e.goesOn(ms, timeouts, since) && p.policy.allows(e) {
			out = append(out, e.record(ms, p, timeouts))
		}
	})
	return out
}

// goesOn says whether a flow is alive, not closing, and new or materially changed since a mark; 0 is before everything.
func (e *entry) goesOn(ms uint32, timeouts *[states]uint32, since Mark) bool {
	return !e.expired(ms, timeouts) && !e.state.over() && (since == 0 || int8(e.changed-uint8(since)) >= 0)
}

// Import adds the flows that the table lacks. It says how many it has added, and how many of the others it cannot hold.
// They are evaluated by the program at their next frame.
func (f *Flows) Import(now int64, recs []FlowRecord) (added, left int) {
	ms, timeouts := milliseconds(now), f.timeouts()
	for i := range recs {
		switch isNew, ok := f.importOne(ms, &recs[i], timeouts); {
		case !ok:
			left++
		case isNew:
			added++
		}
	}
	return added, left
}

// importOne says whether the table has the flow then, and whether it is new to it.
func (f *Flows) importOne(ms uint32, r *FlowRecord, timeouts *[states]uint32) (isNew, ok bool) {
	src, dst := r.Src.Addr(), r.Dst.Addr()
	if !src.IsValid() || !dst.IsValid() {
		return false, false
	}
	k := frame.Key{
		Proto: r.Proto, Src: frame.AddrFrom(src), Dst: frame.AddrFrom(dst), SrcPort: r.Src.Port(), DstPort: r.Dst.Port(),
	}
	kind, code, asks := r.Request()
	if !asks && !HasPorts(r.Proto) {
		k.SrcPort, k.DstPort = 0, 0 // where the other table has more of them, here they are one flow
	}
	id, swapped := identify(&k)
	if asks {
		id.ask(r.Src.Port(), kind, code, swapped)
	}
	at, e := f.hold(&id)
	defer f.release(at)
	if e != nil {
		if !e.expired(ms, timeouts) {
			return false, true
		}
		f.remove(at.shard, e)
	}
	e = f.insert(at, &id, 0, ms)
	if e == nil {
		return false, false
	}
	e.state = parseState(r)
	// What the other table has left of the flow's time is kept, where it is less than a new flow would have.
	if left := uint32(max(r.Timeout, 0)) * second; left < timeouts[e.state] {
		e.seen -= timeouts[e.state] - left
	}
	e.set(r.Frames, r.Bytes)
	if r.Proto == frame.ProtoTCP {
		e.options = [2]uint8{r.TCP[0].options(), r.TCP[1].options()}
		e.unchecked() // the other table tells no numbers
		e.last = uint8(segmentNone)
	}
	if swapped {
		e.flags |= flowSwapped
	}
	if r.Replied {
		e.flags |= flowReplied
		if e.state == tcpEstablished {
			e.flags |= flowAssured
		}
	}
	return true, true
}

// allows says whether the policy allows a flow's first packet along its whole way.
func (p *Policy) allows(e *entry) bool {
	first := e.flowID.first(e.swapped())
	for dir, a := range []netip.Addr{first.src.IP(), first.dst.IP()} {
		if action, _ := p.decide(Point{p.PortOf(a), Dir(dir)}, first.packet()); action != RuleAllow {
			return false
		}
	}
	return true
}

// Revalidate removes the flows that p's policy denies, without waiting for their next frame, and says how many. Where
// the appliance decides, a helper may have known of a flow that no rule allows: it stays.
func (f *Flows) Revalidate(p *Program) (cut int) {
	f.all(func(s *shard, e *entry) {
		if !p.policy.allows(e) && !(p.placement.Tracks() && p.policy.mayRelate(e)) {
			f.remove(s, e)
			cut++
		}
	})
	return cut
}

// Expire removes flows whose time is over. It does a bounded piece of work at each call, a fiftieth of the table, so
// call it about ten times a second.
func (f *Flows) Expire(now int64) (expired int) {
	ms, timeouts := milliseconds(now), f.timeouts()
	for range (shardCount + expireCalls - 1) / expireCalls {
		s := &f.shards[f.sweep.Add(1)%shardCount]
		for from, more := uint32(0), true; more; from += piece {
			more = f.walk(s, from, func(e *entry) {
				if e.expired(ms, timeouts) {
					f.remove(s, e)
					expired++
				}
			})
		}
	}
	return expired
}

// expireCalls is how many calls of Expire walk the whole table once.
const expireCalls = 32

// Clear removes every flow, and says how many.
func (f *Flows) Clear() (n int) {
	f.all(func(s *shard, e *entry) {
		f.remove(s, e)
		n++
	})
	return n
}
