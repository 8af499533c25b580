package firewall

import (
	"encoding/binary"
	"sync"

	"sluice/vnic/frame"
)

// fragments remembers at which insertion points the first fragment of a packet has passed, so that the later ones,
// which have no ports, may follow. It is stricter than a reassembly: a fragment that overtakes the first is dropped.
// What could overwrite a header that was judged is dropped by frame.Parse before. A packet is forgotten once all of its
// bytes have passed. Each vNIC has a part of its own, for the packets that it sends, wherever they are judged: so that
// no guest can push out another's.
type fragments struct {
	mu    sync.RWMutex
	parts map[frame.PortID]*fragmentPart
}

const (
	// A part has sets, of which a packet's hash chooses one: 64 unfinished packets of one vNIC, which meet two points
	// each, fill an eighth of it. It is 24 KiB, and only a vNIC that sends fragments has one.
	fragmentSets = 64
	fragmentWays = 16
	// fragmentTime is how long the rest of a packet may take: as in Linux (net.ipv4.ipfrag_time).
	fragmentTime = 30 * second
)

type fragmentPart struct {
	mu    sync.Mutex
	slots [fragmentSets][fragmentWays]fragmentSlot
}

// fragmentSlot is a packet at a point. It holds a hash of 64 bits with secret seeds in place of the packet's addresses:
// a collision is as likely as guessing it.
type fragmentSlot struct {
	packet uint64 // 0 is none
	until  uint32 // ms
	seen   uint32 // bytes of the packet's payload that have passed
	whole  uint32 // how many it has: the last fragment says; 0 is not known
}

// fragmentPiece is what a fragment says of itself.
type fragmentPiece struct {
	packet uint64 // what all fragments of its packet have in common at a point
	offset uint32 // bytes
	length uint32
	last   bool
}

// pieceOf reads a fragment; ok is false where it cannot be read.
func pieceOf(cx *Context, pt Point, k *frame.Key) (p fragmentPiece, ok bool) {
	var id flowID
	id.aHigh, id.aLow = k.Src.Uint64s()
	id.bHigh, id.bLow = k.Dst.Uint64s()
	id.rest = uint64(pt.Port)<<48 | uint64(pt.Dir)<<40
	end := int(k.L3) + int(k.L3Len)
	if len(cx.Eth) < end {
		return p, false
	}
	ip := cx.Eth[k.L3:end]
	switch {
	case k.Has(frame.KeyIPv4) && len(ip) >= 20:
		id.rest |= uint64(k.Proto)<<32 | uint64(binary.BigEndian.Uint16(ip[4:]))
		field, head := binary.BigEndian.Uint16(ip[6:]), int(ip[0]&15)*4
		p = fragmentPiece{offset: uint32(field&0x1fff) * 8, length: uint32(max(0, len(ip)-head)), last: field&0x2000 == 0}
	case k.Has(frame.KeyIPv6) && len(ip) >= 40:
		at, found := frame.FragmentHeader(ip)
		if !found {
			return p, false
		}
		id.rest |= uint64(binary.BigEndian.Uint32(ip[at+4:]))
		field := binary.BigEndian.Uint16(ip[at+2:])
		p = fragmentPiece{offset: uint32(field &^ 7), length: uint32(len(ip) - at - 8), last: field&1 == 0}
	default:
		return p, false
	}
	p.packet = cx.Flows.seeds.hash(&id) | 1
	return p, true
}

// part is that of the vNIC which a frame came from.
func (f *fragments) part(sender frame.PortID, make bool) *fragmentPart {
	f.mu.RLock()
	p := f.parts[sender]
	f.mu.RUnlock()
	if p != nil || !make {
		return p
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.parts == nil {
		f.parts = map[frame.PortID]*fragmentPart{}
	}
	if f.parts[sender] == nil {
		f.parts[sender] = &fragmentPart{}
	}
	return f.parts[sender]
}

func (s *fragmentSlot) alive(ms uint32) bool { return s.packet != 0 && int32(ms-s.until) <= 0 }

// passed notes that a packet's first fragment has passed at a point. Where its set is full, the one that came first
// goes.
func (f *fragments) passed(p *fragmentPiece, sender frame.PortID, ms uint32) {
	part := f.part(sender, true)
	part.mu.Lock()
	defer part.mu.Unlock()
	set := &part.slots[p.packet>>1%fragmentSets]
	slot := &set[0]
	for i := range set {
		s := &set[i]
		if s.packet == p.packet || !s.alive(ms) {
			slot = s
			break
		}
		if int32(s.until-slot.until) < 0 {
			slot = s
		}
	}
	*slot = fragmentSlot{packet: p.packet, until: ms + fragmentTime, seen: p.length}
}

// follows says whether a packet's first fragment has passed, and notes that another does.
func (f *fragments) follows(p *fragmentPiece, sender frame.PortID, ms uint32, dry bool) bool {
	part := f.part(sender, false)
	if part == nil {
		return false
	}
	part.mu.Lock()
	defer part.mu.Unlock()
	set := &part.slots[p.packet>>1%fragmentSets]
	for i := range set {
		s := &set[i]
		if s.packet != p.packet || !s.alive(ms) {
			continue
		}
		if dry {
			return true
		}
		s.seen += p.length
		if p.last {
			s.whole = p.offset + p.length
		}
		if s.whole != 0 && s.seen >= s.whole { // all of it, or some of it twice
			*s = fragmentSlot{}
		}
		return true
	}
	return false
}

// checkLater judges a fragment that is not the first.
func (p *Program) checkLater(cx *Context, pt Point, k *frame.Key) Verdict {
	if part, ok := pieceOf(cx, pt, k); ok && cx.Flows.fragments.follows(&part, cx.From, milliseconds(cx.Now), cx.Dry) {
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
		if part, ok := pieceOf(cx, pt, k); ok && !part.last {
			cx.Flows.fragments.passed(&part, cx.From, milliseconds(cx.Now))
		}
	}
	return v
}
