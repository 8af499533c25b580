package vswitch

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

var errTraceUse = errors.New("say it as in: tcp from client to server port 80")

var traceProtocols = []string{"tcp", "udp", "icmp"}

// ParseTrace reads a description of a frame: "tcp from client to server port 80". The protocol is tcp, udp or icmp; guests may be
// given by name or by address. A port belongs to the end before it: "tcp from server port 80 to client port 40000".
func ParseTrace(s string) (TraceRequest, error) {
	r, err := parseWords(strings.Fields(s))
	if err != nil {
		return r, err
	}
	return r, r.validate()
}

// ParseFlows reads which flows are meant, in the same words: "udp from client", "to server port 80". What is left out is any.
func ParseFlows(s string) (TraceRequest, error) {
	words := strings.Fields(s)
	if len(words) > 0 && slices.Contains([]string{"from", "to", "port"}, words[0]) {
		words = append([]string{""}, words...)
	}
	r, err := parseWords(words)
	switch {
	case err != nil:
		return r, err
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
		n := 2
		switch {
		case len(words) < 2:
			return r, fmt.Errorf("%q has nothing after it: %w", words[0], errTraceUse)
		case words[0] == "from" && words[1] == "port" && len(words) > 2: // the end may be left out
			n = 3
			err = setPort(&r.SrcPort, words[2])
		case words[0] == "to" && words[1] == "port" && len(words) > 2:
			n = 3
			err = setPort(&r.DstPort, words[2])
		case words[0] == "from":
			port = &r.SrcPort
			err = setEnd(&r.From, words)
		case words[0] == "to":
			port = &r.DstPort
			err = setEnd(&r.To, words)
		case words[0] == "port":
			err = setPort(port, words[1])
		default:
			err = fmt.Errorf("%q is not understood: %w", words[0], errTraceUse)
		}
		words = words[n:]
	}
	return r, err
}

func setEnd(end *string, words []string) error {
	if *end != "" {
		return fmt.Errorf("%q stands twice: %w", words[0], errTraceUse)
	}
	*end = words[1]
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
	switch {
	case !slices.Contains(traceProtocols, r.Proto):
		return fmt.Errorf("protocol %q is not tcp, udp or icmp", r.Proto)
	case r.From == "" || r.To == "":
		return fmt.Errorf("who sends to whom is missing: %w", errTraceUse)
	case !ports && (r.DstPort != 0 || r.SrcPort != 0):
		return errors.New("icmp has no ports")
	case ports && r.DstPort == 0 && r.SrcPort != 0:
		return fmt.Errorf("to which port of %s? A port belongs to the end before it: %s from %s port %d to %s port 40000", r.To, r.Proto, r.From, r.SrcPort, r.To)
	case ports && r.DstPort == 0:
		return fmt.Errorf("%s needs a port: %w", r.Proto, errTraceUse)
	}
	return nil
}
