package classifier

import (
	"encoding/binary"
	"slices"

	"sluice/vnic/frame"
)

// ServiceRange is a range of service numbers. What a rule's service can tell apart is one number of 24 bits: the IP
// protocol, and below it the destination port of TCP and UDP, or type and code of ICMP and ICMPv6. So a service is a
// set of ranges, and `any` is all numbers.
type ServiceRange struct{ Lo, Hi uint32 }

// ServiceSet is sorted ranges that neither overlap nor touch.
type ServiceSet []ServiceRange

// LastService is the highest service number.
const LastService = 1<<24 - 1

// AnyService is every service.
var AnyService = ServiceSet{{0, LastService}}

// IsAny says whether a set is every service.
func (s ServiceSet) IsAny() bool { return len(s) == 1 && s[0] == AnyService[0] }

// ServiceNumber is the number of a packet's service.
func ServiceNumber(proto uint8, port uint16, icmpType, icmpCode uint8) uint32 {
	switch proto {
	case frame.ProtoTCP, frame.ProtoUDP:
		return uint32(proto)<<16 | uint32(port)
	case frame.ProtoICMP, frame.ProtoICMPv6:
		return uint32(proto)<<16 | uint32(icmpType)<<8 | uint32(icmpCode)
	}
	return uint32(proto) << 16
}

// ProtoRange is all services of an IP protocol.
func ProtoRange(proto uint8) ServiceRange {
	return ServiceRange{uint32(proto) << 16, uint32(proto)<<16 | 0xffff}
}

// PortRange is some destination ports of TCP or UDP.
func PortRange(proto uint8, lo, hi uint16) ServiceRange {
	return ServiceRange{uint32(proto)<<16 | uint32(lo), uint32(proto)<<16 | uint32(hi)}
}

// TypeRange is all codes of a type of ICMP or ICMPv6.
func TypeRange(proto, icmpType uint8) ServiceRange {
	n := uint32(proto)<<16 | uint32(icmpType)<<8
	return ServiceRange{n, n | 0xff}
}

// Normal sorts and joins ranges.
func (s ServiceSet) Normal() ServiceSet {
	s = slices.Clone(s)
	slices.SortFunc(s, func(a, b ServiceRange) int { return int(a.Lo) - int(b.Lo) })
	out := s[:0]
	for _, r := range s {
		if n := len(out); n > 0 && r.Lo <= out[n-1].Hi+1 {
			out[n-1].Hi = max(out[n-1].Hi, r.Hi)
			continue
		}
		out = append(out, r)
	}
	return slices.Clip(out)
}

// Contains says whether a service is in a set.
func (s ServiceSet) Contains(n uint32) bool {
	i, found := slices.BinarySearchFunc(s, n, func(r ServiceRange, n uint32) int { return int(r.Lo) - int(n) })
	return found || i > 0 && n <= s[i-1].Hi
}

// Covers says whether every service of t is in s, each range of t in one of s.
func (s ServiceSet) Covers(t ServiceSet) bool {
	if same(s, t) {
		return true
	}
	for _, r := range t {
		if !slices.ContainsFunc(s, func(c ServiceRange) bool { return c.Lo <= r.Lo && r.Hi <= c.Hi }) {
			return false
		}
	}
	return true
}

// Both is what two sets have in common.
func (s ServiceSet) Both(t ServiceSet) (out ServiceSet) {
	for i, j := 0, 0; i < len(s) && j < len(t); {
		if r := (ServiceRange{max(s[i].Lo, t[j].Lo), min(s[i].Hi, t[j].Hi)}); r.Lo <= r.Hi {
			out = append(out, r)
		}
		if s[i].Hi < t[j].Hi {
			i++
		} else {
			j++
		}
	}
	return out
}

// Overlaps says whether two sets have a service in common.
func (s ServiceSet) Overlaps(t ServiceSet) bool {
	if same(s, t) {
		return len(s) > 0
	}
	for i, j := 0, 0; i < len(s) && j < len(t); {
		switch {
		case s[i].Hi < t[j].Lo:
			i++
		case t[j].Hi < s[i].Lo:
			j++
		default:
			return true
		}
	}
	return false
}

func (s ServiceSet) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	for _, r := range s {
		b = binary.BigEndian.AppendUint64(b, uint64(r.Lo)<<32|uint64(r.Hi))
	}
	return b
}
