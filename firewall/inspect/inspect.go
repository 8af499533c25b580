// Package inspect looks into what the engine has accepted: for signatures in the streams of TCP and in single packets
// of everything else, and for what no honest sender does. It gives each frame a verdict (frame.Verdict), keeps what it
// must know of each flow, and counts.
//
// It is not its business how a frame comes here and goes back, nor what its verdicts bring about: package appliance
// carries frames, and the switch acts. It has no sockets and no clock, decides nothing about addresses or ports, and
// decrypts and unpacks nothing.
package inspect

import (
	"time"

	"sluice/vnic/frame"
)

// Inspector judges frames. It is for one goroutine at a time.
type Inspector struct {
	config *Config
	start  time.Time
	table  table
	text   []byte // where a regular expression's view is put together
	counts counts
	log    sightings
}

// New makes an inspector whose time begins at now.
func New(c *Config, now time.Time) *Inspector {
	i := &Inspector{start: now}
	i.table.init()
	i.Configure(c)
	return i
}

// Configure makes the inspector look for other things from now on. It forgets its flows, whose states are the old
// signatures', so running flows are picked up where they are; its counters begin anew.
func (i *Inspector) Configure(c *Config) {
	i.config = c
	i.counts = counts{matches: make([]uint64, len(c.signatures))}
	i.text = nil
	if c.behind > 0 {
		i.text = make([]byte, 0, frame.MaxLen+2*maxBehind)
	}
	i.Forget()
}

// Forget forgets all flows: those that run on are picked up where they are.
func (i *Inspector) Forget() { i.table.clear() }

// Judge says what becomes of a frame, whose bytes it does not keep. Where the verdict is that the frame goes nowhere, f
// is cut to its headers, as Cut says. It allocates nothing once a flow has its buffers.
func (i *Inspector) Judge(now time.Time, f *frame.Frame) frame.Verdict {
	i.counts.frames++
	i.counts.bytes += uint64(f.Len)
	var k frame.Key
	verdict := i.judge(now, f, &k)
	i.counts.verdicts[verdict]++
	if verdict >= frame.VerdictDrop {
		Cut(f, &k)
	}
	return verdict
}

func (i *Inspector) judge(now time.Time, f *frame.Frame, k *frame.Key) frame.Verdict {
	if frame.Parse(f, k) != frame.ReasonNone {
		verdict := i.odd(now, malformed, k)
		*k = frame.Key{} // what it says of itself is not to be believed
		return verdict
	}
	if k.Flags&(frame.KeyIPv4|frame.KeyIPv6) == 0 {
		return i.packet(now, f.Eth()[frame.MinLen:], k)
	}
	if k.Has(frame.KeyFragment) {
		return i.odd(now, fragment, k)
	}
	at := int64(now.Sub(i.start) / time.Second)
	i.table.tick(at)
	fl, dir := i.table.find(k, at)
	if fl == nil {
		i.counts.noMemory++
		return frame.VerdictDrop
	}
	if fl.clean && !begins(k) {
		return frame.VerdictClean
	}
	verdict := i.flow(now, f, k, fl, dir)
	switch {
	case verdict == frame.VerdictReset || verdict == frame.VerdictQuarantine:
		if fl.verdict == frame.VerdictNone {
			fl.verdict, fl.guilty = verdict, dir
		}
	case verdict == frame.VerdictPass && i.config.BypassAfter > 0 && fl.judged >= i.config.BypassAfter:
		i.table.bypass(fl)
		return frame.VerdictClean
	}
	return verdict
}

// flow judges a frame as part of its flow.
func (i *Inspector) flow(now time.Time, f *frame.Frame, k *frame.Key, fl *flow, dir int) frame.Verdict {
	tcp := k.Proto == frame.ProtoTCP && k.Has(frame.KeyL4)
	switch {
	case fl.verdict == frame.VerdictQuarantine || fl.verdict == frame.VerdictReset && !tcp:
		return fl.verdict
	case tcp:
		return i.segment(now, f, k, fl, dir)
	}
	b := payload(f, k)
	verdict := i.packet(now, b, k)
	if verdict == frame.VerdictPass {
		fl.judged += uint64(len(b))
	}
	return verdict
}

// payload is what the packet carries behind the headers that are known.
func payload(f *frame.Frame, k *frame.Key) []byte {
	eth := f.Eth()
	if k.Has(frame.KeyL4) {
		return eth[k.Payload : int(k.Payload)+int(k.PayloadLen)]
	}
	return eth[k.L4 : int(k.L3)+int(k.L3Len)]
}

// packet looks for signatures within one packet. What UDP's segmentation joined is looked at as one.
func (i *Inspector) packet(now time.Time, b []byte, k *frame.Key) frame.Verdict {
	if _, found := i.scan(0, b, k); found >= 0 {
		return i.found(now, found, k)
	}
	for _, n := range i.config.regexes {
		if s := &i.config.signatures[n]; s.applies(k) && s.regex.Match(b) {
			return i.found(now, n, k)
		}
	}
	return frame.VerdictPass
}

// scan runs the automaton over b, and gives its state then, or the signature that was found.
func (i *Inspector) scan(state uint32, b []byte, k *frame.Key) (after uint32, found int) {
	a := i.config.strings
	for {
		var done int
		state, done = a.scan(state, b)
		if state&accepts == 0 {
			return state, -1
		}
		state &^= accepts
		for o := a.ends[state/a.width]; o >= 0; o = a.outputs[o].next {
			if n := int(a.outputs[o].signature); i.config.signatures[n].applies(k) {
				return state, n
			}
		}
		b = b[done:]
	}
}

// found counts and notes a signature, and gives its verdict.
func (i *Inspector) found(now time.Time, n int, k *frame.Key) frame.Verdict {
	s := &i.config.signatures[n]
	i.counts.matches[n]++
	i.log.add(now, k, s.name, s.verdict)
	return s.verdict
}

// odd counts an anomaly, notes it where it ends a flow, and gives its verdict.
func (i *Inspector) odd(now time.Time, a anomaly, k *frame.Key) frame.Verdict {
	i.counts.anomalies[a]++
	verdict := i.config.anomalies[a]
	if verdict > frame.VerdictDrop {
		i.log.add(now, k, anomalyKinds[a].name, verdict)
	}
	return verdict
}
