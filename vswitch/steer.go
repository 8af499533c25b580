package vswitch

import (
	"context"
	"fmt"
	"sync/atomic"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// steering is the part of a plan that says what becomes of frames whose verdict is steer.
type steering struct {
	port  frame.PortID // the appliance's service port for them; 0: there is none
	outer frame.Outer
	out   *session    // that frames are steered in; nil is none
	in    [3]*session // those from which frames may come back: the present one, the draining one, and that of flows that are kept
	stale bool        // what comes back now is too old: only probes are taken
}

// session is one stay in a placement that steers. It is immutable but for what it points to; it outlives plans, and ends once the appliance
// is empty of its frames.
type session struct {
	id       uint8
	ticketed bool           // the far end is our own, and echoes tickets
	returned *atomic.Uint64 // frames that came back
	passages []*passage     // by PortID; nil where there is no guest
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

// newSession begins a session for a placement that steers. Its number was not that of the last one.
func (s *Switch) newSession(to firewall.Placement) *session {
	s.sessions = s.sessions%255 + 1
	n := &session{id: s.sessions, ticketed: to == firewall.Inspect, returned: &atomic.Uint64{}}
	return n.covering(s.ports)
}

// covering is the session with a passage for each guest.
func (s *session) covering(ports []Port) *session {
	n := *s
	n.passages = make([]*passage, len(ports))
	copy(n.passages, s.passages)
	for i, p := range ports {
		if p.ID != 0 && !p.Service && n.passages[i] == nil {
			n.passages[i] = &passage{}
		}
	}
	return &n
}

// spec is what the appliance must know of the session.
func (s *session) spec() firewall.SteerSpec {
	spec := firewall.SteerSpec{Session: s.id, Inspect: s.ticketed}
	for id, p := range s.passages {
		if p != nil {
			spec.Ports = append(spec.Ports, frame.PortID(id))
		}
	}
	return spec
}

// extend makes the sessions that frames are steered in know a port that is new.
func (s *Switch) extend(ctx context.Context) error {
	next, err := s.extended(ctx, s.session)
	if err != nil {
		return err
	}
	kept := s.kept
	if kept != nil {
		wider := *kept
		if wider.session, err = s.extended(ctx, kept.session); err != nil {
			return err
		}
		kept = &wider
	}
	s.mu.Lock()
	s.session, s.kept = next, kept
	s.mu.Unlock()
	return nil
}

// extended is a session that knows all ports; nil is none.
func (s *Switch) extended(ctx context.Context, in *session) (*session, error) {
	if in == nil {
		return nil, nil
	}
	next := in.covering(s.ports)
	if s.appliance == nil {
		return nil, errNoAppliance
	}
	if err := s.appliance.Steer(ctx, next.spec()); err != nil {
		return nil, fmt.Errorf("steer its frames: %w", err)
	}
	return next, nil
}

// accepts finds the session of a frame that comes back.
func (st *steering) accepts(id uint8) *session {
	for _, s := range st.in {
		if s != nil && s.id == id {
			return s
		}
	}
	return nil
}

// steer sends a frame that was let in to the appliance, which gives it back (returned) or keeps it. What the engine itself denies at the
// place where the frame would arrive never gets there.
func (w *Walker) steer(f *frame.Frame, k *frame.Key, p *Port) frame.Reason {
	st := w.plan.steering
	if st.out == nil || st.port == 0 || p.ID > frame.MaxSteerPort {
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
	to := &w.plan.Ports[st.port]
	w.say("steer", func() string { return fmt.Sprintf("to %s, in session %d", to.Name, st.out.id) })
	w.watched(f, k, to, firewall.ToGuest, firewall.Verdict{Action: firewall.Pass})
	mark := w.log.leaving(w.mark, &w.cx, w.plan, w.port, to, f, k)
	if w.dry {
		w.tried++
		w.outputs = append(w.outputs, Output{Port: st.port, Frame: f, mark: mark})
		return frame.ReasonNone
	}
	if w.fits(f, k, st.out.ticketed) {
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
	st := w.plan.steering
	flow := k.SymHash()
	var ticket *frame.Ticket
	pass := st.out.passages[p.ID]
	if st.out.ticketed {
		w.ticket = frame.Ticket{Seq: pass.issued.Add(1), Cookie: flow, Port: p.ID, Dir: uint8(firewall.FromGuest)}
		ticket = &w.ticket
	} else {
		pass.issued.Add(n)
	}
	f.Wrap(&st.outer, frame.NewVNI(st.out.id, p.ID, false), ticket, uint16(flow)|0xc000)
	w.tried++
	w.outputs = append(w.outputs, Output{Port: st.port, Frame: f, mark: noMark})
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
		to, h, known := w.plan.route(k.Dst)
		if to != 0 {
			h, _ = w.nextHop(to, k.Dst, h, known)
		}
		out = h.port
	}
	if out == 0 || out == p.ID {
		return nil
	}
	return w.plan.port(out)
}

// returned takes a frame from the steer port: one that a guest sent and the appliance lets go on, or the appliance's own answer to
// the guest. It is taken only in a session that the plan knows, and only once.
func (w *Walker) returned(f *frame.Frame, k *frame.Key) frame.Reason {
	st := w.plan.steering
	vni, has, ok := f.Unwrap(&st.outer, &w.ticket)
	if !ok {
		if reason := frame.Parse(f, k); reason == frame.ReasonNone && w.probe(f, k) {
			return frame.ReasonProbe // it was routed
		}
		return frame.ReasonNotSteered
	}
	if vni.Port() == 0 {
		if reason := frame.Parse(f, k); reason == frame.ReasonNone && st.accepts(vni.Session()) != nil && vni.Back() && w.probe(f, k) {
			return frame.ReasonProbe
		}
		return frame.ReasonNotSteered
	}
	s, p := st.accepts(vni.Session()), w.plan.port(vni.Port())
	if s == nil || st.stale || has != s.ticketed || p == nil || p.Service {
		return frame.ReasonNotSteered
	}
	if int(p.ID) >= len(s.passages) || s.passages[p.ID] == nil {
		return frame.ReasonNotSteered // the port is younger than the session that drains
	}
	pass := s.passages[p.ID]
	if has {
		if w.ticket.Port != p.ID || w.ticket.Word == frame.WordNone || w.ticket.Seq > pass.issued.Load() {
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
	if whole.kept != nil && whole.kept.steering.out == s {
		w.plan = whole.kept
	}
	w.cx.From = p.ID
	reason := w.goOn(f, k, p, vni, has)
	w.plan, w.cx.From = whole, w.port
	return reason
}

// goOn walks on with a frame that came back to where it was steered.
func (w *Walker) goOn(f *frame.Frame, k *frame.Key, p *Port, vni frame.VNI, has bool) frame.Reason {
	if reason := w.parseInner(f, k, p, has); reason != frame.ReasonNone {
		return reason
	}
	w.watched(f, k, &w.plan.Ports[w.plan.steering.port], firewall.FromGuest, firewall.Verdict{Action: firewall.Pass})
	w.from = p.ID
	if !vni.Back() {
		w.deliver(f, k, p.ID)
		return frame.ReasonNone
	}
	if has {
		if reason := w.heed(w.ticket.Word, k, p); reason != frame.ReasonNone {
			return w.because("inspector", reason)
		}
	}
	return w.forward(f, k, p)
}

// heed does what the inspector's word asks for. Where it is not pass or clean, only the frame's headers came back.
func (w *Walker) heed(word frame.Word, k *frame.Key, p *Port) frame.Reason {
	switch word {
	case frame.WordPass:
		return frame.ReasonNone
	case frame.WordClean:
		w.core.flows.Judge(k, word)
		return frame.ReasonNone
	case frame.WordQuarantine:
		w.core.flows.Judge(k, word)
	case frame.WordReset:
		if w.core.flows.Judge(k, word) && k.Proto == frame.ProtoTCP && k.Has(frame.KeyL4) {
			w.reset(k)
			w.resetOther(k, p)
		}
	}
	return frame.ReasonInspected
}

// resume walks on with a frame that one port's guest sent and the appliance has let go on, for Trace.
func (w *Walker) resume(f *frame.Frame, from frame.PortID) []Output {
	w.outputs, w.tried, w.mark, w.from, w.cx.From = w.outputs[:0], 0, noMark, from, from
	if reason := frame.Parse(f, &w.key); reason != frame.ReasonNone {
		w.ended = reason
	} else if reason = w.forward(f, &w.key, w.plan.port(from)); reason != frame.ReasonNone {
		w.ended = reason
	}
	return w.outputs
}

// parseInner reads a frame that came back. A kernel on the way has seen one long packet where the guest sent many: it is made many again.
func (w *Walker) parseInner(f *frame.Frame, k *frame.Key, p *Port, has bool) frame.Reason {
	reason := frame.Parse(f, k)
	if reason != frame.ReasonNone || has || k.Proto != frame.ProtoTCP || !k.Has(frame.KeyL4) || k.Has(frame.KeyFragment) {
		return reason
	}
	mtu := w.plan.Segments[p.Segment].MTU
	if to, _, _ := w.plan.route(k.Dst); to != 0 && w.plan.Segments[to].MTU > 0 {
		mtu = min(mtu, w.plan.Segments[to].MTU)
	}
	if size := mtu - int(k.Payload-k.L3); mtu > 0 && int(k.L3Len) > mtu && size > 0 {
		frame.OpenGSO(f, k, size)
		return frame.Parse(f, k)
	}
	return reason
}
