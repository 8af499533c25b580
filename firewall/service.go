package firewall

import (
	"slices"
	"strconv"

	"sluice/vnic/frame"
)

// svcRange is a range of service numbers. What a rule's service can tell apart is one number of 24 bits: the IP
// protocol, and below it the destination port of TCP and UDP, or type and code of ICMP and ICMPv6. So a service is a
// set of ranges, and `any` is all numbers.
type svcRange struct{ lo, hi uint32 }

// svcSet is sorted ranges that neither overlap nor touch.
type svcSet []svcRange

const lastService = 1<<24 - 1

var anyService = svcSet{{0, lastService}}

func (s svcSet) isAny() bool { return len(s) == 1 && s[0] == anyService[0] }

func serviceNumber(proto uint8, port uint16, icmpType, icmpCode uint8) uint32 {
	switch proto {
	case frame.ProtoTCP, frame.ProtoUDP:
		return uint32(proto)<<16 | uint32(port)
	case frame.ProtoICMP, frame.ProtoICMPv6:
		return uint32(proto)<<16 | uint32(icmpType)<<8 | uint32(icmpCode)
	}
	return uint32(proto) << 16
}

func protoRange(proto uint8) svcRange {
	return svcRange{uint32(proto) << 16, uint32(proto)<<16 | 0xffff}
}

func portRange(proto uint8, lo, hi uint16) svcRange {
	return svcRange{uint32(proto)<<16 | uint32(lo), uint32(proto)<<16 | uint32(hi)}
}

func typeRange(proto, icmpType uint8) svcRange {
	n := uint32(proto)<<16 | uint32(icmpType)<<8
	return svcRange{n, n | 0xff}
}

func (s svcSet) normal() svcSet {
	s = slices.Clone(s)
	slices.SortFunc(s, func(a, b svcRange) int { return int(a.lo) - int(b.lo) })
	out := s[:0]
	for _, r := range s {
		if n := len(out); n > 0 && r.lo <= out[n-1].hi+1 {
			out[n-1].hi = max(out[n-1].hi, r.hi)
			continue
		}
		out = append(out, r)
	}
	return slices.Clip(out)
}

func (s svcSet) contains(n uint32) bool {
	i, found := slices.BinarySearchFunc(s, n, func(r svcRange, n uint32) int { return int(r.lo) - int(n) })
	return found || i > 0 && n <= s[i-1].hi
}

func (s svcSet) covers(t svcSet) bool {
	if same(s, t) {
		return true
	}
	for _, r := range t {
		if !slices.ContainsFunc(s, func(c svcRange) bool { return c.lo <= r.lo && r.hi <= c.hi }) {
			return false
		}
	}
	return true
}

// both is what two sets have in common.
func (s svcSet) both(t svcSet) (out svcSet) {
	for i, j := 0, 0; i < len(s) && j < len(t); {
		if r := (svcRange{max(s[i].lo, t[j].lo), min(s[i].hi, t[j].hi)}); r.lo <= r.hi {
			out = append(out, r)
		}
		if s[i].hi < t[j].hi {
			i++
		} else {
			j++
		}
	}
	return out
}

// protoNames are the protocols that a policy may name besides those with keys of their own (IANA, protocol numbers).
// Those of them that have ports (sctp, dccp, udplite) are named as a whole.
var protoNames = map[string]uint8{
	"icmp": frame.ProtoICMP, "igmp": 2, "ipip": 4, "tcp": frame.ProtoTCP, "udp": frame.ProtoUDP, "dccp": 33, "ipv6": 41, "rsvp": 46,
	"gre": 47, "esp": 50, "ah": 51, "icmpv6": frame.ProtoICMPv6, "eigrp": 88, "ospf": 89, "pim": 103, "ipcomp": 108, "vrrp": 112,
	"l2tp": 115, "sctp": 132, "udplite": 136,
}

// serviceName is how a flow's service is shown to people.
func serviceName(proto uint8, port uint16) string {
	switch proto {
	case frame.ProtoTCP:
		return "tcp/" + strconv.Itoa(int(port))
	case frame.ProtoUDP:
		return "udp/" + strconv.Itoa(int(port))
	case frame.ProtoICMP:
		return "icmp echo"
	case frame.ProtoICMPv6:
		return "icmpv6 echo"
	}
	return protoName(proto)
}

// protoName is how a protocol is called: by its number where a policy has no name for it.
func protoName(proto uint8) string {
	for name, number := range protoNames {
		if number == proto {
			return name
		}
	}
	return "protocol " + strconv.Itoa(int(proto))
}
