package firewall

import (
	"encoding/binary"

	"sluice/vnic/frame"
)

// kept are the flows that stay on the way on which they began though the placement has changed, by shard, under the
// shard's lock. There are none but after a change that keeps, so that they are not in the flows' own entries, which are
// full.
type kept [shardCount]map[flowID]struct{}

// Keep marks flows to be kept until they end: those that are alive, allowed by p's policy, and new or materially
// changed since a mark. It says how many were not kept before.
func (f *Flows) Keep(now int64, p *Program, since Mark) (n int) {
	ms, timeouts := milliseconds(now), f.timeouts()
	f.all(func(_ *shard, e *entry) {
		if !e.goesOn(ms, timeouts, since) || !p.policy.allows(e) {
			return
		}
		at := &f.kept[shardOf(f.seeds.hash(&e.flowID))]
		if *at == nil {
			*at = map[flowID]struct{}{}
		}
		if _, is := (*at)[e.flowID]; !is {
			(*at)[e.flowID] = struct{}{}
			n++
		}
	})
	return n
}

// Release makes no flow be kept any more.
func (f *Flows) Release() {
	for i := range f.shards {
		s := &f.shards[i]
		s.mu.Lock()
		f.kept[i] = nil
		s.mu.Unlock()
	}
}

// Kept says whether a frame is of a flow that is kept, or an ICMP error about one. What comes after the flow's end may
// begin another, unless the frame is late: it has been on its way since before. A fragment has no ports by which to
// tell: it is of none.
func (f *Flows) Kept(k *frame.Key, eth []byte, late bool) bool {
	id, ok := flowOf(k, eth)
	if !ok {
		return false
	}
	at, e := f.hold(&id)
	defer f.release(at)
	_, is := f.kept[shardOf(at.hash)][id]
	return is && (late || e.lives())
}

// lives says whether there is a flow, and it is not over.
func (e *entry) lives() bool { return e != nil && e.state != tcpTimeWait && e.state != tcpClosed }

// KeptLen is how many flows are kept; one that has just ended may still count.
func (f *Flows) KeptLen() (n int) {
	for i := range f.shards {
		s := &f.shards[i]
		s.mu.Lock()
		n += len(f.kept[i])
		s.mu.Unlock()
	}
	return n
}

// KeepsAny says whether a flow that is kept has not ended.
func (f *Flows) KeepsAny(now int64) bool {
	ms, timeouts := milliseconds(now), f.timeouts()
	for i := range f.shards {
		if f.keepsIn(i, ms, timeouts) {
			return true
		}
	}
	return false
}

// keepsIn looks into one shard. Where a flow there has not ended, it is mostly the first.
func (f *Flows) keepsIn(i int, ms uint32, timeouts *[states]uint32) bool {
	s := &f.shards[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range f.kept[i] {
		hash := f.seeds.hash(&id)
		b := f.bucket(s, hash)
		had := f.take(b)
		e := f.find(b, &id, hash)
		going := e.lives() && !e.expired(ms, timeouts)
		f.give(b, had)
		if going {
			return true
		}
	}
	return false
}

// flowOf gives the flow that a frame belongs to, or an ICMP error is about; ok is false where there can be none.
func flowOf(k *frame.Key, eth []byte) (id flowID, ok bool) {
	if k.Flags&(frame.KeyIPv4|frame.KeyIPv6) == 0 || k.Has(frame.KeyFragment) {
		return id, false
	}
	if !isICMP(k.Proto) || !k.Has(frame.KeyL4) {
		id, _ = identify(k)
		return id, true
	}
	if kind, _ := icmpKindOf(k); kind != icmpError {
		id, _, ok = asked(k, identifierOf(k, eth))
		return id, ok
	}
	inner, ok := insideError(eth, k)
	if !ok {
		return id, false
	}
	id, _, ok = asked(&inner, inner.SrcPort)
	return id, ok
}

// asked is the flow of a packet, and whether its source is end b; identifier is what ICMP has in place of ports. Of
// ICMP only requests and replies have a flow.
func asked(k *frame.Key, identifier uint16) (id flowID, swapped, ok bool) {
	id, swapped = identify(k)
	if !isICMP(k.Proto) {
		return id, swapped, true
	}
	kind, request := icmpKindOf(k)
	if kind != icmpRequest && kind != icmpReply {
		return id, swapped, false
	}
	id.ask(identifier, request, k.ICMPCode, swapped == (kind == icmpRequest))
	return id, swapped, true
}

func isICMP(proto uint8) bool { return proto == frame.ProtoICMP || proto == frame.ProtoICMPv6 }

// identifierOf reads an ICMP message's identifier: other messages than echoes have theirs in the same place.
func identifierOf(k *frame.Key, eth []byte) uint16 {
	if k.SrcPort == 0 && len(eth) >= int(k.L4)+8 {
		return binary.BigEndian.Uint16(eth[k.L4+4:])
	}
	return k.SrcPort
}
