package walk

import (
	"fmt"
	"slices"
	"sync/atomic"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch/measure"
)

// session is what lives of a session: it outlives plans, and ends once none names it.
type session struct {
	returned atomic.Uint64              // frames that came back
	passages atomic.Pointer[[]*passage] // by PortID; nil where there is no guest
}

// passage is what one port's frames leave behind on their way through the appliance.
type passage struct {
	issued  atomic.Uint64 // tickets given out, or packets where there are none; only the port's own walker adds
	claimed uint64        // packets that came back, where there are no tickets; only the steer port's walker looks at this and at seen
	seen    replays
}

// claim says whether one more packet may come back: the appliance never returns more than it was given.
func (p *passage) claim() bool {
	if p.claimed >= p.issued.Load() {
		return false
	}
	p.claimed++
	return true
}

// replayWindow is how far a frame's return may lag behind that of a later one.
const replayWindow = 1 << 13

// replays remembers which tickets came back, as IPsec and WireGuard do (RFC 6479).
type replays struct {
	highest uint64
	bits    [replayWindow / 64]uint64
}

// first says whether a ticket comes back for the first time. What lags too far behind is not known, and not taken.
func (r *replays) first(seq uint64) bool {
	if seq == 0 || seq+replayWindow-64 <= r.highest {
		return false
	}
	at := func(n uint64) *uint64 { return &r.bits[n/64%uint64(len(r.bits))] }
	if seq > r.highest {
		from := r.highest/64 + 1
		if seq/64 >= from+uint64(len(r.bits)) {
			from = seq/64 + 1 - uint64(len(r.bits))
		}
		for n := from; n <= seq/64; n++ {
			*at(n * 64) = 0
		}
		r.highest = seq
	}
	bit := uint64(1) << (seq % 64)
	if *at(seq)&bit != 0 {
		return false
	}
	*at(seq) |= bit
	return true
}

// covering is the session with a passage for each guest. It may be asked of nil.
func (s *session) covering(ports []Port) *session {
	if s == nil {
		s = &session{}
		s.passages.Store(&[]*passage{})
	}
	wider := slices.Clone(*s.passages.Load())
	for i, p := range ports {
		if i == len(wider) {
			wider = append(wider, nil)
		}
		if p.ID != 0 && !p.Service && wider[i] == nil {
			wider[i] = &passage{}
		}
	}
	s.passages.Store(&wider)
	return s
}

// passage finds what a port's frames leave behind; nil where the port is younger than the session.
func (s *session) passage(id frame.PortID) *passage {
	if all := *s.passages.Load(); int(id) < len(all) {
		return all[id]
	}
	return nil
}

// Accepts finds the session of a frame that comes back; zero is none.
func (st *Steering) Accepts(id uint8) Session {
	for _, s := range st.In {
		if s.ID == id {
			return s
		}
	}
	return Session{}
}

// steer sends a frame that was let in to the appliance, which gives it back (returned) or keeps it. What the engine
// itself denies at the place where the frame would arrive never gets there.
func (w *Walker) steer(f *frame.Frame, k *frame.Key, p *Port) frame.Reason {
	st := &w.plan.Steering
	if st.Out.ID == 0 || st.Port == 0 || p.ID > frame.MaxSteerPort {
		return w.because("steer", frame.ReasonFailed)
	}
	if reason := w.routerFirst(f, k, p); reason != frame.ReasonNone {
		return reason
	}
	if out := w.aim(k, p); out != nil && w.plan.Program.Enforces() && w.refused(f, k, out) {
		return frame.ReasonNone
	}
	if f.Len > frame.MaxSteered && !k.Has(frame.KeyGSO) {
		return w.because("steer", frame.ReasonTooBig)
	}
	to := &w.plan.Ports[st.Port]
	w.say("steer", func() string { return fmt.Sprintf("to %s, in session %d", to.Name, st.Out.ID) })
	w.watched(f, k, to, firewall.ToGuest, firewall.Verdict{Action: firewall.Pass})
	mark := w.leaving(to, f, k)
	if w.dry {
		w.tried++
		w.outputs = append(w.outputs, Output{Port: st.Port, Frame: f, mark: mark})
		return frame.ReasonNone
	}
	if w.fits(f, k, st.Out.Ticketed) {
		w.wrap(f, k, p, packets(f, k))
		return frame.ReasonNone
	}
	for piece := range w.pieces.Split(f, k) {
		w.wrap(w.spare(piece), k, p, 1)
	}
	return frame.ReasonNone
}

// fits says whether a frame can be steered in one piece. Only a ticket tells the far end how UDP was to be segmented.
func (w *Walker) fits(f *frame.Frame, k *frame.Key, ticketed bool) bool {
	return f.Len <= frame.MaxSteered && (ticketed || !k.Has(frame.KeyGSO) || k.Proto == frame.ProtoTCP)
}

// packets is how many packets a frame stands for.
func packets(f *frame.Frame, k *frame.Key) uint64 {
	if !k.Has(frame.KeyGSO) {
		return 1
	}
	size := uint64(f.Vnet().GSOSize())
	return (uint64(k.PayloadLen) + size - 1) / size
}

// wrap puts a frame into the tunnel.
func (w *Walker) wrap(f *frame.Frame, k *frame.Key, p *Port, n uint64) {
	st := &w.plan.Steering
	flow := k.SymHash()
	var ticket *frame.Ticket
	pass := w.core.sessions[st.Out.ID].Load().passage(p.ID)
	if st.Out.Ticketed {
		w.ticket = frame.Ticket{Seq: pass.issued.Add(1), Cookie: flow, Port: p.ID, Dir: uint8(firewall.FromGuest)}
		ticket = &w.ticket
	} else {
		pass.issued.Add(n)
	}
	f.Wrap(&st.Outer, frame.NewVNI(st.Out.ID, p.ID, false), ticket, uint16(flow)|0xc000)
	w.tried++
	w.outputs = append(w.outputs, Output{Port: st.Port, Frame: f, mark: measure.NoMark})
}

// spare is a copy of a frame that lives until the batch's End.
func (w *Walker) spare(f *frame.Frame) *frame.Frame {
	if w.spared == len(w.spares) {
		w.spares = append(w.spares, &frame.Frame{})
	}
	c := w.spares[w.spared]
	w.spared++
	c.CopyFrom(f)
	return c
}

// aim finds the one guest's port that a frame is for; nil where there are several, or none that is known.
func (w *Walker) aim(k *frame.Key, p *Port) *Port {
	seg := &w.plan.Segments[p.Segment]
	var out frame.PortID
	switch {
	case k.Has(frame.KeyGroup):
	case k.DstMAC != seg.GatewayMAC || len(seg.Gateways) == 0:
		out = w.core.fdb.lookup(seg, k.DstMAC, w.cx.Now)
	case k.Flags&(frame.KeyIPv4|frame.KeyIPv6) != 0:
		to, h, known := w.plan.Route(k.Dst)
		if to != 0 {
			h, _ = w.nextHop(to, k.Dst, h, known)
		}
		out = h.Port
	}
	if out == 0 || out == p.ID {
		return nil
	}
	return w.plan.Port(out)
}

// returned takes a frame from the steer port: one that a guest sent and the appliance lets go on, or the appliance's
// own answer to the guest. It is taken only in a session that the plan knows, and only once.
func (w *Walker) returned(f *frame.Frame, k *frame.Key) frame.Reason {
	st := &w.plan.Steering
	vni, has, ok := f.Unwrap(&st.Outer, &w.ticket)
	if !ok {
		if reason := frame.Parse(f, k); reason == frame.ReasonNone && w.probe(f, k) {
			return frame.ReasonProbe // it was routed
		}
		return frame.ReasonNotSteered
	}
	if vni.Port() == 0 {
		if reason := frame.Parse(f, k); reason == frame.ReasonNone && st.Accepts(vni.Session()).ID != 0 && vni.Back() && w.probe(f, k) {
			return frame.ReasonProbe
		}
		return frame.ReasonNotSteered
	}
	in, p := st.Accepts(vni.Session()), w.plan.Port(vni.Port())
	if in.ID == 0 || st.Stale || has != in.Ticketed || p == nil || p.Service {
		return frame.ReasonNotSteered
	}
	s := w.core.sessions[in.ID].Load()
	pass := s.passage(p.ID)
	if pass == nil {
		return frame.ReasonNotSteered
	}
	if has {
		if w.ticket.Port != p.ID || w.ticket.Verdict == frame.VerdictNone || w.ticket.Seq > pass.issued.Load() {
			return frame.ReasonNotSteered
		}
		if !pass.seen.first(w.ticket.Seq) {
			return frame.ReasonReplayed
		}
		*f.Vnet() = w.ticket.Vnet
	} else if !pass.claim() {
		return frame.ReasonReplayed
	}
	s.returned.Add(1)
	whole := w.plan
	if whole.Beside != nil && whole.Beside.Steering.Out.ID == in.ID {
		w.plan = whole.Beside
	}
	w.cx.From = p.ID
	reason := w.goOn(f, k, p, vni, has)
	w.plan, w.cx.From = whole, w.port
	return reason
}

// probeFrom is where probes come from; they go to the switch's end of the tunnel.
var probeFrom = frame.AddrFrom(frame.TunnelProbe)

// probe takes a frame that came from the steer port as the answer to a probe, if it is one. k is of the probe itself.
func (w *Walker) probe(f *frame.Frame, k *frame.Key) bool {
	return k.Has(frame.KeyIPv4|frame.KeyL4) && k.Proto == frame.ProtoUDP && k.Src == probeFrom && k.Dst == w.plan.Steering.Outer.Local &&
		w.core.Probed(f.Eth()[k.Payload:int(k.Payload)+int(k.PayloadLen)], w.cx.Now)
}

// goOn walks on with a frame that came back to where it was steered.
func (w *Walker) goOn(f *frame.Frame, k *frame.Key, p *Port, vni frame.VNI, has bool) frame.Reason {
	if reason := w.parseInner(f, k, p, has); reason != frame.ReasonNone {
		return reason
	}
	w.watched(f, k, &w.plan.Ports[w.plan.Steering.Port], firewall.FromGuest, firewall.Verdict{Action: firewall.Pass})
	w.from = p.ID
	if !vni.Back() {
		w.deliver(f, k, p.ID)
		return frame.ReasonNone
	}
	if has {
		if reason := w.heed(w.ticket.Verdict, k, p); reason != frame.ReasonNone {
			return w.because("inspector", reason)
		}
	}
	return w.forward(f, k, p)
}

// heed does what the inspector's verdict asks for. Where it is not pass or clean, only the frame's headers came back.
func (w *Walker) heed(verdict frame.Verdict, k *frame.Key, p *Port) frame.Reason {
	switch verdict {
	case frame.VerdictPass:
		return frame.ReasonNone
	case frame.VerdictClean:
		w.core.flows.Judge(k, verdict)
		return frame.ReasonNone
	case frame.VerdictQuarantine:
		w.core.flows.Judge(k, verdict)
	case frame.VerdictReset:
		if w.core.flows.Judge(k, verdict) && k.Proto == frame.ProtoTCP && k.Has(frame.KeyL4) {
			w.reset(k)
			w.resetOther(k, p)
		}
	}
	return frame.ReasonInspected
}

// resume walks on with a frame that one port's guest sent and the appliance has let go on, for Trace.
func (w *Walker) resume(f *frame.Frame, from frame.PortID) []Output {
	w.outputs, w.tried, w.mark, w.from, w.cx.From = w.outputs[:0], 0, measure.NoMark, from, from
	if reason := frame.Parse(f, &w.key); reason != frame.ReasonNone {
		w.ended = reason
	} else if reason = w.forward(f, &w.key, w.plan.Port(from)); reason != frame.ReasonNone {
		w.ended = reason
	}
	return w.outputs
}

// parseInner reads a frame that came back. A kernel on the way has seen one long packet where the guest sent many: it
// is made many again.
func (w *Walker) parseInner(f *frame.Frame, k *frame.Key, p *Port, has bool) frame.Reason {
	reason := frame.Parse(f, k)
	if reason != frame.ReasonNone || has || k.Proto != frame.ProtoTCP || !k.Has(frame.KeyL4) || k.Has(frame.KeyFragment) {
		return reason
	}
	mtu := w.plan.Segments[p.Segment].MTU
	if to, _, _ := w.plan.Route(k.Dst); to != 0 && w.plan.Segments[to].MTU > 0 {
		mtu = min(mtu, w.plan.Segments[to].MTU)
	}
	if size := mtu - int(k.Payload-k.L3); mtu > 0 && int(k.L3Len) > mtu && size > 0 {
		frame.OpenGSO(f, k, size)
		return frame.Parse(f, k)
	}
	return reason
}
