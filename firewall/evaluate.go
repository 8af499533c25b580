package firewall

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"

	"sluice/firewall/classifier"
	"sluice/vnic/frame"
)

// Tuple is the first packet of a flow, as rules see it.
type Tuple struct {
	Proto    uint8          // IANA number
	Src, Dst netip.AddrPort // ports are 0 where the protocol has none
	ICMPType uint8          // ICMP and ICMPv6 only
	ICMPCode uint8
	TCPFlags uint8 // what is set beside SYN, or instead of it where NoSYN; flows begin with SYN alone
	NoSYN    bool
}

// flags are TCP's flags of a packet.
func (t *Tuple) flags() uint8 {
	if t.Proto != frame.ProtoTCP || t.NoSYN {
		return t.TCPFlags
	}
	return t.TCPFlags | frame.TCPSyn
}

func (t *Tuple) first() firstPacket {
	return firstPacket{
		src: frame.AddrFrom(t.Src.Addr()), dst: frame.AddrFrom(t.Dst.Addr()),
		service: classifier.ServiceNumber(t.Proto, t.Dst.Port(), t.ICMPType, t.ICMPCode),
		more:    classifier.MoreOf(t.Src.Port(), t.flags()),
	}
}

// Decision is what the policy says of a flow, and where.
type Decision struct {
	Action RuleAction
	Rule   uint32 // 1 + index in Policy.Rules; 0 is the default
	Point  Point  // the insertion point that decided; where both allow, the last
}

// Evaluate says what the policy decides of a flow's first packet along its whole way: at from-guest of the vNIC that
// owns Src, then at to-guest of the vNIC that owns Dst. It is pure: no state, no counters, and no placement. An address
// that no vNIC owns meets the rules that apply everywhere.
func (p *Policy) Evaluate(t Tuple) Decision {
	if !p.asks(&t) {
		return Decision{Point: Point{p.PortOf(t.Src.Addr()), FromGuest}} // a segment that may begin no flow
	}
	d := p.EvaluateAt(Point{p.PortOf(t.Src.Addr()), FromGuest}, t)
	if d.Action != RuleAllow {
		return d
	}
	return p.EvaluateAt(Point{p.PortOf(t.Dst.Addr()), ToGuest}, t)
}

// EvaluateAt says what the policy decides of a flow's first packet at one insertion point. It is pure.
func (p *Policy) EvaluateAt(at Point, t Tuple) Decision {
	first := t.first()
	action, rule := p.decide(at, first.packet())
	return Decision{action, rule, at}
}

// decide gives the action, and 1 + the index of the rule that says so; 0 is the default.
func (p *Policy) decide(at Point, packet classifier.Packet) (RuleAction, uint32) {
	if p.excludes(at.Port) {
		return RuleAllow, 0
	}
	i := p.classes.Find(at.Port, uint8(at.Dir), packet)
	if i == classifier.NoRule {
		return p.Default, 0
	}
	return p.actions[i].action, i + 1
}

// excludes says whether the policy is not for a port.
func (p *Policy) excludes(port frame.PortID) bool {
	return int(port) < len(p.excluded) && p.excluded[port] != 0
}

// PortOf finds the vNIC that owns an address; 0 means that no vNIC of the inventory does.
func (p *Policy) PortOf(a netip.Addr) frame.PortID {
	addr := frame.AddrFrom(a)
	port, _ := p.owners.of(0, &addr)
	return port
}

// finish computes what is looked up in a loaded policy.
func (p *Policy) finish() {
	if p.timeouts == nil {
		p.timeouts = &defaultTimeouts
	}
	p.content = p.hash()
	p.stamp = stampOf(p.content)<<1 | uint32(boolByte(p.Limits.PerSource != SourceLimits{}))
	p.counters = make([]counter, len(p.Rules)+1)
	for i := range p.Rules {
		p.counters[i+1].log.rate = p.Rules[i].LogRate
	}
	p.resolveVNICs()
	p.pack()
}

// newClassifier finds the rule of a packet.
func newClassifier(rules []Rule) *classifier.Draft {
	matches := make([]*classifier.Match, len(rules))
	for i := range rules {
		matches[i] = &rules[i].match
	}
	return classifier.Prepare(matches)
}

// hash identifies what the policy decides, and the names that it gives for it.
func (p *Policy) hash() uint64 {
	h := sha256.New()
	var sets classifier.Interned
	fmt.Fprintf(h, "default %d rules %d excluded %v midstream %v liberal %v\n", p.Default, len(p.Rules), p.excluded, p.Midstream, p.Liberal)
	if p.Limits.PerSource != (SourceLimits{}) {
		fmt.Fprintln(h, "sources are limited") // so that flows are counted from when they are
	}
	var b []byte
	for i := range p.Rules {
		r := &p.Rules[i]
		b = binary.AppendUvarint(b[:0], uint64(len(r.Name)))
		b = append(b, r.Name...)
		b = append(b, byte(r.Action), boolByte(r.Log), boolByte(r.Stateless))
		known := len(sets.Sets)
		b = r.match.Append(b, &sets)
		for _, set := range sets.Sets[known:] {
			h.Write([]byte(set.Key()))
		}
		h.Write(b)
	}
	return binary.BigEndian.Uint64(h.Sum(nil)) &^ 1
}

// stamps are the names that flows have for the policies that this process knows: 31 bits of the content's hash, so that
// each process gives a policy the same one, and a flow table that outlives a process is right in the next.
//
// No two policies may have one name: flows of the one would count as let in by the other. Where two hashes lead to one
// name, as one pair of policies in 2,147,483,648 does, the later policy takes the next that is free. Who adopts a table
// reads the flat program that was in force (ReadFlat) before any policy is loaded: so its name is taken. Flows of
// earlier policies have names that no program says; who adopts makes them 0, and the rules are asked about them again.
var stamps = struct {
	sync.Mutex
	of map[uint32]uint64
}{of: map[uint32]uint64{}}

const stampBits = 31

func stampOf(content uint64) uint32 {
	stamps.Lock()
	defer stamps.Unlock()
	for n := uint32(content >> (64 - stampBits)); ; n = (n + 1) % (1 << stampBits) {
		if known, taken := stamps.of[n]; n != 0 && (!taken || known == content) { // 0 is no policy
			stamps.of[n] = content
			return n
		}
	}
}

// keepStamp gives a name to the policy that another process gave it to; false says that it is another policy's here.
func keepStamp(n uint32, content uint64) bool {
	stamps.Lock()
	defer stamps.Unlock()
	if known, taken := stamps.of[n]; n == 0 || taken && known != content {
		return false
	}
	stamps.of[n] = content
	return true
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}
