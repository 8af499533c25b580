package firewall

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net/netip"

	"sluice/firewall/classifier"
	"sluice/vnic/frame"
)

// entry is one entry of the flow table: 128 bytes without pointers, two lines of the cache. The first is what a flow is
// found and judged by, the second what it has done. TestFlowLayout holds where everything is, for whoever walks the
// table beside us.
type entry struct {
	flow
	progress
	_ uint32
}

// flow is what a flow is found and judged by. Its ends are in an order that does not depend on who began, so that both
// directions find it.
type flow struct {
	flowID
	stamp  uint32          // of the policy that accepted it at points; 0 is none
	seen   uint32          // time of the last frame, in ms
	next   uint32          // in the bucket's chain or the free list: 1 + index
	rule   uint32          // that let it in, as Verdict.Rule; of the stamp's policy
	points [2]frame.PortID // by direction, as the one who began sees it: the port that last accepted it there
	owner  frame.PortID    // whose share it counts in; 0 is nobody
	state  state
	flags  uint8
}

// The flags of a flow.
const (
	flowSwapped    = 1 << iota // who began is end b
	flowReplied                // a frame came back
	flowAssured                // TCP: the handshake was seen to its end
	flowClosing                // FIN seen
	flowBoth                   // both sides sent a SYN
	flowChallenge              // a SYN came to a flow whose last ACK is awaited; it is answered with a challenge first
	flowLastScaled             // the SYN that was ignored last has the option of a window scale
	flowLastSACK               // and that of selective acknowledgements
)

// progress is what a flow has done: its counters, and TCP's windows.
type progress struct {
	frames  [2]uint32 // by original, reply, as all pairs here
	low     [2]uint32 // of IP bytes
	high    [2]uint8  // their next 8 bits
	options [2]uint8
	lastWin uint16 // the window of the last ACK, or of what was ignored after it, not scaled
	last    uint8  // which segment came last
	changed uint8  // when something material changed, as Flows.epoch counts
	lastEnd uint32 // where the last ACK ended, or what was ignored after it
	side    [2]window
}

// add counts a frame. Counters stay at their top: 4 billion frames, 1 TiB.
func (p *progress) add(side uint8, bytes uint32) {
	side &= 1
	if p.frames[side]++; p.frames[side] == 0 {
		p.frames[side]--
	}
	if p.low[side] += bytes; p.low[side] < bytes {
		if p.high[side]++; p.high[side] == 0 {
			p.high[side]--
			p.low[side] = 1<<32 - 1
		}
	}
}

func (p *progress) bytes(side int) uint64 { return uint64(p.high[side])<<32 | uint64(p.low[side]) }

// set takes over what another table has counted.
func (p *progress) set(frames, bytes [2]uint64) {
	for i := range frames {
		p.frames[i] = uint32(min(frames[i], 1<<32-1))
		b := min(bytes[i], 1<<40-1)
		p.low[i], p.high[i] = uint32(b), uint8(b>>32)
	}
}

// flowID is what identifies a flow: its ends, the lower one first. For ICMP both ports are the identifier of an echo,
// and kind and way tell requests apart: two guests may ask each other with the same identifier.
type flowID struct {
	aHigh, aLow, bHigh, bLow uint64
	rest                     uint64 // a's port 16 | b's port 16 | kind 16 | protocol 8 | way 8 bits
}

// The ways of an ICMP request.
const (
	wayFromB = 1
	wayFromA = 2
)

func rest(aPort, bPort uint16, proto uint8) uint64 {
	return uint64(aPort)<<48 | uint64(bPort)<<32 | uint64(proto)<<8
}

func (id *flowID) aPort() uint16 { return uint16(id.rest >> 48) }
func (id *flowID) bPort() uint16 { return uint16(id.rest >> 32) }
func (id *flowID) kind() uint16  { return uint16(id.rest >> 16) } // ICMP: type and code of the request
func (id *flowID) proto() uint8  { return uint8(id.rest >> 8) }

// identify gives a frame's flow, and whether its source is end b.
func identify(k *frame.Key) (id flowID, swapped bool) {
	sh, sl := k.Src.Uint64s()
	dh, dl := k.Dst.Uint64s()
	if sh > dh || sh == dh && (sl > dl || sl == dl && k.SrcPort > k.DstPort) {
		return flowID{dh, dl, sh, sl, rest(k.DstPort, k.SrcPort, k.Proto)}, true
	}
	return flowID{sh, sl, dh, dl, rest(k.SrcPort, k.DstPort, k.Proto)}, false
}

// is says whether two flows are the same; what differs most often comes first.
func (id *flowID) is(o *flowID) bool {
	return id.rest == o.rest && id.aLow == o.aLow && id.bLow == o.bLow && id.aHigh == o.aHigh && id.bHigh == o.bHigh
}

// ask makes id that of an ICMP request, or of the reply to one. identifier is what echoes have in place of ports.
func (id *flowID) ask(identifier uint16, request, code uint8, fromB bool) {
	way := uint64(wayFromA)
	if fromB {
		way = wayFromB
	}
	id.rest = rest(identifier, identifier, id.proto()) | uint64(request)<<24 | uint64(code)<<16 | way
}

func (id flowID) swap() flowID {
	return flowID{id.bHigh, id.bLow, id.aHigh, id.aLow, rest(id.bPort(), id.aPort(), id.proto()) | id.rest&0xffff00ff}
}

// Seeds are the secret of the table's hash, so that no guest can aim its flows at one bucket.
type Seeds [5]uint64

func drawSeeds() (s Seeds) {
	for i := range s {
		s[i] = rand.Uint64()
	}
	return s
}

// fold multiplies to 128 bits and folds them, so that every bit depends on every other (as wyhash does).
func fold(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

// hash multiplies the ports with both addresses, and then the results with each other: a single multiplication would
// spread ports that follow each other evenly or into few shards, as the seed happens to be.
func (s *Seeds) hash(id *flowID) uint64 {
	a := fold(id.aLow^s[0], id.aHigh^id.rest^s[1])
	b := fold(id.bLow^s[2], id.bHigh^bits.RotateLeft64(id.rest, 32)^s[3])
	return fold(a^s[4], b)
}

// firstPacket is the first packet of a flow where no key holds it.
type firstPacket struct {
	src, dst      frame.Addr
	service, more uint32
}

func (p *firstPacket) packet() classifier.Packet {
	return classifier.Packet{Src: &p.src, Dst: &p.dst, Service: p.service, More: p.more}
}

// first gives the first packet of a flow whose beginner is end b where swapped. Of TCP it was a SYN; what else it was,
// is not remembered.
func (id flowID) first(swapped bool) (p firstPacket) {
	if swapped {
		id = id.swap()
	}
	binary.BigEndian.PutUint64(p.src[:], id.aHigh)
	binary.BigEndian.PutUint64(p.src[8:], id.aLow)
	binary.BigEndian.PutUint64(p.dst[:], id.bHigh)
	binary.BigEndian.PutUint64(p.dst[8:], id.bLow)
	p.service = classifier.ServiceNumber(id.proto(), id.bPort(), uint8(id.kind()>>8), uint8(id.kind()))
	p.more = classifier.MoreOf(id.aPort(), frame.TCPSyn)
	return p
}

func (f *flow) swapped() bool { return f.flags&flowSwapped != 0 }

func milliseconds(now int64) uint32 { return uint32(now / 1e6) }

// expired says whether the flow's time is over at ms. A frame whose time was read before the flow's last one counts as
// now.
func (f *flow) expired(ms uint32, timeouts *[states]uint32) bool {
	idle := int32(ms - f.seen)
	return idle > 0 && uint32(idle) > timeouts[f.state]
}

// record shows a flow to the world.
func (f *entry) record(ms uint32, p *Program, timeouts *[states]uint32) FlowRecord {
	first := f.flowID.first(f.swapped())
	id := f.flowID
	if f.swapped() {
		id = id.swap()
	}
	idle := max(0, int32(ms-f.seen))
	r := FlowRecord{
		Proto:   f.proto(),
		Src:     netip.AddrPortFrom(first.src.IP(), id.aPort()),
		Dst:     netip.AddrPortFrom(first.dst.IP(), id.bPort()),
		State:   f.state.String(),
		Replied: f.flags&flowReplied != 0,
		Timeout: int(max(0, int64(timeouts[f.state])-int64(idle)) / second),
		Frames:  [2]uint64{uint64(f.frames[0]), uint64(f.frames[1])},
		Bytes:   [2]uint64{f.bytes(0), f.bytes(1)},
		Service: serviceName(f.proto(), id.bPort()),
	}
	if kind := f.kind(); kind != 0 {
		r.ICMPType, r.ICMPCode = uint8(kind>>8), uint8(kind)
		if r.ICMPType != frame.ICMPEcho && r.ICMPType != frame.ICMP6Echo {
			r.Service = fmt.Sprintf("icmp type %d", r.ICMPType)
		}
	}
	if f.proto() == frame.ProtoTCP {
		for i := range r.TCP {
			r.TCP[i] = tcpSide(f.options[i])
		}
	}
	if p != nil && f.stamp == p.policy.stamp {
		r.Rule = p.RuleName(f.rule)
	}
	return r
}
