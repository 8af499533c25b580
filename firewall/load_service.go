package firewall

import (
	"strconv"
	"strings"

	"sluice/firewall/document"
	"sluice/vnic/frame"
)

var serviceKeys = []string{"tcp", "udp", "icmp", "icmpv4", "icmpv6", "protocol"}

// service resolves a service: a mapping such as {tcp: [80, 8000-8010]}, or a list of them.
func (l *loader) service(n *document.Node) svcSet {
	var set svcSet
	for _, m := range l.Items(n, "a service") {
		for _, e := range l.Entries(m, "a service") {
			set = append(set, l.servicePart(e)...)
		}
	}
	if len(set) == 0 && !l.Faulty() {
		l.Fail(n, "write for example {tcp: 80}", "the service says nothing")
	}
	return set.normal()
}

func (l *loader) servicePart(e document.Entry) svcSet {
	switch e.Name {
	case "tcp":
		return l.ports(e.Value, frame.ProtoTCP)
	case "udp":
		return l.ports(e.Value, frame.ProtoUDP)
	case "icmp":
		return l.icmp(e.Value, 0, 1)
	case "icmpv4":
		return l.icmp(e.Value, 0)
	case "icmpv6":
		return l.icmp(e.Value, 1)
	case "protocol":
		return l.protocols(e.Value)
	}
	if _, is := protoNames[e.Name]; is {
		l.Fail(e.Key, "write {protocol: "+e.Name+"}: of its packets no ports are looked at", "a service has no key %q", e.Name)
		return nil
	}
	l.Unknown(e, "a service", serviceKeys...)
	return nil
}

// ports reads 80, 8000-8010, any, or a list of them.
func (l *loader) ports(n *document.Node, proto uint8) svcSet {
	var set svcSet
	for _, m := range l.Items(n, "the ports") {
		w, ok := l.Word(m, "a port")
		switch {
		case !ok:
		case w == "any":
			set = append(set, protoRange(proto))
		default:
			lo, hi, ok := numberRange(w, 16)
			if !ok || lo == 0 {
				l.Fail(m, "write a number from 1 to 65535, a range such as 8000-8010, or any", "%q is no port", w)
				continue
			}
			set = append(set, portRange(proto, uint16(lo), uint16(hi)))
		}
	}
	return set
}

func (l *loader) protocols(n *document.Node) svcSet {
	var set svcSet
	for _, m := range l.Items(n, "the protocols") {
		w, ok := l.Word(m, "a protocol")
		if !ok {
			continue
		}
		proto, known := protoNames[w]
		if number, err := strconv.ParseUint(w, 10, 8); err == nil {
			proto, known = uint8(number), true
		}
		if !known {
			l.Fail(m, "write a number from 0 to 255, or one of "+strings.Join(sortedKeys(protoNames), ", "), "%q is no IP protocol", w)
			continue
		}
		set = append(set, protoRange(proto))
	}
	return set
}
