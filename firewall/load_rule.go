package firewall

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sluice/firewall/classifier"
	"sluice/firewall/document"
	"sluice/firewall/fault"
	"sluice/vnic/frame"
)

var ruleKeys = []string{"name", "from", "to", "service", "direction", "applied-to", "action", "stateless", "log"}

// rules reads a list of rules, of a section or of none.
func (l *loader) rules(n *document.Node, section string) {
	for _, v := range l.List(n, "rules") {
		r := l.rule(v)
		r.Section = section
		switch before := len(l.p.Rules) - 1; {
		case !r.Stateless || before < 0 || l.p.Rules[before].Stateless:
		default:
			l.Fail(v, "move it before all rules that are not", "stateless rule %s comes after %s, which is not stateless", r.Name, l.p.Rules[before].Name)
		}
		if first, taken := l.rulesAt[r.Name]; taken && r.Name != "" {
			l.Fail(v, "choose another name", "rule %s is already at line %d", r.Name, first)
		}
		l.rulesAt[r.Name] = r.Line
		if before := l.ranges; before <= maxRanges {
			if l.ranges += r.writtenOut(); l.ranges > maxRanges {
				l.Fail(v, "let fewer rules name services with so many ports, or write ranges of ports",
					"up to this rule, the services of the rules have more than %d ranges of ports", maxRanges)
			}
		}
		l.p.Rules = append(l.p.Rules, r)
	}
}

func (l *loader) rule(n *document.Node) Rule {
	r := Rule{Direction: "in-out", match: anything}
	r.Line, r.Col = n.Place()
	hasAction := false
	for _, e := range l.Entries(n, "a rule") {
		switch e.Name {
		case "name":
			r.Name, _ = l.Word(e.Value, "the rule's name")
			if r.Name != "" && (!names.MatchString(r.Name) || r.Name == "default") {
				l.Fail(e.Value, "use letters, digits, - _ and ., beginning with a letter; not default", "%q cannot be the name of a rule", r.Name)
			}
		case "from":
			r.From, r.match.From = l.set(e.Value, "from")
		case "to":
			r.To, r.match.To = l.set(e.Value, "to")
		case "service":
			l.serviceSet(e.Value, &r)
		case "direction":
			r.Direction, _ = l.OneOf(e.Value, "direction", "in", "out", "in-out")
			r.match.Dirs = dirsOf[r.Direction]
		case "applied-to":
			r.AppliedTo, r.match.Ports = l.appliedTo(e.Value)
		case "action":
			r.Action, hasAction = l.action(e.Value, "action"), true
		case "stateless":
			r.Stateless = l.yes(e.Value, "stateless")
		case "log":
			l.log(e.Value, &r)
		default:
			l.Unknown(e, "a rule", ruleKeys...)
		}
	}
	if r.Name == "" {
		l.Fail(n, "add name: web", "the rule has no name")
	}
	if !hasAction {
		l.Fail(n, "add action: allow", "the rule has no action")
	}
	return r
}

// set reads the nouns of from or to.
func (l *loader) set(n *document.Node, what string) (written []string, set classifier.AddrSet) {
	var e ends
	for _, m := range l.Items(n, what) {
		if w, ok := l.Word(m, what); ok {
			e.put(l, m, w)
		}
	}
	return e.written, e.addrs(l, n)
}

// serviceSet reads the services of a rule.
func (l *loader) serviceSet(n *document.Node, r *Rule) {
	var all services
	for _, m := range l.Items(n, "service") {
		w, ok := l.Word(m, "service")
		s := l.services[w]
		switch {
		case !ok:
			continue
		case w == "any":
			all.join(l, m, &services{plain: classifier.AnyService})
		case s == nil:
			l.Fail(m, l.serviceFor(w), "there is no service %q", w)
		default:
			s.used = true
			all.join(l, m, &s.svc)
		}
		r.Service = append(r.Service, w)
	}
	if len(r.Service) != 1 { // resolved sets are normal already
		all.normal()
	}
	all.give(l, n, r)
}

// serviceFor says how the policy comes to a service that it lacks: one that somebody calls tcp/23 needs a name.
func (l *loader) serviceFor(w string) string {
	example := w + ": {tcp: 80}"
	proto, port, _ := strings.Cut(strings.ReplaceAll(w, ":", "/"), "/")
	switch _, err := strconv.ParseUint(port, 10, 16); {
	case err == nil && (proto == "tcp" || proto == "udp"):
		example = fmt.Sprintf("%s: {%s: %s}", cmp.Or(map[string]string{"22": "ssh", "23": "telnet", "53": "dns", "80": "http"}[port], "mine"), proto, port)
	case !names.MatchString(w):
		example = "telnet: {tcp: 23}"
	}
	do := "add it to services under a name, for example " + example
	if known := sortedKeys(l.services); len(known) > 0 {
		do += "; there are " + firstOf(known)
		if s := fault.Suggest(w, known); s != "" {
			return "did you mean " + s + "? Else " + do
		}
	}
	return do
}

// writtenOut is how many ranges a rule's services have.
func (r *Rule) writtenOut() int {
	n := len(r.match.Services)
	for i := range r.match.Parts {
		n += len(r.match.Parts[i].Services) + len(r.match.Parts[i].From)
	}
	return n
}

// appliedTo reads the guests whose vNICs a rule is for.
func (l *loader) appliedTo(n *document.Node) (written []string, ports []frame.PortID) {
	ports = []frame.PortID{}
	for _, m := range l.Items(n, "applied-to") {
		w, ok := l.Word(m, "applied-to")
		if !ok {
			continue
		}
		written = append(written, w)
		switch list := l.portsOf(w); {
		case strings.HasPrefix(w, "!"):
			l.Fail(m, "name the guests that it is about; or negate an end, in from or to", "%q: a list of vNICs takes no !", w)
		case list != nil:
			ports = join(l, m, ports, list)
		default:
			l.Fail(m, "name guests, segments, or groups of them", "%q has no vNICs", w)
		}
	}
	slices.Sort(ports)
	return written, slices.Compact(ports)
}

// portsOf lists the vNICs of a guest, or those that have an address in a segment or a group; nil for anything else.
func (l *loader) portsOf(w string) []frame.PortID {
	if list := l.vnics[w]; list != nil {
		return list
	}
	set, is := l.inv[w]
	if g := l.groups[w]; g != nil {
		g.used, set, is = true, g.addrs, true
	}
	if !is || w == "any" {
		return nil
	}
	l.vnics[w] = append([]frame.PortID{}, l.owners(set)...)
	return l.vnics[w]
}

// owners lists the vNICs that have an address in a set.
func (l *loader) owners(s classifier.AddrSet) (ports []frame.PortID) {
	for _, g := range l.p.inv.Guests {
		for _, v := range g.VNICs {
			if ownsAny(v.Addrs, s) {
				ports = append(ports, v.Port)
			}
		}
	}
	return ports
}

func ownsAny(addrs []netip.Addr, s classifier.AddrSet) bool {
	for _, a := range addrs {
		if s.Contains(frame.AddrFrom(a)) {
			return true
		}
	}
	return false
}
