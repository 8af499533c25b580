package firewall

import (
	"strconv"
	"strings"

	"sluice/firewall/classifier"
	"sluice/firewall/document"
	"sluice/vnic/frame"
)

// icmpNames are the types that a policy may name, in ICMP and in ICMPv6; -1 where a family has none (IANA).
var icmpNames = map[string][2]int{
	"echo":                    {frame.ICMPEcho, frame.ICMP6Echo},
	"echo-reply":              {frame.ICMPEchoReply, frame.ICMP6EchoReply},
	"destination-unreachable": {frame.ICMPUnreachable, frame.ICMP6Unreachable},
	"packet-too-big":          {-1, frame.ICMP6TooBig},
	"time-exceeded":           {frame.ICMPTimeExceeded, frame.ICMP6TimeExceeded},
	"parameter-problem":       {frame.ICMPParameter, frame.ICMP6Parameter},
	"redirect":                {frame.ICMPRedirect, frame.ICMP6Redirect},
	"timestamp":               {frame.ICMPTimestamp, -1},
	"timestamp-reply":         {frame.ICMPTimestampReply, -1},
}

// icmpCodes are the codes that a policy may name, as type<<8 | code, in ICMP (RFC 792, RFC 1812 5.2.7.1) and in ICMPv6
// (RFC 4443 3); -1 where a family has none. Which of ICMPv6's is meant by a name of ICMP's is as in nftables' icmpx.
var icmpCodes = map[string][2]int{
	"net-unreachable":      {unreachable | frame.ICMPNet, unreachable6 | frame.ICMP6NoRoute},
	"host-unreachable":     {unreachable | frame.ICMPHost, unreachable6 | frame.ICMP6Host},
	"protocol-unreachable": {unreachable | frame.ICMPProtocol, -1},
	"port-unreachable":     {unreachable | frame.ICMPPort, unreachable6 | frame.ICMP6Port},
	"fragmentation-needed": {unreachable | frame.ICMPTooBig, -1},
	"source-route-failed":  {unreachable | frame.ICMPSourceRoute, -1},
	"net-prohibited":       {unreachable | frame.ICMPNetProhibited, -1},
	"host-prohibited":      {unreachable | frame.ICMPHostProhibited, -1},
	"admin-prohibited":     {unreachable | frame.ICMPAdminProhibited, unreachable6 | frame.ICMP6AdminProhibited},
	"no-route":             {-1, unreachable6 | frame.ICMP6NoRoute},
	"beyond-scope":         {-1, unreachable6 | frame.ICMP6BeyondScope},
	"address-unreachable":  {-1, unreachable6 | frame.ICMP6Host},
	"policy-fail":          {-1, unreachable6 | frame.ICMP6PolicyFail},
	"reject-route":         {-1, unreachable6 | frame.ICMP6RejectRoute},
	"ttl-exceeded":         {timeExceeded | frame.ICMPHops, timeExceeded6 | frame.ICMPHops},
	"reassembly-timeout":   {timeExceeded | frame.ICMPReassembly, timeExceeded6 | frame.ICMPReassembly},
}

const (
	unreachable, unreachable6   = frame.ICMPUnreachable << 8, frame.ICMP6Unreachable << 8
	timeExceeded, timeExceeded6 = frame.ICMPTimeExceeded << 8, frame.ICMP6TimeExceeded << 8
)

// icmpProtos are the two, in the order of icmpNames and icmpCodes.
var icmpProtos = [2]uint8{frame.ProtoICMP, frame.ProtoICMPv6}

// icmp reads what it says of ICMP, of ICMPv6, or of both: any, a type, or a code, or a list of them. icmp: echo stands
// for ICMP's and ICMPv6's.
func (l *loader) icmp(n *document.Node, families ...int) classifier.ServiceSet {
	var set classifier.ServiceSet
	for _, m := range l.Items(n, "the ICMP types") {
		if w, ok := l.Word(m, "an ICMP type"); ok {
			set = append(set, l.icmpWord(m, w, families)...)
		}
	}
	return set
}

// icmpWord reads one of them: echo, host-unreachable, destination-unreachable/port-unreachable; and where only one
// family is meant 3, 3/1 and 3/0-5.
func (l *loader) icmpWord(n *document.Node, w string, families []int) (set classifier.ServiceSet) {
	icmpType, code, hasCode := strings.Cut(w, "/")
	for _, f := range families {
		r, ok := icmpRange(f, icmpType, code, hasCode)
		numbers := isNumber(icmpType) || hasCode && isNumber(code[:min(1, len(code))])
		switch {
		case ok && len(families) > 1 && numbers:
			l.Fail(n, "use icmpv4 or icmpv6 with a number, or icmp with a name", "%s means different things in ICMP and ICMPv6", w)
			return nil
		case ok:
			set = append(set, r)
		}
	}
	switch {
	case len(set) > 0:
	case len(families) == 1 && icmpKnown(1-families[0], w):
		l.Fail(n, "use the other of icmpv4 and icmpv6", "this ICMP has no type %q", w)
	default:
		l.Fail(n, icmpFor(families), "%q is no ICMP type", w)
	}
	return set
}

func icmpKnown(family int, w string) bool {
	icmpType, code, hasCode := strings.Cut(w, "/")
	_, ok := icmpRange(family, icmpType, code, hasCode)
	return ok
}

// icmpRange is what a word means in one family.
func icmpRange(family int, icmpType, code string, hasCode bool) (r classifier.ServiceRange, ok bool) {
	proto := icmpProtos[family]
	number, err := strconv.ParseUint(icmpType, 10, 8)
	names, isType := icmpNames[icmpType]
	codes, isCode := icmpCodes[icmpType]
	switch {
	case icmpType == "any" && !hasCode:
		return classifier.ProtoRange(proto), true
	case isCode && !hasCode && codes[family] >= 0:
		at := uint32(proto)<<16 | uint32(codes[family])
		return classifier.ServiceRange{Lo: at, Hi: at}, true
	case isType && names[family] >= 0:
		number = uint64(names[family])
	case err != nil:
		return r, false
	}
	r = classifier.TypeRange(proto, uint8(number))
	if !hasCode {
		return r, true
	}
	if codes, isCode := icmpCodes[code]; isCode {
		at := uint32(proto)<<16 | uint32(max(0, codes[family]))
		return classifier.ServiceRange{Lo: at, Hi: at}, codes[family]>>8 == int(number)
	}
	lo, hi, ok := numberRange(code, 8)
	return classifier.ServiceRange{Lo: r.Lo | uint32(lo), Hi: r.Lo | uint32(hi)}, ok
}

// numberRange reads 5, or 5-8.
func numberRange(w string, bits int) (lo, hi uint64, ok bool) {
	from, to, isRange := strings.Cut(w, "-")
	if !isRange {
		to = from
	}
	lo, err1 := strconv.ParseUint(from, 10, bits)
	hi, err2 := strconv.ParseUint(to, 10, bits)
	return lo, hi, err1 == nil && err2 == nil && lo <= hi
}

func isNumber(w string) bool {
	_, err := strconv.ParseUint(w, 10, 64)
	return err == nil
}

// icmpFor says what may stand for an ICMP type.
func icmpFor(families []int) string {
	known := func(names map[string][2]int) string {
		var out []string
		for _, name := range sortedKeys(names) {
			for _, f := range families {
				if names[name][f] >= 0 {
					out = append(out, name)
					break
				}
			}
		}
		return strings.Join(out, ", ")
	}
	do := "types are " + known(icmpNames) + ", and any; codes are " + known(icmpCodes)
	if len(families) == 1 {
		do += "; or write numbers from 0 to 255, as 3 or 3/1"
	}
	return do
}
