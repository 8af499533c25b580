package walk

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sluice/firewall"
	"sluice/firewall/fault"
	"sluice/vnic/frame"
)

var errTraceUse = errors.New("say it as in: tcp from client to server port 80")

var traceProtocols = []string{"tcp", "udp", "icmp"}

// ParseTrace reads a description of a frame: "tcp from client to server port 80". The protocol is tcp, udp, icmp, or
// another one of IP by the name that policies have for it, or by its number. A guest may be given by its name, by that
// of one of its vNICs (R1/1 or R1/eth1), or by an address. A port belongs to the end before it: "tcp from server port
// 80 to client port 40000"; from-port is always the sender's. TCP has flags (SYN, if none are said): "flags syn,ack".
// ICMP has a type or code (echo): "type host-unreachable", "type 3/1".
func ParseTrace(s string) (TraceRequest, error) {
	r, err := parseWords(strings.Fields(s))
	if err != nil {
		return r, err
	}
	return r, r.validate()
}

// ParseFlows reads which flows are meant, in the same words: "udp from client", "to server port 80". What is left out
// is any.
func ParseFlows(s string) (TraceRequest, error) {
	words := strings.Fields(s)
	if len(words) > 0 && slices.Contains([]string{"from", "to", "port"}, words[0]) {
		words = append([]string{""}, words...)
	}
	r, err := parseWords(words)
	switch {
	case err != nil:
		return r, err
	case r.Flags != "" || r.ICMP != "":
		return r, errors.New("a flow has no flags and no type: leave them out")
	case r.Proto != "" && !slices.Contains(traceProtocols, r.Proto):
		return r, fmt.Errorf("protocol %q is not tcp, udp or icmp", r.Proto)
	case r.Proto == "icmp" && (r.DstPort != 0 || r.SrcPort != 0):
		return r, errors.New("icmp has no ports")
	}
	return r, nil
}

// parseWords reads a description: the protocol, and what follows it two words at a time.
func parseWords(words []string) (r TraceRequest, err error) {
	if len(words) == 0 {
		return r, errTraceUse
	}
	r.Proto, words = strings.ToLower(words[0]), words[1:]
	port := &r.DstPort // of the end that was named last
	for len(words) > 0 && err == nil {
		if len(words) < 2 {
			return r, fmt.Errorf("%q has nothing after it: %w", words[0], errTraceUse)
		}
		port, words, err = r.part(port, words)
	}
	return r, err
}

// part reads the next two words, or three, and gives whose port comes next and what is left.
func (r *TraceRequest) part(port *uint16, words []string) (next *uint16, left []string, err error) {
	word, value, left := words[0], words[1], words[2:]
	if (word == "from" || word == "to") && value == "port" && len(left) > 0 { // the end may be left out
		word, value, left = word+"-port", left[0], left[1:]
	}
	switch word {
	case "from":
		return &r.SrcPort, left, setOnce(&r.From, word, value)
	case "to":
		return &r.DstPort, left, setOnce(&r.To, word, value)
	case "port":
		return port, left, setPort(port, value)
	case "from-port":
		return port, left, setPort(&r.SrcPort, value)
	case "to-port":
		return port, left, setPort(&r.DstPort, value)
	case "flags":
		return port, left, setOnce(&r.Flags, word, strings.ToLower(value))
	case "type":
		return port, left, setOnce(&r.ICMP, word, strings.ToLower(value))
	}
	return port, nil, fmt.Errorf("%q is not understood: %w", word, errTraceUse)
}

func setOnce(part *string, word, value string) error {
	if *part != "" {
		return fmt.Errorf("%q stands twice: %w", word, errTraceUse)
	}
	*part = value
	return nil
}

func setPort(port *uint16, word string) error {
	n, err := strconv.ParseUint(word, 10, 16)
	switch {
	case err != nil || n == 0:
		return fmt.Errorf("port %q is not a number from 1 to 65535", word)
	case *port != 0:
		return fmt.Errorf("one end has two ports, %d and %d: %w", *port, n, errTraceUse)
	}
	*port = uint16(n)
	return nil
}

func (r TraceRequest) validate() error {
	ports := r.Proto == "tcp" || r.Proto == "udp"
	_, known := firewall.ProtocolNumber(r.Proto)
	switch {
	case !known && r.Proto != "icmp":
		return fmt.Errorf("no protocol %q%s", r.Proto, fault.Instead(r.Proto, slices.Concat(traceProtocols, otherProtocols(), []string{"or a number"})))
	case r.From == "" || r.To == "":
		return fmt.Errorf("who sends to whom is missing: %w", errTraceUse)
	case !ports && (r.DstPort != 0 || r.SrcPort != 0):
		return fmt.Errorf("%s has no ports", r.Proto)
	case ports && r.DstPort == 0 && r.SrcPort != 0:
		return fmt.Errorf("to which port of %s? A port belongs to the end before it: %s from %s port %d to %s port 40000", r.To, r.Proto, r.From, r.SrcPort, r.To)
	case ports && r.DstPort == 0:
		return fmt.Errorf("%s needs a port: %w", r.Proto, errTraceUse)
	}
	return r.validateWords()
}

// validateWords looks at the words that policies have, too.
func (r TraceRequest) validateWords() error {
	if r.Proto != "icmp" {
		proto, _ := firewall.ProtocolNumber(r.Proto)
		if r.Proto != "tcp" && proto == frame.ProtoTCP || r.Proto != "udp" && proto == frame.ProtoUDP || slices.Contains(notDescribed, proto) {
			return fmt.Errorf("protocol %q is not described by its number: write tcp, udp or icmp, or give the frame with --hex", r.Proto)
		}
	}
	if _, ok := firewall.TCPFlags(r.Flags); r.Flags != "" && (r.Proto != "tcp" || !ok) {
		return fmt.Errorf("flags %q: TCP has %s, several as syn,ack, and none and all", r.Flags, strings.Join(firewall.TCPFlagNames(), ", "))
	}
	if r.ICMP != "" && (r.Proto != "icmp" || !firewall.ICMPKnown(r.ICMP)) {
		return fmt.Errorf("type %q: ICMP has %s, and numbers, as 3 or 3/1", r.ICMP, strings.Join(firewall.ICMPWords(), ", "))
	}
	return nil
}

// notDescribed are ICMP, which has a word, and IPv6's extension headers, of which more would have to be said (IANA).
var notDescribed = []uint8{0, frame.ProtoICMP, 43, 44, frame.ProtoICMPv6, 60, 135, 139, 140}

// otherProtocols are those beside the ones that have a part of their own in a description.
func otherProtocols() []string {
	return slices.DeleteFunc(firewall.ProtocolNames(), func(name string) bool {
		return slices.Contains(traceProtocols, name) || name == "icmpv6"
	})
}

// TraceNext is what may follow the words of a description, for a shell that completes it. nil is anything: a port, say.
// Guests stand for themselves.
func TraceNext(words, guests []string) (next []string) {
	if len(words) == 0 {
		return append(slices.Clone(traceProtocols), otherProtocols()...)
	}
	proto := strings.ToLower(words[0])
	switch words[len(words)-1] {
	case "from", "to":
		return guests
	case "flags":
		return append(firewall.TCPFlagNames(), "syn,ack", "none", "all")
	case "type":
		return firewall.ICMPWords()
	case "port", "from-port", "to-port":
		return nil
	}
	next = []string{"from", "to"}
	switch proto {
	case "tcp":
		next = append(next, "port", "from-port", "flags")
	case "udp":
		next = append(next, "port", "from-port")
	case "icmp":
		next = append(next, "type")
	}
	return slices.DeleteFunc(next, func(w string) bool { return w != "port" && slices.Contains(words, w) })
}
