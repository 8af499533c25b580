package frame

import "encoding/binary"

// Options of IP headers are judged where they come in, before anything is decided by what they could change.

// Option types of IPv4 (IANA, RFC 791).
const (
	optEnd             = 0
	optNop             = 1
	optRecordRoute     = 7
	optTimestamp       = 68
	optCIPSO           = 134
	optLooseRoute      = 131
	optStrictRoute     = 137
	optRouterAlert     = 148
	timestampsOverflow = 15
)

// optionsIPv4 says whether the options of an IPv4 header may pass. Source routes may not: they lead a packet past what
// the policy says of its destination (RFC 7126 4.3, 4.4). Nor may what Linux takes for malformed (__ip_options_compile,
// net/ipv4/ip_options.c): guests' stacks differ in how they read it.
func optionsIPv4(b []byte) bool {
	var seen [256 / 8]byte
	for len(b) > 0 {
		switch b[0] {
		case optEnd:
			return true
		case optNop:
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return false
		}
		kind, o := b[0], b[:b[1]]
		b = b[b[1]:]
		switch kind {
		case optLooseRoute, optStrictRoute:
			return false
		case optRecordRoute, optTimestamp, optCIPSO:
			if seen[kind/8]>>(kind%8)&1 != 0 || !listHolds(kind, o) {
				return false
			}
			seen[kind/8] |= 1 << (kind % 8)
		case optRouterAlert:
			if len(o) < 4 {
				return false
			}
		}
	}
	return true
}

// listHolds says whether an option that routers add to is as it must be: where the next entry goes is within it, or
// behind it where it is full.
func listHolds(kind uint8, o []byte) bool {
	switch kind {
	case optRecordRoute:
		return len(o) >= 3 && o[2] >= 4 && (int(o[2]) > len(o) || int(o[2])+3 <= len(o))
	case optTimestamp:
		if len(o) < 4 || o[2] < 5 {
			return false
		}
		const onlyTimes, withAddresses, prespecified = 0, 1, 3
		how, entry := o[3]&15, 3
		switch how {
		case withAddresses, prespecified:
			entry = 7
		case onlyTimes:
		default:
			return false
		}
		if int(o[2]) > len(o) {
			return how == prespecified || o[3]>>4 < timestampsOverflow
		}
		return int(o[2])+entry <= len(o)
	}
	return len(o) >= 8 && binary.BigEndian.Uint32(o[2:]) != 0 // CIPSO: a domain of interpretation, and tags
}

// Option types of IPv6's hop-by-hop header (IANA), and the limits that Linux sets (ip6_parse_tlv, net/ipv6/exthdrs.c).
const (
	hopPad1        = 0
	hopPadN        = 1
	hopRouterAlert = 5
	hopCALIPSO     = 7
	hopIOAM        = 49
	hopMostOptions = 8 // net.ipv6.max_hbh_number: its default
	hopMostPadding = 7
)

// optionsHopByHop says whether a hop-by-hop header that follows the IPv6 header may pass a router. An option that we do
// not know says itself what is to be done (RFC 8200 4.2); a jumbogram is longer than any frame here (RFC 2675). A
// security label (CALIPSO) is dropped where its domain is not known, and none is (ipv6_hop_calipso). What is measured
// on the way (IOAM) begins at a multiple of 4 bytes (RFC 9486 3, ipv6_hop_ioam).
func optionsHopByHop(b []byte) bool {
	padding, options := 0, 0
	whole := len(b)
	for b = b[2:]; len(b) > 0; {
		if b[0] == hopPad1 {
			if padding++; padding > hopMostPadding {
				return false
			}
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return false
		}
		kind, at, o := b[0], whole-len(b), b[2:2+int(b[1])]
		b = b[2+len(o):]
		if kind == hopPadN {
			if padding += 2 + len(o); padding > hopMostPadding || !allZero(o) {
				return false
			}
			continue
		}
		padding = 0
		if options++; options > hopMostOptions {
			return false
		}
		switch {
		case kind>>6 != 0, kind == hopCALIPSO: // 00 means: pass over it
			return false
		case kind == hopRouterAlert && len(o) != 2, kind == hopIOAM && at%4 != 0:
			return false
		}
	}
	return true
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
