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
		return l.icmp(e.value, 0, 1)
	case "icmpv4":
		return l.icmp(e.value, 0)
	case "icmpv6":
		return l.icmp(e.value, 1)
	case "protocol":
		return l.protocols(e.value)
	}
	if _, is := protoNames[e.name]; is {
		l.fail(e.key, "write {protocol: "+e.name+"}: of its packets no ports are looked at", "a service has no key %q", e.name)
		return nil
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
			lo, hi, ok := numberRange(w, 16)
			if !ok || lo == 0 {
				l.fail(m, "write a number from 1 to 65535, a range such as 8000-8010, or any", "%q is no port", w)
				continue
			}
			set = append(set, portRange(proto, uint16(lo), uint16(hi)))
		}
	}
	return set
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
			l.fail(m, "write a number from 0 to 255, or one of "+strings.Join(sortedKeys(protoNames), ", "), "%q is no IP protocol", w)
			continue
		}
		set = append(set, protoRange(proto))
	}
	return set
}
