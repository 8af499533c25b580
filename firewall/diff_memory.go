package firewall

import (
	"time"

	"sluice/firewall/classifier"
	"sluice/vnic/frame"
)

// A comparison is about first packets, and what becomes of them in the end. What these functions find is what it does
// not see: what becomes of a flow after that, and where it ends.

// Forgotten is a flow that one policy allows and remembers, and another does not: its packets are stateless there, or
// those that answer them, so that the flow's answers need rules of their own.
type Forgotten struct {
	Witness Tuple
	Rule    int // the stateless rule that is about them, from 0
}

// maxForgotten bounds how many stateless rules are looked at: each is a comparison.
const maxForgotten = 256

// Forgets finds a flow that the wanted policy allows and p does not remember. Both are of the same inventory; a wanted
// policy that is itself stateless asks for no memory. The flows that a rule of but matches are left free; nil is none.
// Stopped says that there was too much to look at.
func (p *Policy) Forgets(wanted, but *Policy) (found *Forgotten, stopped bool) {
	if p.stateless == nil || wanted.stateless != nil {
		return nil, false
	}
	if but != nil {
		wanted = wanted.under(but.Rules, RuleDrop)
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		switch {
		case !r.Stateless:
			return nil, false // they come before all others
		case i == maxForgotten:
			return nil, true
		}
		c := Diff(wanted, wanted.under([]Rule{r.everywhere(), r.answers()}, RuleDrop))
		for _, d := range c.Differences {
			if d.A.Action == RuleAllow {
				return &Forgotten{d.Witness, i}, false
			}
		}
		if c.Stopped {
			return nil, true
		}
	}
	return nil, false
}

// everywhere is what makes packets stateless by a rule: what it matches, wherever it is applied.
func (r *Rule) everywhere() Rule {
	out := Rule{Name: r.Name, match: classifier.Match{From: r.match.From, To: r.match.To, Dirs: bothDirs}}
	for _, p := range r.match.AllParts() {
		if p.Mask != 0 && !inFlows(&p.Condition) {
			continue
		}
		p.Mask, p.Flags = 0, 0
		out.take(p)
	}
	return out
}

// answers are the flows whose answers a rule makes stateless.
func (r *Rule) answers() Rule {
	out := Rule{Name: r.Name, match: classifier.Match{From: r.match.To, To: r.match.From, Dirs: bothDirs}}
	for _, p := range r.match.AllParts() {
		if p.Mask == 0 || inFlows(&p.Condition) {
			out.takeAnswered(p)
		}
	}
	return out
}

// take adds services under a condition.
func (r *Rule) take(p classifier.Part) {
	if len(p.Services) == 0 {
		return
	}
	r.match.Services = append(r.match.Services, p.Services...).Normal()
	r.match.Parts = append(r.match.Parts, p)
}

// takeAnswered adds what packets of some services answer: a port is then the other end's, and an echo's reply is of
// another type.
func (r *Rule) takeAnswered(p classifier.Part) {
	var others classifier.ServiceSet
	for proto := 0; proto <= 0xff; proto++ {
		all := classifier.ProtoRange(uint8(proto))
		var in classifier.ServiceSet
		for _, s := range p.Services {
			if lo, hi := max(s.Lo, all.Lo), min(s.Hi, all.Hi); lo <= hi {
				in = append(in, classifier.ServiceRange{Lo: lo, Hi: hi})
			}
		}
		switch uint8(proto) {
		case frame.ProtoTCP, frame.ProtoUDP:
			r.take(turned(all, in, p.From))
		case frame.ProtoICMP:
			others = append(others, swapTypes(in, frame.ProtoICMP, frame.ICMPEchoReply, frame.ICMPEcho)...)
		case frame.ProtoICMPv6:
			others = append(others, swapTypes(in, frame.ProtoICMPv6, frame.ICMP6EchoReply, frame.ICMP6Echo)...)
		default:
			others = append(others, in...)
		}
	}
	r.take(classifier.Part{Services: others.Normal()})
}

// turned has the source ports of a protocol's services in place of their destination ports, and the other way round.
func turned(all classifier.ServiceRange, in, from classifier.ServiceSet) (out classifier.Part) {
	if len(in) == 0 {
		return out
	}
	out.Services = classifier.ServiceSet{all}
	if from != nil {
		out.Services = nil
		for _, s := range from {
			out.Services = append(out.Services, classifier.ServiceRange{Lo: all.Lo | s.Lo, Hi: all.Lo | s.Hi})
		}
	}
	if len(in) == 1 && in[0] == all {
		return out
	}
	for _, s := range in {
		out.From = append(out.From, classifier.ServiceRange{Lo: s.Lo - all.Lo, Hi: s.Hi - all.Lo})
	}
	return out
}

// swapTypes gives the echoes whose replies are among some types, and the other way round. Nothing else is a flow of
// ICMP.
func swapTypes(in classifier.ServiceSet, proto, reply, echo uint8) (out classifier.ServiceSet) {
	for _, pair := range [][2]uint8{{reply, echo}, {echo, reply}} {
		if in.Overlaps(classifier.ServiceSet{classifier.TypeRange(proto, pair[0])}) {
			out = append(out, classifier.TypeRange(proto, pair[1]))
		}
	}
	return out
}

// inFlows says whether segments of an ordinary connection have the flags of a condition.
func inFlows(c *classifier.Condition) bool {
	const syn, ack, fin, rst, psh = frame.TCPSyn, frame.TCPAck, frame.TCPFin, frame.TCPRst, frame.TCPPsh
	for _, flags := range []uint8{syn, syn | ack, ack, ack | psh, ack | fin, rst, rst | ack} {
		if flags&c.Mask == c.Flags {
			return true
		}
	}
	return false
}

// Established is for how long a policy remembers a connection that is silent.
func (p *Policy) Established() time.Duration {
	return time.Duration(p.timeouts[tcpEstablished]) * time.Millisecond
}

// Tighter says whether limits are narrower than others.
func (l Limits) Tighter(than Limits) bool {
	for _, n := range [][2]int{{l.Flows, than.Flows}, {l.NewPerSecond, than.NewPerSecond},
		{l.PerSource.Flows, than.PerSource.Flows}, {l.PerSource.NewPerSecond, than.PerSource.NewPerSecond}} {
		if n[0] > 0 && (n[1] == 0 || n[0] < n[1]) {
			return true
		}
	}
	return false
}

// EndsLate finds a flow that its sender's vNIC lets out and its receiver's denies: what is denied is to end at its
// source. Nil is none.
func (p *Policy) EndsLate() (found *Difference, stopped bool) {
	in := Rule{Name: "in", match: anything}
	in.match.Dirs = dirsOf["in"]
	c := Diff(p, p.under([]Rule{in}, RuleAllow))
	if len(c.Differences) == 0 {
		return nil, c.Stopped
	}
	return &c.Differences[0], false
}
