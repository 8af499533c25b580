package check

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sluice/labs/probe"
	"sluice/vswitch"
)

// The outcomes of an attempt.
const (
	Open     = "open"     // answered; for udp: delivered
	Dropped  = "dropped"  // silence, and not because nobody answered a datagram
	Rejected = "rejected" // the firewall said no
	Refused  = "refused"  // it came to the guest, and the guest said no
)

// Outcomes are those that a check can expect.
var Outcomes = []string{Open, Dropped, Rejected, Refused}

// Reach tries a flow for real, from inside a guest, over each family that both ends have.
type Reach struct {
	Flow
	Family string // ipv4, ipv6; empty is both
	Expect string
	Within time.Duration
}

func (r *Reach) String() string {
	return strings.Join(slices.DeleteFunc([]string{r.Flow.String(), r.Family, "is", r.Expect}, func(s string) bool { return s == "" }), " ")
}

// Targets are what is tried.
func (r *Reach) Targets() []probe.Target {
	var out []probe.Target
	for _, v6 := range []bool{false, true} {
		if v6 && r.Family == "ipv4" || !v6 && r.Family == "ipv6" {
			continue
		}
		family := func(a netip.Addr) bool { return a.Is6() == v6 }
		to := slices.IndexFunc(r.To.Addrs, family)
		if to >= 0 && slices.ContainsFunc(r.From.Addrs, family) {
			out = append(out, probe.Target{Proto: r.Proto, Addr: r.To.Addrs[to], Port: r.Port})
		}
	}
	return out
}

// sights are two for each target: the insertion point where it leaves its sender, and the one where it arrives. Where
// the other end is no guest, both are the first.
func (r *Reach) sights() []vswitch.Sight {
	var out []vswitch.Sight
	for _, t := range r.Targets() {
		one := Flow{Proto: r.Proto, Port: r.Port, From: r.From, To: End{Addrs: []netip.Addr{t.Addr}}}
		leaves := one.sight(r.From.Name + "/from-guest")
		arrives := leaves
		if r.To.Guest {
			arrives.At = r.To.Name + "/to-guest"
		}
		out = append(out, leaves, arrives)
	}
	return out
}

func (r *Reach) judge(s *scene) Finding {
	if s.tried[r].err != nil {
		return Finding{Reason: fmt.Sprintf("%s could not be tried: %v", r.Flow, s.tried[r].err), Look: "sluice lab inspect", doubt: true}
	}
	f := passed()
	seen := s.seenBy(r)
	for i, res := range s.tried[r].results {
		left, arrived := seen[2*i], seen[2*i+1]
		got := r.outcome(res.Outcome, !r.To.Guest || arrived.Passed > 0)
		f.Facts = append(f.Facts, r.facts(got)...)
		if got != r.Expect && f.Passed {
			f.Passed = false
			f.doubt = got == Dropped && !r.denied(s, r.Targets()[i], arrived) // silence, and nobody has said no
			f.Reason = fmt.Sprintf("%s (%s) is %s, not %s%s", r.Flow, res.Target, got, r.Expect, r.why(s, got, r.Targets()[i], left, arrived))
			f.Look = r.lookAt(s, got, r.Targets()[i], arrived)
		}
		if got == Dropped && r.Expect == Dropped && left.Frames == 0 && f.Passed {
			f.Passed, f.doubt = false, true
			f.Reason = fmt.Sprintf("%s (%s) is dropped, but nothing came to %s/from-guest: that proves nothing", r.Flow, res.Target, r.From.Name)
			f.Look = "sluice exec " + r.From.Name + " -- ip route"
		}
	}
	return f
}

// outcome joins what the guest's kernel was told with what the switch saw. A reset alone does not say who sent it.
func (r *Reach) outcome(o probe.Outcome, delivered bool) string {
	switch o {
	case probe.Answered:
		return Open
	case probe.Refused:
		if delivered {
			return Refused
		}
		return Rejected
	case probe.Prohibited:
		return Rejected
	case probe.Silent:
		if r.Proto == "udp" && delivered && r.To.Guest {
			return Open
		}
		return Dropped
	}
	return string(o)
}

// facts name an outcome for hints: tcp-80-dropped, and tcp-80-closed for whatever is not open; also with the ends in
// front.
func (r *Reach) facts(got string) []string {
	what := r.Proto
	if r.Port != 0 {
		what += fmt.Sprintf("-%d", r.Port)
	}
	var out []string
	for _, front := range []string{"", r.From.Name + "-" + r.To.Name + "-"} {
		out = append(out, front+what+"-"+got)
		if got != Open {
			out = append(out, front+what+"-closed")
		}
	}
	return out
}

// why says where the frames ended, as far as the switch saw it.
func (r *Reach) why(s *scene, got string, t probe.Target, left, arrived vswitch.Seen) string {
	if got == Open {
		return ""
	}
	if by, denied := r.deniedBy(s, t); denied {
		return by
	}
	switch {
	case left.Frames == 0:
		return ": nothing came to " + r.From.Name + "/from-guest"
	case r.To.Guest && arrived.Frames == 0:
		return fmt.Sprintf(": it left %s and did not come to %s", r.From.Name, r.To.Name)
	case r.To.Guest && got == Dropped:
		return fmt.Sprintf(": it came to %s, but no answer came back", r.To.Name)
	}
	return ""
}

// deniedBy is the verdict that an attempt met at an insertion point, where one denied it.
func (r *Reach) deniedBy(s *scene, t probe.Target) (by string, denied bool) {
	for _, f := range s.watched.Frames {
		if f.Dst.Addr().Unmap() == t.Addr && (t.Port == 0 || f.Dst.Port() == t.Port) && vswitch.ProtoIs(r.Proto, f.Proto) && f.Verdict != "pass" && slices.Contains(r.From.Addrs, f.Src.Addr().Unmap()) {
			by := "reason " + f.Reason
			if f.Rule != "" {
				by = "rule " + f.Rule
			}
			return fmt.Sprintf(": %s at %s, %s", f.Verdict, f.Point, by), true
		}
	}
	return "", false
}

// denied says whether somebody has denied an attempt, or would. What the appliance drops was seen at no insertion
// point, and neither was an answer: there the switch explains the walk, which needs no traffic.
func (r *Reach) denied(s *scene, t probe.Target, arrived vswitch.Seen) bool {
	if _, denied := r.deniedBy(s, t); denied {
		return true
	}
	one := r.at(t.Addr)
	one.IPv6 = t.Addr.Is6()
	walks := []Flow{one}
	if back, ok := r.answerTo(s, t); ok && arrived.Passed > 0 {
		if r.Proto == "tcp" {
			back.Flags = "syn,ack"
		}
		walks = append(walks, back)
	}
	return slices.ContainsFunc(walks, func(f Flow) bool {
		w, err := s.lab.Trace(s.ctx, f.request())
		return err == nil && w.Rule != "" && (w.Verdict == "drop" || w.Verdict == "reject")
	})
}

// lookAt is the command that shows the case which failed: over its own address; and where the question arrived and
// nothing came back, the way of the answer, to the port that the question came from.
func (r *Reach) lookAt(s *scene, got string, t probe.Target, arrived vswitch.Seen) string {
	if got != Dropped || !r.To.Guest || arrived.Passed == 0 || t.Port == 0 {
		return r.at(t.Addr).traceIt()
	}
	if back, ok := r.answerTo(s, t); ok {
		return back.traceIt()
	}
	return r.at(t.Addr).traceIt()
}

// answerTo is the answer to a question that was seen on its way.
func (r *Reach) answerTo(s *scene, t probe.Target) (Flow, bool) {
	for _, f := range s.watched.Frames {
		if f.Verdict == "pass" && f.Dst.Addr().Unmap() == t.Addr && f.Dst.Port() == t.Port && vswitch.ProtoIs(r.Proto, f.Proto) && slices.Contains(r.From.Addrs, f.Src.Addr().Unmap()) {
			return r.answer(netip.AddrPortFrom(f.Src.Addr().Unmap(), f.Src.Port())), true
		}
	}
	return Flow{}, false
}
