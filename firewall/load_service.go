package firewall

import (
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"sluice/vnic/frame"
)

var serviceKeys = []string{"tcp", "udp", "icmp", "icmpv4", "icmpv6", "protocol"}

// service resolves a service: a mapping such as {tcp: [80, 8000-8010]}, or a list of them.
func (l *loader) service(n ast.Node) svcSet {
	var set svcSet
	for m := range l.items(n, "a service") {
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
	l.unknown(e, "a service", serviceKeys...)
	return nil
}

// ports reads 80, 8000-8010, any, or a list of them.
func (l *loader) ports(n ast.Node, proto uint8) svcSet {
	var set svcSet
	for m := range l.items(n, "the ports") {
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
	for m := range l.items(n, "the ICMP types") {
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
			l.fail(m, typesFor(v4, v6), "%q is no ICMP type", w)
		}
	}
	return set
}

// typesFor says what may stand for an ICMP type.
func typesFor(v4, v6 bool) string {
	var known []string
	for _, name := range sortedKeys(icmpNames) {
		if t := icmpNames[name]; v4 && t[0] >= 0 || v6 && t[1] >= 0 {
			known = append(known, name)
		}
	}
	do := "there are " + strings.Join(known, ", ") + ", and any"
	if v4 != v6 {
		do += "; or write a number from 0 to 255"
	}
	return do
}

func (l *loader) protocols(n ast.Node) svcSet {
	var set svcSet
	for m := range l.items(n, "the protocols") {
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
