package firewall

import (
	"encoding/binary"
	"sync"

	"sluice/vnic/frame"
)

// fragments remembers at which insertion points the first fragment of a packet has passed, so that the later ones, which have no ports,
// may follow. It is stricter than a reassembly: a fragment that overtakes the first is dropped. What could overwrite a header that was
// judged is dropped by frame.Parse before. Each port has a bounded part of it, so that none can push out another's.
type fragments struct {
	mu    sync.Mutex
	slots [fragmentParts][fragmentSlots]fragmentSlot
}

const (
	fragmentParts = 128
	fragmentSlots = 32
	// fragmentTime is how long the rest of a packet may take: as in Linux (net.ipv4.ipfrag_time).
	fragmentTime = 30 * second
)

// fragmentSlot holds a hash of 64 bits with secret seeds in place of the packet's addresses: a collision is as likely as guessing it.
type fragmentSlot struct {
	packet uint64
	until  uint32 // ms
	used   bool
}

// fragmentID finds what all fragments of a packet have in common.
func fragmentID(cx *Context, pt Point, k *frame.Key) (packet uint64, ok bool) {
	var id flowID
	id.aHigh, id.aLow = words(&k.Src)
	id.bHigh, id.bLow = words(&k.Dst)
	id.rest = uint64(pt.Port)<<48 | uint64(pt.Dir)<<40
	switch {
	case k.Has(frame.KeyIPv4) && len(cx.Eth) >= int(k.L3)+6:
		id.rest |= uint64(k.Proto)<<32 | uint64(binary.BigEndian.Uint16(cx.Eth[k.L3+4:]))
	case k.Has(frame.KeyIPv6) && len(cx.Eth) >= int(k.L3)+40:
		at, ok := frame.FragmentHeader(cx.Eth[k.L3:])
		if !ok {
			return 0, false
		}
		id.rest |= uint64(binary.BigEndian.Uint32(cx.Eth[int(k.L3)+at+4:]))
	default:
		return 0, false
	}
	return id.hash(), true
}

// passed notes that a packet's first fragment has passed at a point.
func (f *fragments) passed(packet uint64, port frame.PortID, ms uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	part := &f.slots[port%fragmentParts]
	slot := &part[packet%fragmentSlots]
	for i := range part {
		if s := &part[i]; !s.used || int32(ms-s.until) > 0 {
			slot = s
			break
		}
	}
	*slot = fragmentSlot{packet, ms + fragmentTime, true}
}

// has says whether a packet's first fragment has passed.
func (f *fragments) has(packet uint64, port frame.PortID, ms uint32) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	part := &f.slots[port%fragmentParts]
	for i := range part {
		if s := &part[i]; s.used && s.packet == packet && int32(ms-s.until) <= 0 {
			return true
		}
	}
	return false
}

// checkLater judges a fragment that is not the first.
func (p *Program) checkLater(cx *Context, pt Point, k *frame.Key) Verdict {
	if packet, ok := fragmentID(cx, pt, k); ok && cx.Flows.fragments.has(packet, pt.Port, milliseconds(cx.Now)) {
		cx.tell("fragment", "the packet's first fragment has passed here")
		return Verdict{Action: Pass, Flags: VerdictKnown}
	}
	return p.refuse(cx, pt, frame.ReasonFragment, "a later fragment, and no first one has passed here")
}

// checkFirst judges a first fragment as if it were whole, and notes that it passed, so that the later ones follow.
func (p *Program) checkFirst(cx *Context, pt Point, k *frame.Key) Verdict {
	if k.Proto == frame.ProtoICMPv6 && k.Has(frame.KeyL4) {
		if kind, _ := icmpKindOf(k); kind == icmpHousekeeping {
			return p.refuse(cx, pt, frame.ReasonFragment, "nobody fragments neighbour discovery (RFC 6980)")
		}
	}
	whole := *k
	whole.Flags &^= frame.KeyFragment
	cx.partial = true
	v := p.Check(cx, pt, &whole)
	cx.partial = false
	if v.Action != Drop && p.enforce && !cx.Dry {
		if packet, ok := fragmentID(cx, pt, k); ok {
			cx.Flows.fragments.passed(packet, pt.Port, milliseconds(cx.Now))
		}
	}
	return v
}
