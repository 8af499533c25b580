package vswitch

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

var errTraceUse = errors.New("say it as in: tcp from client to server port 80")

// ParseTrace reads a description of a frame: "tcp from client to server port 80". The protocol is tcp, udp or icmp;
// guests may be given by name or by address; "from port N" is the source port.
func ParseTrace(s string) (TraceRequest, error) {
	var r TraceRequest
	words := strings.Fields(s)
	if len(words) == 0 {
		return r, errTraceUse
	}
	r.Proto, words = strings.ToLower(words[0]), words[1:]
	for len(words) > 0 {
		n, err := r.parseWords(words)
		if err != nil {
			return r, err
		}
		words = words[n:]
	}
	return r, r.validate()
}

// parseWords reads the first part of a description, and says how many words that took.
func (r *TraceRequest) parseWords(words []string) (n int, err error) {
	switch {
	case len(words) < 2:
		return 0, fmt.Errorf("%q has nothing after it: %w", words[0], errTraceUse)
	case words[0] == "from" && words[1] == "port" && len(words) > 2:
		r.SrcPort, err = parsePort(words[2])
		return 3, err
	case words[0] == "from":
		r.From = words[1]
	case words[0] == "to":
		r.To = words[1]
	case words[0] == "port":
		r.DstPort, err = parsePort(words[1])
	default:
		err = fmt.Errorf("%q is not understood: %w", words[0], errTraceUse)
	}
	return 2, err
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %q is not a number from 1 to 65535", s)
	}
	return uint16(n), nil
}

func (r TraceRequest) validate() error {
	ports := r.Proto == "tcp" || r.Proto == "udp"
	switch {
	case !ports && r.Proto != "icmp":
		return fmt.Errorf("protocol %q is not tcp, udp or icmp", r.Proto)
	case r.From == "" || r.To == "":
		return fmt.Errorf("who sends to whom is missing: %w", errTraceUse)
	case !ports && (r.DstPort != 0 || r.SrcPort != 0):
		return errors.New("icmp has no ports")
	case ports && r.DstPort == 0:
		return fmt.Errorf("%s needs a port: %w", r.Proto, errTraceUse)
	}
	return nil
}
