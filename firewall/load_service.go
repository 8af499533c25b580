package firewall

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"sluice/vnic/frame"
)

// service resolves a service: a mapping such as {tcp: [80, 8000-8010]}, or a list of them.
func (l *loader) service(n ast.Node) svcSet {
	var set svcSet
	for _, m := range l.items(n, "a service") {
		for _, e := range l.entries(m, "a service") {
			set = append(set, l.servicePart(e)...)
		}
	}
	if len(set) == 0 && len(l.errs) == 0 {
		l.fail(n, "write for example {tcp: 80}", "the service says nothing")
	}
	return set.normal()
}

func (l *loader) servicePart(e entry) svcSet {
	switch e.name {
	case "tcp":
		return l.ports(e.value, frame.ProtoTCP)
	case "udp":
		return l.ports(e.value, frame.ProtoUDP)
	case "icmp":
		return l.icmp(e.value, true, true)
	case "icmpv4":
		return l.icmp(e.value, true, false)
	case "icmpv6":
		return l.icmp(e.value, false, true)
	case "protocol":
		return l.protocols(e.value)
	}
	l.unknown(e, "a service", "tcp", "udp", "icmp", "icmpv4", "icmpv6", "protocol")
	return nil
}

// ports reads 80, 8000-8010, any, or a list of them.
func (l *loader) ports(n ast.Node, proto uint8) svcSet {
	var set svcSet
	for _, m := range l.items(n, "the ports") {
		w, ok := l.word(m, "a port")
		switch {
		case !ok:
		case w == "any":
			set = append(set, protoRange(proto))
		default:
			from, to, isRange := strings.Cut(w, "-")
			if !isRange {
				to = from
			}
			lo, err1 := strconv.ParseUint(from, 10, 16)
			hi, err2 := strconv.ParseUint(to, 10, 16)
			if err1 != nil || err2 != nil || lo == 0 || hi < lo {
				l.fail(m, "write a number from 1 to 65535, a range such as 8000-8010, or any", "%q is no port", w)
				continue
			}
			set = append(set, portRange(proto, uint16(lo), uint16(hi)))
		}
	}
	return set
}

// icmp reads a type's name or number, or a list of them; icmp: echo stands for ICMP's and ICMPv6's.
func (l *loader) icmp(n ast.Node, v4, v6 bool) svcSet {
	var set svcSet
	add := func(is bool, proto uint8, t int) {
		if is && t >= 0 {
			set = append(set, typeRange(proto, uint8(t)))
		}
	}
	for _, m := range l.items(n, "the ICMP types") {
		w, ok := l.word(m, "an ICMP type")
		if !ok {
			continue
		}
		types, known := icmpNames[w]
		number, err := strconv.ParseUint(w, 10, 8)
		switch {
		case w == "any":
			if v4 {
				set = append(set, protoRange(frame.ProtoICMP))
			}
			if v6 {
				set = append(set, protoRange(frame.ProtoICMPv6))
			}
		case known && (v4 && types[0] >= 0 || v6 && types[1] >= 0):
			add(v4, frame.ProtoICMP, types[0])
			add(v6, frame.ProtoICMPv6, types[1])
		case known:
			l.fail(m, "use the other of icmpv4 and icmpv6", "this ICMP has no type %q", w)
		case err == nil && v4 && v6:
			l.fail(m, "use icmpv4 or icmpv6 with a number, or icmp with a name", "type %s means different things in ICMP and ICMPv6", w)
		case err == nil:
			add(v4, frame.ProtoICMP, int(number))
			add(v6, frame.ProtoICMPv6, int(number))
		default:
			l.fail(m, "write for example echo, a number from 0 to 255, or any", "%q is no ICMP type", w)
		}
	}
	return set
}

func (l *loader) protocols(n ast.Node) svcSet {
	var set svcSet
	for _, m := range l.items(n, "the protocols") {
		w, ok := l.word(m, "a protocol")
		if !ok {
			continue
		}
		proto, known := protoNames[w]
		if number, err := strconv.ParseUint(w, 10, 8); err == nil {
			proto, known = uint8(number), true
		}
		if !known {
			l.fail(m, "write a number from 0 to 255, or a name such as gre", "%q is no IP protocol", w)
			continue
		}
		set = append(set, protoRange(proto))
	}
	return set
}

// rules reads the list of rules.
func (l *loader) rules(n ast.Node) {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		l.fail(n, "write it as a list, each rule beginning with -", "rules must be a list")
		return
	}
	seen := make(map[string]int, len(list.Values))
	l.p.Rules = make([]Rule, 0, len(list.Values))
	for _, v := range list.Values {
		r := l.rule(v)
		if first, taken := seen[r.Name]; taken && r.Name != "" {
			l.fail(v, "choose another name", "rule %s is already at line %d", r.Name, first)
		}
		seen[r.Name] = r.Line
		l.p.Rules = append(l.p.Rules, r)
	}
}

func (l *loader) rule(n ast.Node) Rule {
	r := Rule{Direction: "in-out", from: anyAddr, to: anyAddr, svc: anyService, dirs: bothDirs}
	r.Line, r.Col = place(n)
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
		case "log":
			r.Log = l.yes(e.value, "log")
		default:
			l.unknown(e, "a rule", "name", "from", "to", "service", "direction", "applied-to", "action", "log")
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
	for _, m := range l.items(n, what) {
		if w, ok := l.word(m, what); ok {
			written = append(written, w)
			set = append(set, l.addrs(m, w)...)
		}
	}
	if len(written) == 1 {
		return written, set // resolved sets are normal already
	}
	return written, set.normal()
}

func (l *loader) serviceSet(n ast.Node) (written []string, set svcSet) {
	for _, m := range l.items(n, "service") {
		w, ok := l.word(m, "service")
		s := l.services[w]
		switch {
		case !ok:
			continue
		case w == "any":
			set = append(set, anyService...)
		case s == nil:
			l.fail(m, "add it to services: "+w+": {tcp: 80}", "there is no service %q", w)
		default:
			s.used = true
			set = append(set, s.svc...)
		}
		written = append(written, w)
	}
	return written, set.normal()
}

// appliedTo reads the guests whose vNICs a rule is for.
func (l *loader) appliedTo(n ast.Node) (written []string, ports []frame.PortID) {
	ports = []frame.PortID{}
	for _, m := range l.items(n, "applied-to") {
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
