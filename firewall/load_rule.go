package firewall

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"sluice/firewall/document"
	"sluice/vnic/frame"
)

var ruleKeys = []string{"name", "from", "to", "service", "direction", "applied-to", "action", "stateless", "log"}

// rules reads a list of rules, of a section or of none.
func (l *loader) rules(n ast.Node, section string) {
	list, ok := l.list(n)
	if !ok {
		l.fail(n, "write it as a list, each rule beginning with -", "rules must be a list")
		return
	}
	for v := range list {
		r := l.rule(v)
		r.Section = section
		switch before := len(l.p.Rules) - 1; {
		case !r.Stateless || before < 0 || l.p.Rules[before].Stateless:
		default:
			l.fail(v, "move it before all rules that are not", "stateless rule %s comes after %s, which is not stateless", r.Name, l.p.Rules[before].Name)
		}
		if first, taken := l.rulesAt[r.Name]; taken && r.Name != "" {
			l.fail(v, "choose another name", "rule %s is already at line %d", r.Name, first)
		}
		l.rulesAt[r.Name] = r.Line
		l.p.Rules = append(l.p.Rules, r)
	}
}

func (l *loader) rule(n ast.Node) Rule {
	r := Rule{Direction: "in-out", from: anyAddr, to: anyAddr, svc: anyService, dirs: bothDirs}
	r.Line, r.Col = document.Place(n)
	hasAction := false
	for _, e := range l.entries(n, "a rule") {
		switch e.name {
		case "name":
			r.Name, _ = l.word(e.value, "the rule's name")
			if r.Name != "" && (!names.MatchString(r.Name) || r.Name == "default") {
				l.fail(e.value, "use letters, digits, - _ and ., beginning with a letter; not default", "%q cannot be the name of a rule", r.Name)
			}
		case "from":
			r.From, r.from = l.set(e.value, "from")
		case "to":
			r.To, r.to = l.set(e.value, "to")
		case "service":
			r.Service, r.svc = l.serviceSet(e.value)
		case "direction":
			r.Direction = l.oneOf(e.value, "direction", "in", "out", "in-out")
			r.dirs = dirsOf[r.Direction]
		case "applied-to":
			r.AppliedTo, r.ports = l.appliedTo(e.value)
		case "action":
			r.Action, hasAction = l.action(e.value, "action"), true
		case "stateless":
			r.Stateless = l.yes(e.value, "stateless")
		case "log":
			r.Log = l.yes(e.value, "log")
		default:
			l.unknown(e, "a rule", ruleKeys...)
		}
	}
	if r.Name == "" {
		l.fail(n, "add name: web", "the rule has no name")
	}
	if !hasAction {
		l.fail(n, "add action: allow", "the rule has no action")
	}
	return r
}

// set reads the nouns of from or to.
func (l *loader) set(n ast.Node, what string) (written []string, set addrSet) {
	for m := range l.items(n, what) {
		if w, ok := l.word(m, what); ok {
			written = append(written, w)
			set = join(l, m, set, l.addrs(m, w))
		}
	}
	if len(written) == 1 {
		return written, set // resolved sets are normal already
	}
	return written, set.normal()
}

func (l *loader) serviceSet(n ast.Node) (written []string, set svcSet) {
	for m := range l.items(n, "service") {
		w, ok := l.word(m, "service")
		s := l.services[w]
		switch {
		case !ok:
			continue
		case w == "any":
			set = join(l, m, set, anyService)
		case s == nil:
			l.fail(m, l.serviceFor(w), "there is no service %q", w)
		default:
			s.used = true
			set = join(l, m, set, s.svc)
		}
		written = append(written, w)
	}
	if len(written) == 1 {
		return written, set // resolved sets are normal already
	}
	return written, set.normal()
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
		do += "; there are " + strings.Join(known[:min(len(known), shownNouns)], ", ")
	}
	return do
}

// appliedTo reads the guests whose vNICs a rule is for.
func (l *loader) appliedTo(n ast.Node) (written []string, ports []frame.PortID) {
	ports = []frame.PortID{}
	for m := range l.items(n, "applied-to") {
		w, ok := l.word(m, "applied-to")
		if !ok {
			continue
		}
		written = append(written, w)
		switch {
		case l.vnics[w] != nil:
			ports = append(ports, l.vnics[w]...)
		case l.groups[w] != nil:
			l.groups[w].used = true
			ports = append(ports, l.owners(l.groups[w].addrs)...)
		case l.inv[w] != nil && w != "any":
			ports = append(ports, l.owners(l.inv[w])...)
		default:
			l.fail(m, "name guests, segments, or groups of them", "%q has no vNICs", w)
		}
	}
	return written, ports
}

// owners lists the vNICs that have an address in a set.
func (l *loader) owners(s addrSet) (ports []frame.PortID) {
	for _, g := range l.p.inv.Guests {
		for _, v := range g.VNICs {
			if ownsAny(v.Addrs, s) {
				ports = append(ports, v.Port)
			}
		}
	}
	return ports
}

func ownsAny(addrs []netip.Addr, s addrSet) bool {
	for _, a := range addrs {
		if s.contains(frame.AddrFrom(a)) {
			return true
		}
	}
	return false
}
