package walk

import (
	"errors"
	"fmt"
	"strings"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// traceFrame explains the way of one whole frame. It enters where at says: a port's name, or its from-guest, stands for
// a frame that the guest sends; its to-guest for one that is about to be delivered, of which only that point speaks.
func (t *tracer) traceFrame(eth []byte, at string) error {
	p, dir, err := t.point(at)
	switch {
	case err != nil:
		return err
	case len(eth) < frame.MinLen || len(eth) > frame.MaxLen:
		return fmt.Errorf("a frame has %d to %d bytes, and this %d", frame.MinLen, frame.MaxLen, len(eth))
	}
	f := frame.New(len(eth))
	copy(f.Eth(), eth)
	if dir == firewall.ToGuest {
		t.arrive(p, f)
		return nil
	}
	reason := frame.Parse(f, &t.key)
	var dst end
	if reason == frame.ReasonNone && t.key.Flags&(frame.KeyIPv4|frame.KeyIPv6) != 0 {
		dst = t.end(t.key.Dst.IP())
	}
	t.walk(end{Host: Host{Port: p.ID}}, dst, f)
	return nil
}

// point finds an insertion point by its name.
func (t *tracer) point(at string) (*Port, firewall.Dir, error) {
	if at == "" {
		return nil, 0, errors.New("say where the frame is, as in --at client or --at server/to-guest")
	}
	name, dir := at, firewall.FromGuest
	for _, d := range []firewall.Dir{firewall.FromGuest, firewall.ToGuest} {
		if n, ok := strings.CutSuffix(at, "/"+d.String()); ok {
			name, dir = n, d
		}
	}
	var names []string
	for i := range t.plan.Ports {
		p := &t.plan.Ports[i]
		switch {
		case p.ID == 0 || p.Service:
		case p.Name == name:
			return p, dir, nil
		default:
			names = append(names, p.Name)
		}
	}
	return nil, 0, fmt.Errorf("no vNIC %q: %s", name, strings.Join(names, ", "))
}

// arrive asks the one point at which a frame arrives.
func (t *tracer) arrive(p *Port, f *frame.Frame) {
	w := t.walker(p.ID)
	reason := frame.Parse(f, &w.key)
	w.say("parse", func() string { return describe(&w.key) })
	if reason != frame.ReasonNone {
		w.because("parse", reason)
		t.result.Verdict, t.result.Reason = "drop", reason.String()
		return
	}
	v := w.check(f, &w.key, p, firewall.ToGuest)
	passed := v.Action == firewall.Pass
	t.result.Verdict, t.result.Rule = verdictWord(passed, v), t.ruleOf(v)
	if !passed {
		t.result.Reason = dropReason(v).String()
	}
}
