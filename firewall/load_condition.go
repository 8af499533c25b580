package firewall

import (
	"slices"
	"strings"

	"sluice/firewall/classifier"
	"sluice/firewall/document"

	"sluice/vnic/frame"
)

// conditional is services under a condition, by the number that the loader gave it.
type conditional struct {
	number int
	svc    classifier.ServiceSet
}

// services is what a service, or a rule's list of them, stands for: without a condition, and under some.
type services struct {
	plain classifier.ServiceSet
	under []conditional // by number
}

// join adds what another one stands for, of which it may be all.
func (s *services) join(l *loader, n *document.Node, o *services) {
	if o.plain != nil {
		s.plain = join(l, n, s.plain, o.plain)
	}
	for _, c := range o.under {
		i, found := slices.BinarySearchFunc(s.under, c.number, func(a conditional, n int) int { return a.number - n })
		if !found {
			s.under = slices.Insert(s.under, i, conditional{number: c.number})
		}
		s.under[i].svc = join(l, n, s.under[i].svc, c.svc)
	}
}

// normal sorts and joins ranges.
func (s *services) normal() {
	s.plain = s.plain.Normal()
	for i := range s.under {
		s.under[i].svc = s.under[i].svc.Normal()
	}
}

// give puts what was read into a rule.
func (s *services) give(l *loader, n *document.Node, r *Rule) {
	r.match.Services = s.plain
	if len(s.under) == 0 {
		return
	}
	if len(s.plain) > 0 {
		r.match.Parts = []classifier.Part{{Services: s.plain}}
	}
	for _, c := range s.under {
		r.match.Parts = append(r.match.Parts, classifier.Part{Condition: l.conditions[c.number], Services: c.svc})
		r.match.Services = join(l, n, r.match.Services, c.svc)
	}
	if len(r.match.Parts) > 1 {
		r.match.Services = r.match.Services.Normal()
	}
}

// under gives the services of one item the conditions that the item has: from-port one, and each of flags another.
func (l *loader) under(n *document.Node, svc classifier.ServiceSet, from, flags *document.Entry) services {
	if from == nil && flags == nil {
		return services{plain: svc}
	}
	one := classifier.Condition{}
	if from != nil {
		one.From = l.fromPort(from, svc)
	}
	list := []classifier.Condition{one}
	if flags != nil {
		list = list[:0]
		for _, f := range l.tcpFlags(flags, svc) {
			f.From = one.From
			list = append(list, f)
		}
	}
	var out services
	for i := range list {
		c := &list[i]
		if c.IsNone() {
			out.plain = svc // any port
			continue
		}
		number := l.condition(n, c)
		out.under = append(out.under, conditional{number, svc})
	}
	slices.SortFunc(out.under, func(a, b conditional) int { return a.number - b.number })
	return out
}

// condition numbers a condition.
func (l *loader) condition(n *document.Node, c *classifier.Condition) int {
	k := c.Key()
	for i := range l.conditions {
		if l.conditions[i].Key() == k {
			return i
		}
	}
	if len(l.conditions) == classifier.MaxConditions {
		const bound = "more than %d different combinations of from-port and flags"
		l.Fail(n, "use the same source ports and flags in more services", bound, classifier.MaxConditions)
		return 0
	}
	l.conditions = append(l.conditions, *c)
	return len(l.conditions) - 1
}

// fromPort reads source ports. What the item is about must have some.
func (l *loader) fromPort(e *document.Entry, svc classifier.ServiceSet) classifier.ServiceSet {
	for _, r := range svc {
		if lo, hi := uint8(r.Lo>>16), uint8(r.Hi>>16); lo != hi || lo != frame.ProtoTCP && lo != frame.ProtoUDP {
			l.Fail(e.Key, "write it beside tcp or udp, as {udp: 123, from-port: 123}; put other protocols into an item of their own", "from-port is about TCP and UDP only")
			return nil
		}
	}
	if len(svc) == 0 && !l.Faulty() {
		l.Fail(e.Key, "write it beside tcp or udp, as {tcp: any, from-port: 1024-65535}", "from-port stands alone")
	}
	var from classifier.ServiceSet
	for _, r := range l.ports(e.Value, 0) {
		from = append(from, classifier.ServiceRange{Lo: r.Lo & 0xffff, Hi: r.Hi & 0xffff})
	}
	if from = from.Normal(); len(from) == 1 && from[0] == (classifier.ServiceRange{Lo: 0, Hi: 0xffff}) {
		return nil // any
	}
	return from
}

// flagNames are TCP's flags as nftables calls them (RFC 9293 3.1, RFC 3168); ece is ecn's name there.
var flagNames = map[string]uint8{
	"fin": frame.TCPFin, "syn": frame.TCPSyn, "rst": frame.TCPRst, "psh": frame.TCPPsh, "ack": frame.TCPAck, "urg": frame.TCPUrg, "ecn": 1 << 6,
	"ece": 1 << 6, "cwr": 1 << 7, "none": 0, "all": 0xff,
}

// flagOrder is how flags are written.
var flagOrder = [...]string{"fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"}

const flagsExample = "write SET/OF, as syn/syn|ack|fin|rst: of these flags exactly those are set; the flags are "

// tcpFlags reads syn, syn/syn|ack, none/all, or a list of them: that what stands before the stroke is set of what
// stands after it.
func (l *loader) tcpFlags(e *document.Entry, svc classifier.ServiceSet) (out []classifier.Condition) {
	for _, r := range svc {
		if uint8(r.Lo>>16) != frame.ProtoTCP || uint8(r.Hi>>16) != frame.ProtoTCP {
			l.Fail(e.Key, "write it beside tcp, as {tcp: any, flags: syn/syn|ack}; put other protocols into an item of their own", "flags are TCP's only")
			return nil
		}
	}
	if len(svc) == 0 && !l.Faulty() {
		l.Fail(e.Key, "write it beside tcp, as {tcp: any, flags: syn/syn|ack}", "flags stand alone")
	}
	known := flagsExample + strings.Join(flagOrder[:], ", ") + ", none and all"
	for _, m := range l.Items(e.Value, "the flags") {
		w, ok := l.Word(m, "flags")
		if !ok {
			continue
		}
		set, of, hasMask := strings.Cut(w, "/")
		flags, ok1 := flagsOf(set)
		mask, ok2 := flags, true
		if hasMask {
			mask, ok2 = flagsOf(of)
		}
		switch {
		case !ok1 || !ok2:
			l.Fail(m, known, "%q is no combination of TCP flags", w)
		case !hasMask && strings.ContainsAny(set, ",|") || mask == 0:
			l.Fail(m, known, "flags %q do not say which flags are looked at", w)
		case flags&^mask != 0:
			l.Fail(m, "name after the stroke all that stand before it", "no segment has flags %q: some that must be set are not looked at", w)
		default:
			out = append(out, classifier.Condition{Mask: mask, Flags: flags})
		}
	}
	return out
}

// flagsOf reads syn|ack or syn,ack.
func flagsOf(w string) (flags uint8, ok bool) {
	for f := range strings.FieldsFuncSeq(w, func(r rune) bool { return r == '|' || r == ',' }) {
		bit, known := flagNames[strings.ToLower(strings.TrimSpace(f))]
		if !known {
			return 0, false
		}
		flags, ok = flags|bit, true
	}
	return flags, ok
}

// flagsText writes flags with a stroke between them.
func flagsText(flags uint8) string {
	var out []string
	for i, name := range flagOrder {
		if flags&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, "|")
}
