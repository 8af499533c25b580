package firewall

import (
	"fmt"

	"sluice/firewall/classifier"
	"sluice/firewall/flat"
)

// A flat program is a program as one run of bytes (package flat): all that decides a frame, and nothing that changes or
// that only people read. Check walks it, and so may an engine that is not in Go. A policy holds its bytes once, for
// all of its programs; only a few fields of the head differ among them.
//
// Not in it, because no verdict waits for it: names, log lines and their rates (a rule only says that it is logged),
// the rules' counters, helpers, and what to do when the appliance fails.

// flatStart is what a flat program begins with. The version is that of the layout: any change of a type that lies in
// it, or of a hash, makes another one.
var flatStart = flat.Start{Magic: 0x534c5031, Version: 1} // SLP1

// flatHead is the beginning of a flat program.
type flatHead struct {
	flat.Start
	stamp         uint32
	generation    uint64
	placement     Placement
	enforce       uint8 // 1: the engine drops what the policy denies
	passes        [2]Action
	defaultAction RuleAction
	midstream     uint8
	liberal       uint8
	unused        uint8
	limits        [4]uint32 // of a vNIC: flows, new in a second; of a source: flows, new in a second; 0 is none
	timeouts      [16]uint32
	actions, excluded, guards, addrs, links, ranges, owners, places,
	classes, stateless flat.Span // the last two are flat classifiers
}

// ruleAction is what a flat program knows of a rule.
type ruleAction struct {
	action RuleAction
	flags  ruleFlag
}

type ruleFlag uint8

const (
	ruleLogged ruleFlag = 1 << iota
	ruleStateless
	ruleFlags = 1<<iota - 1
)

// arrays are all but the classifiers, which are written otherwise than they are read.
func (p *Policy) arrays(h *flatHead) []flat.Array {
	return []flat.Array{
		flat.Of(&h.actions, &p.actions), flat.Of(&h.excluded, &p.excluded), flat.Of(&h.guards, &p.guards),
		flat.Of(&h.addrs, &p.addrs), flat.Of(&h.links, &p.links), flat.Of(&h.ranges, (*[]classifier.AddrRange)(&p.ranges)),
		flat.Of(&h.owners, (*[]owner)(&p.owners)), flat.Of(&h.places, (*[]owner)(&p.places)),
	}
}

// pack writes the policy's flat program, as one that nobody enforces.
func (p *Policy) pack() {
	p.actions = make([]ruleAction, len(p.Rules))
	for i := range p.Rules {
		r := &p.Rules[i]
		p.actions[i] = ruleAction{r.Action, ruleFlag(boolByte(r.Log))*ruleLogged | ruleFlag(boolByte(r.Stateless))*ruleStateless}
	}
	source := p.Limits.PerSource
	h := flatHead{
		Start: flatStart, stamp: p.stamp, generation: p.content, passes: [2]Action{Pass, Pass}, defaultAction: p.Default,
		midstream: boolByte(p.Midstream), liberal: boolByte(p.Liberal),
		limits: [4]uint32{uint32(p.Limits.Flows), uint32(p.Limits.NewPerSecond), uint32(source.Flows), uint32(source.NewPerSecond)},
	}
	copy(h.timeouts[:], p.timeouts[:])
	classes, stateless := newClassifier(p.Rules), newStateless(p.Rules)
	arrays := append(p.arrays(&h), flat.Room(&h.classes, classes.Size()), flat.Room(&h.stateless, stateless.Size()))
	p.flat = flat.New(flat.Lay(&h, arrays))
	h.Size = uint32(len(p.flat))
	flat.Pack(p.flat, &h, arrays)
	p.classes, p.stateless = classes.Pack(h.classes.In(p.flat)), stateless.Pack(h.stateless.In(p.flat))
	p.timeouts = (*[states]uint32)(flat.Head[flatHead](p.flat).timeouts[:])
}

// FlatSize is how many bytes the flat program has.
func (p *Program) FlatSize() int { return len(p.policy.flat) }

// PutFlat writes the flat program into bytes of that size, which begin at a multiple of flat.Line.
func (p *Program) PutFlat(b []byte) {
	copy(b, p.policy.flat)
	p.putWay(flat.Head[flatHead](b))
}

// putWay writes what is the placement's.
func (p *Program) putWay(h *flatHead) {
	h.generation, h.placement, h.enforce, h.passes = p.generation, p.placement, boolByte(p.enforce), p.passes
}

// ReadFlat gives the program of a flat one: it decides as the one that was written, and its rules have numbers for
// names. The bytes may be anybody's: what could lead Check outside of them, or on without end, is an error; as is a
// stamp that another policy has in this process. They must not change any more.
func ReadFlat(b []byte) (*Program, error) {
	h, err := flat.Open[flatHead](b, flatStart)
	if err != nil {
		return nil, fmt.Errorf("no flat program: %w", err)
	}
	p, err := readPolicy(b, h)
	if err == nil {
		err = p.check(h)
	}
	if err != nil {
		return nil, fmt.Errorf("flat program: %w", err)
	}
	g, err := Compile(p, h.placement)
	if err != nil {
		return nil, err
	}
	is := *h
	if g.putWay(&is); is != *h {
		return nil, fmt.Errorf("flat program: its head is not that of the placement %s", h.placement)
	}
	if !keepStamp(p.stamp>>1, p.content) {
		return nil, fmt.Errorf("flat program: its stamp %#x is another policy's", p.stamp)
	}
	p.nameRules()
	return g, nil
}

// readPolicy makes the views of a flat program.
func readPolicy(b []byte, h *flatHead) (*Policy, error) {
	p := &Policy{
		inv: &Inventory{}, flat: b, stamp: h.stamp, content: h.generation &^ 1, timeouts: (*[states]uint32)(h.timeouts[:]),
		Default: h.defaultAction, Midstream: h.midstream != 0, Liberal: h.liberal != 0,
		Limits: Limits{
			Flows: int(h.limits[0]), NewPerSecond: int(h.limits[1]),
			PerSource: SourceLimits{Flows: int(h.limits[2]), NewPerSecond: int(h.limits[3])},
		},
	}
	var classes, stateless []byte
	arrays := append(p.arrays(h), flat.Of(&h.classes, &classes), flat.Of(&h.stateless, &stateless))
	err := flat.View(b, h, arrays)
	if err == nil {
		p.classes, err = classifier.Read(classes)
	}
	if err == nil && len(stateless) > 0 {
		p.stateless, err = classifier.Read(stateless)
	}
	return p, err
}

// nameRules gives a policy that was read the rules that are known of it.
func (p *Policy) nameRules() {
	p.Rules, p.counters = make([]Rule, len(p.actions)), make([]counter, len(p.actions)+1)
	for i, a := range p.actions {
		p.Rules[i] = Rule{
			Name: fmt.Sprint("rule ", i+1), Action: a.action, Log: a.flags&ruleLogged != 0, Stateless: a.flags&ruleStateless != 0,
		}
	}
}
