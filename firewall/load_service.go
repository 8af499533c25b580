package firewall

import (
	"strconv"
	"strings"

	"sluice/firewall/classifier"
	"sluice/firewall/document"
	"sluice/vnic/frame"
)

var serviceKeys = []string{"tcp", "udp", "icmp", "icmpv4", "icmpv6", "protocol", "from-port", "flags"}

// service resolves a service: a mapping such as {tcp: [80, 8000-8010]}, or a list of them.
func (l *loader) service(n *document.Node) services {
	var all services
	for _, m := range l.Items(n, "a service") {
		set, from, flags := l.serviceItem(m)
		one := l.under(m, set, from, flags)
		all.plain = append(all.plain, one.plain...)
		one.plain = nil
		all.join(l, m, &one)
	}
	if len(all.plain) == 0 && len(all.under) == 0 && !l.Faulty() {
		l.Fail(n, "write for example {tcp: 80}", "the service says nothing")
	}
	all.normal()
	return all
}

// serviceItem reads one mapping of a service: what is spoken, and where conditions on it stand.
func (l *loader) serviceItem(n *document.Node) (set classifier.ServiceSet, from, flags *document.Entry) {
	for _, e := range l.Entries(n, "a service") {
		switch e.Name {
		case "from-port":
			from = &e
		case "flags":
			flags = &e
		default:
			set = append(set, l.servicePart(e)...)
		}
	}
	if from != nil || flags != nil {
		set = set.Normal()
	}
	return set, from, flags
}

func (l *loader) servicePart(e document.Entry) classifier.ServiceSet {
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
	if _, is := flagNames[e.Name]; is {
		l.Fail(e.Key, "put quotes around the flags, or write | between them: flags: syn/syn|ack", "a service has no key %q", e.Name)
		return nil
	}
	if _, is := protoNames[e.Name]; is {
		l.Fail(e.Key, "write {protocol: "+e.Name+"}: of its packets no ports are looked at", "a service has no key %q", e.Name)
		return nil
	}
	l.Unknown(e, "a service", serviceKeys...)
	return nil
}

// ports reads 80, 8000-8010, any, or a list of them.
func (l *loader) ports(n *document.Node, proto uint8) classifier.ServiceSet {
	var set classifier.ServiceSet
	for _, m := range l.Items(n, "the ports") {
		w, ok := l.Word(m, "a port")
		switch {
		case !ok:
		case w == "any":
			set = append(set, classifier.ProtoRange(proto))
		default:
			lo, hi, ok := numberRange(w, 16)
			if !ok || lo == 0 {
				l.Fail(m, "write a number from 1 to 65535, a range such as 8000-8010, or any", "%q is no port", w)
				continue
			}
			set = append(set, classifier.PortRange(proto, uint16(lo), uint16(hi)))
		}
	}
	return set
}

func (l *loader) protocols(n *document.Node) classifier.ServiceSet {
	var set classifier.ServiceSet
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
		set = append(set, classifier.ProtoRange(proto))
	}
	return set
}
