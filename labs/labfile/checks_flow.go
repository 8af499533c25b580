package labfile

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"sluice/firewall"
	"sluice/firewall/document"
	"sluice/labs/check"
	"sluice/vswitch"
)

// service is the keys that say a flow's protocol and port.
func (l *labReader) service(f *check.Flow) map[string]func(*document.Node) {
	said := false
	proto := func(name string, port func(*document.Node)) func(*document.Node) {
		return func(v *document.Node) {
			l.once(v, said, "the protocol")
			said, f.Proto = true, name
			port(v)
		}
	}
	port := func(v *document.Node) { f.Port = uint16(l.number(v, "port", 1, 65535)) }
	return map[string]func(*document.Node){
		"tcp":  proto("tcp", port),
		"udp":  proto("udp", port),
		"icmp": proto("icmp", func(v *document.Node) { l.oneOf(v, "icmp", "echo") }),
		"from": func(v *document.Node) { f.From = l.end(v, "from") },
		"to":   func(v *document.Node) { f.To = l.end(v, "to") },
	}
}

// end reads a guest's name, the appliance's, or an address.
func (l *labReader) end(n *document.Node, what string) check.End {
	w := l.word(n, what)
	if l.unsure[w] {
		l.Spoil()
	}
	if e, ok := l.endOf(w); ok || l.Failed() {
		return e
	}
	l.Fail(n, l.Meant(w, "there are "+strings.Join(l.guestNames(), ", "), l.guestNames()), "%s is %q, which is no guest and no address", what, w)
	return check.End{}
}

// sender reads a guest in which a check can send something.
func (l *labReader) sender(n *document.Node) check.End {
	e := l.end(n, "from")
	if !l.Failed() {
		l.guestIn(n, "from")
	}
	return e
}

func (l *labReader) endOf(w string) (e check.End, ok bool) {
	for _, g := range l.lab.Machines() {
		if g.Name == w {
			e = check.End{Name: w, Guest: g != l.lab.Appliance}
			for _, v := range g.VNICs {
				e.Addrs = append(e.Addrs, v.Addrs()...)
			}
			return e, true
		}
	}
	a, err := netip.ParseAddr(w)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return e, false
	}
	return check.End{Name: w, Addrs: []netip.Addr{a}}, true
}

func (l *labReader) guestNames() (names []string) {
	for _, g := range l.lab.Machines() {
		names = append(names, g.Name)
	}
	return names
}

// guestIn reads the name of a guest that can be spoken to.
func (l *labReader) guestIn(n *document.Node, what string) string {
	w := l.oneOf(n, what, l.guestNames()...)
	for _, g := range l.lab.Machines() {
		if !l.Failed() && g.Name == w && g.Kind == KindHost {
			l.fail(n, "%s is a device of this machine; name a guest that runs commands", w)
		}
	}
	return w
}

// point reads an insertion point, or a port of the appliance with a direction.
func (l *labReader) point(n *document.Node, what string) string {
	w := l.word(n, what)
	i := strings.LastIndexByte(w, '/')
	if !l.Failed() && (i < 0 || w[i:] != "/from-guest" && w[i:] != "/to-guest" || !slices.Contains(l.portNames(), w[:max(i, 0)])) {
		l.fail(n, "%s is %q, which is no insertion point; write one like %s/from-guest", what, w, l.portNames()[0])
	}
	return w
}

// portNames are guests and their vNICs (client, both/0), the appliance among them.
func (l *labReader) portNames() (names []string) {
	for _, c := range l.lab.Cards() {
		guest, _, _ := strings.Cut(c.Name, "/")
		names = append(names, guest, c.Name)
	}
	return slices.Compact(names)
}

// portList reads names of vNICs.
func (l *labReader) portList(n *document.Node, what string) []string {
	var known, out []string
	for _, c := range l.lab.Cards() {
		known = append(known, c.Name)
	}
	for _, v := range l.List(n, what) {
		out = append(out, l.oneOf(v, what, known...))
	}
	return out
}

// flow reads a conversation, in the words of a trace.
func (l *labReader) flow(n *document.Node) check.Flow {
	f := l.packet(n)
	plain := f.Proto == "tcp" || f.Proto == "udp" || f.Proto == "icmp"
	if !l.Failed() && (f.Flags != "" || f.ICMP != "" || !plain) {
		l.fail(n, "flags, type and protocols other than tcp, udp and icmp are for a walk; leave them out here")
	}
	return f
}

// packet reads what `sluice trace` does.
func (l *labReader) packet(n *document.Node) (f check.Flow) {
	w := l.bounded(n, "flow", maxWord)
	if l.Failed() {
		return f
	}
	r, err := vswitch.ParseTrace(w)
	if err != nil {
		l.fail(n, "%v", err)
		return f
	}
	f = check.Flow{Proto: r.Proto, SrcPort: r.SrcPort, Port: r.DstPort, Flags: r.Flags, ICMP: r.ICMP}
	for _, x := range []struct {
		to   *check.End
		name string
	}{{&f.From, r.From}, {&f.To, r.To}} {
		var ok bool
		if *x.to, ok = l.endOf(x.name); !ok {
			*x.to, ok = l.legOf(x.name)
		}
		if !ok {
			l.fail(n, "%q is no guest and no address; there are %s", x.name, strings.Join(l.guestNames(), ", "))
		}
	}
	return f
}

// legOf is one vNIC of a guest that has several.
func (l *labReader) legOf(name string) (check.End, bool) {
	for _, c := range l.lab.Cards() {
		if c.Name == name {
			return check.End{Name: name, Guest: c.Guest >= 0, Addrs: c.Addrs}, true
		}
	}
	return check.End{}, false
}

// speed reads a comparison of downloads. Its condition is bounded: nobody shall write a check that fails on a busy
// machine.
func (l *labReader) speed(n *document.Node) *check.Speed {
	s := &check.Speed{Of: firewall.Fast, Rounds: 3, Duration: 500 * time.Millisecond}
	s.Proto = "tcp"
	var to, in, is *document.Node
	one := func(to *firewall.Placement) func(*document.Node) {
		return func(v *document.Node) {
			if p := l.onePlacement(v); p != nil {
				*to = *p
			}
		}
	}
	l.Fields(n, "speed", map[string]func(*document.Node){
		"from":      func(v *document.Node) { s.From = l.sender(v) },
		"to":        func(v *document.Node) { s.To, to = l.end(v, "to"), v },
		"tcp":       func(v *document.Node) { s.Port = uint16(l.number(v, "tcp", 1, 65535)) },
		"placement": func(v *document.Node) { in = v; one(&s.In)(v) },
		"of":        one(&s.Of),
		"rounds":    func(v *document.Node) { s.Rounds = l.number(v, "rounds", 3, 9) },
		"for":       func(v *document.Node) { s.Duration = l.duration(v, "for", 100*time.Millisecond, 5*time.Second) },
		"is":        func(v *document.Node) { s.Is, is = l.condition(v, "is"), v },
	})
	switch {
	case l.Failed():
	case s.From.Name == "" || to == nil || s.Port == 0 || in == nil || is == nil:
		l.fail(n, "speed needs from, to, tcp, placement and is; as in {from: client, to: server, tcp: 80, placement: inspect, is: \">= 1%%\"}")
	case !slices.ContainsFunc(l.lab.Guests, func(g Guest) bool { return g.Name == s.To.Name && slices.Contains(g.Services, "http") }):
		l.fail(to, "%s has no service http, which a download comes from; add services: [http]", s.To.Name)
	case len((&check.Reach{Flow: s.Flow}).Targets()) == 0:
		l.fail(n, "%s and %s have no addresses of one family; choose other ends", s.From.Name, s.To.Name)
	case s.In == s.Of:
		l.fail(in, "the placement %s is compared with itself; choose another", s.In)
	case s.Is.Op != ">=" && s.Is.Op != ">" || s.Is.Value < 0 || s.Is.Value > check.MaxSpeedShare:
		l.fail(is, "is must be at least a share of at most %g%%, as more would fail on a busy machine; write one like \">= 1%%\"", 100*check.MaxSpeedShare)
	}
	return s
}
