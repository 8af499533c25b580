package walk

import (
	"errors"
	"io/fs"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch/measure"
)

// Decide says where a frame that came from the walker's port goes. This is the one place that forwards:
//
//  1. Parse; frames of service ports are taken only where the plan steers to them.
//  2. The check point at from-guest.
//  3. Learn the sender's MAC.
//  4. The gateway answers or routes; else look the MAC up, or flood.
//  5. The check point at to-guest of each output.
//
// The outputs, which may include the switch's own answers, are valid until the next Decide; their frames until the
// batch's End. The frame is changed in place where it is routed. A frame without an output is in the books as dropped.
func (w *Walker) Decide(f *frame.Frame) []Output {
	w.showing = showing{}
	w.decide(f)
	if w.showing.found {
		w.show(w.reply)
	}
	if w.freed != nil {
		w.release()
	}
	return w.outputs
}

// decide is Decide of the frame itself, without what its arrival lets go on.
func (w *Walker) decide(f *frame.Frame) {
	w.outputs, w.tried, w.mark, w.from = w.outputs[:0], 0, measure.NoMark, w.port
	w.sent = uint64(f.Len)
	w.tally.frames++
	w.tally.bytes += w.sent
	reason := frame.Parse(f, &w.key)
	w.say("parse", func() string { return describe(&w.key) })
	if reason == frame.ReasonNone {
		reason = w.walk(f, &w.key)
	}
	if w.tried > 0 {
		w.tally.copies += uint64(w.tried - 1)
		if n := len(w.outputs); n > 0 && w.plan.Ports[w.outputs[n-1].Port].Service { // the switch's own words come first
			w.tally.slow++ // once, in however many pieces it went
			w.tally.slowBytes += w.sent
		} else if w.plan.Bypassed && n > 0 && w.wouldMeet(&w.key) {
			w.tally.unasked++
		}
		return
	}
	if reason == frame.ReasonNone {
		reason = frame.ReasonNoOutput
	}
	w.ended = reason
	if reason == frame.ReasonProbe || w.waits { // nobody's frame: the books do not know it; or not yet (enter)
		w.tally.frames--
		w.tally.bytes -= w.sent
		w.waits = false
	} else {
		w.tally.drop(reason)
	}
	w.journal.Unmark(w.mark)
}

// wouldMeet says whether a frame that was delivered would have met the appliance, had that not failed: in slow, what
// leaves its segment.
func (w *Walker) wouldMeet(k *frame.Key) bool {
	p := w.plan.Port(w.port)
	return p != nil && !p.Service && (w.plan.Placement != firewall.Slow || k.DstMAC == w.plan.Segments[p.Segment].GatewayMAC)
}

// walk is steps 1 to 5. A reason other than none means that the frame went nowhere.
func (w *Walker) walk(f *frame.Frame, k *frame.Key) frame.Reason {
	if w.plan.Beside != nil {
		if side := w.plan.sideOf(w.core.flows, w.port, f, k); side != w.plan {
			return w.walkBy(side, f, k)
		}
	}
	p := w.plan.Port(w.port)
	if p == nil {
		return frame.ReasonNoPort
	}
	if reservedGroup(k.DstMAC) {
		return frame.ReasonReserved
	}
	switch {
	case p.Service && !p.Accept:
		return w.because("port", frame.ReasonNotService)
	case p.Steer:
		return w.returned(f, k)
	case p.Service:
		w.watched(f, k, p, firewall.FromGuest, firewall.Verdict{Action: firewall.Pass})
		return w.forward(f, k, p)
	}
	v, reason := w.admit(f, k, p)
	if reason != frame.ReasonNone {
		return reason
	}
	w.mark = w.journal.Entered(w.cx.Now, w.plan.Epoch, f, k)
	if v.Action == firewall.Steer {
		return w.steer(f, k, p)
	}
	return w.forward(f, k, p)
}

// reservedGroup says whether switches keep frames to this group for themselves: 01-80-C2-00-00-00 to -0F (IEEE 802.1D
// 7.12.6).
func reservedGroup(m frame.MAC) bool {
	return m[0] == 0x01 && m[1] == 0x80 && m[2] == 0xc2 && m[3] == 0 && m[4] == 0 && m[5] < 0x10
}

// admit is what a guest's frame must pass before it goes anywhere.
func (w *Walker) admit(f *frame.Frame, k *frame.Key, p *Port) (firewall.Verdict, frame.Reason) {
	if k.SrcMAC != p.MAC && w.pretends(k, p) {
		return firewall.Verdict{}, w.because("spoof", frame.ReasonSpoof)
	}
	v := w.check(f, k, p, firewall.FromGuest)
	if v.Action != firewall.Pass && v.Action != firewall.Steer {
		if ofPolicy(v) {
			if reason := w.routerFirst(f, k, p); reason != frame.ReasonNone {
				return v, reason
			}
		}
		if v.Flags&firewall.VerdictReject != 0 {
			w.reject(f, k)
		}
		return v, dropReason(v)
	}
	if !w.dry && !w.core.fdb.learn(&w.plan.Segments[p.Segment], k.SrcMAC, p.ID, p.MaxMACs, w.cx.Now) {
		return v, frame.ReasonLearnLimit
	}
	return v, frame.ReasonNone
}

// pretends says whether a guest sends as the gateway, or as another guest whose MAC the plan knows: it would be sent
// their frames. Any other MAC may be its own, or that of a guest behind it.
func (w *Walker) pretends(k *frame.Key, p *Port) bool {
	if k.SrcMAC == w.plan.Segments[p.Segment].GatewayMAC {
		return true
	}
	owner, known := w.plan.MACs[MACKey(p.Segment, k.SrcMAC)]
	return known && owner != p.ID
}

// check asks the program at an insertion point.
func (w *Walker) check(f *frame.Frame, k *frame.Key, p *Port, d firewall.Dir) firewall.Verdict {
	if w.plan.Program == nil {
		v := firewall.Verdict{Action: firewall.Pass}
		w.watched(f, k, p, d, v)
		return v
	}
	w.cx.Eth = f.Eth()
	pt := firewall.Point{Port: p.ID, Dir: d}
	if w.record != nil {
		w.cx.Rec = func(s firewall.Step) { w.record(TraceStep{Step: s, Point: p.Name + "/" + d.String()}) }
	}
	if w.core.Shortcuts != nil {
		w.cx.Settled = firewall.Place{}
	}
	v := w.plan.Program.Check(&w.cx, pt, k)
	if w.core.Shortcuts != nil {
		w.settled(d)
		w.reply = v.Flags&firewall.VerdictReply != 0
	}
	w.sayVerdict(p, d, v)
	w.watched(f, k, p, d, v)
	return v
}

// dropReason is why a verdict that does not let a frame go on ends it. What the switch does not know how to do, it does
// not let through.
func dropReason(v firewall.Verdict) frame.Reason {
	if v.Action == firewall.Drop && v.Reason != frame.ReasonNone {
		return v.Reason
	}
	return frame.ReasonFailed
}

// forward finds the way of a frame that was let in.
func (w *Walker) forward(f *frame.Frame, k *frame.Key, p *Port) frame.Reason {
	seg := &w.plan.Segments[p.Segment]
	if used := w.resolve(f, k, p, seg); used {
		return w.atGateway()
	}
	switch {
	case k.Has(frame.KeyGroup):
		return w.flood(f, k, p)
	case k.DstMAC != seg.GatewayMAC || len(seg.Gateways) == 0:
		return w.unicast(f, k, p)
	case p.Service:
		return frame.ReasonSamePort
	case seg.GatewayPort != 0:
		w.showing.found, w.showing.way.Dst = true, k.DstMAC
		w.say("forward", func() string { return "the appliance serves the gateway: to " + w.plan.Ports[seg.GatewayPort].Name })
		w.deliver(f, k, seg.GatewayPort)
		return frame.ReasonNone
	}
	if w.plan.Net[p.Segment].Orphan {
		return w.because("forward", frame.ReasonFailed)
	}
	return w.routeIP(f, k, p, seg)
}

// unicast looks a MAC up in the FDB; where it is not known, everybody on the segment gets the frame.
func (w *Walker) unicast(f *frame.Frame, k *frame.Key, p *Port) frame.Reason {
	out := w.core.fdb.lookup(&w.plan.Segments[p.Segment], k.DstMAC, w.cx.Now)
	switch out {
	case 0:
		return w.flood(f, k, p)
	case p.ID:
		return w.because("forward", frame.ReasonSamePort)
	}
	w.say("forward", func() string { return macString(k.DstMAC) + " is behind " + w.nameOf(out) })
	w.showing.found, w.showing.way.Dst = true, k.DstMAC
	w.deliver(f, k, out)
	return frame.ReasonNone
}

// flood gives a frame to every guest on the segment but the one it came from.
func (w *Walker) flood(f *frame.Frame, k *frame.Key, p *Port) frame.Reason {
	w.say("flood", func() string { return "to every guest on " + w.plan.Segments[p.Segment].Name })
	for _, out := range w.plan.Net[p.Segment].Flood {
		if out != p.ID {
			w.deliver(f, k, out)
		}
	}
	return frame.ReasonNone
}

// deliver adds an output, unless the check point there says no.
func (w *Walker) deliver(f *frame.Frame, k *frame.Key, out frame.PortID) {
	p := w.plan.Port(out)
	if p == nil {
		w.tried++
		w.tally.drop(frame.ReasonNoPort)
		return
	}
	if p.Service {
		w.watched(f, k, p, firewall.ToGuest, firewall.Verdict{Action: firewall.Pass})
	} else if w.refused(f, k, p) {
		return
	}
	w.tried++
	w.outputs = append(w.outputs, Output{Port: out, Frame: f, mark: w.leaving(p, f, k)})
}

// refused asks the check point where a frame would arrive, and accounts for one that it denies.
func (w *Walker) refused(f *frame.Frame, k *frame.Key, p *Port) bool {
	v := w.check(f, k, p, firewall.ToGuest)
	if v.Action == firewall.Pass {
		return false
	}
	w.tried++
	if v.Flags&firewall.VerdictReject != 0 && w.tried == 1 && !k.Has(frame.KeyGroup) {
		w.reject(f, k)
	}
	w.ended = dropReason(v)
	w.counters[p.ID].dropped[w.ended].Add(w.real())
	w.journal.Unmark(w.mark)
	return true
}

// real is what one frame counts: nothing where it is only traced.
func (w *Walker) real() uint64 {
	if w.dry {
		return 0
	}
	return 1
}

// unsent is why an output was not sent.
func unsent(err error) frame.Reason {
	switch {
	case err == nil:
		return frame.ReasonFull
	case errors.Is(err, fs.ErrClosed):
		return frame.ReasonClosing
	}
	return frame.ReasonIO
}
