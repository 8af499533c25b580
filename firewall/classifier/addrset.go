package classifier

import (
	"net/netip"
	"slices"

	"sluice/vnic/frame"
)

// AddrRange is all addresses from Lo to Hi, both included. IPv4 is mapped into IPv6 (frame.Addr), so that one order and
// one set of functions serves both families.
type AddrRange struct{ Lo, Hi frame.Addr }

// AddrSet is a set of addresses: sorted ranges that neither overlap nor touch.
type AddrSet []AddrRange

// AnyAddr is every address of both families.
var AnyAddr = AddrSet{{Hi: frame.Addr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}}

// IsAny says whether a set is every address.
func (s AddrSet) IsAny() bool { return len(s) == 1 && s[0] == AnyAddr[0] }

// OneAddr is one address.
func OneAddr(a netip.Addr) AddrRange { return AddrRange{frame.AddrFrom(a), frame.AddrFrom(a)} }

// PrefixSet is the addresses below a prefix. IPv4 lies within the space of IPv6, but not within its prefixes.
func PrefixSet(p netip.Prefix) AddrSet {
	r := prefixRange(p.Masked().Addr(), p.Bits())
	if p.Addr().Is4() || r.Lo.Compare(AllIPv4.Lo) > 0 || r.Hi.Compare(AllIPv4.Hi) < 0 {
		return AddrSet{r}
	}
	return AddrSet{{r.Lo, AllIPv4.Lo.Prev()}, {AllIPv4.Hi.Next(), r.Hi}}
}

// AllIPv4 is every address of IPv4.
var AllIPv4 = prefixRange(netip.IPv4Unspecified(), 0)

// AllIPv6 is every other address.
var AllIPv6 = AddrSet{{frame.Addr{}, AllIPv4.Lo.Prev()}, {AllIPv4.Hi.Next(), AnyAddr[0].Hi}}

func prefixRange(a netip.Addr, bits int) AddrRange {
	if a.Is4() {
		bits += 96
	}
	r := AddrRange{frame.AddrFrom(a), frame.AddrFrom(a)}
	for i := bits; i < 128; i++ {
		r.Hi[i/8] |= 0x80 >> (i % 8)
	}
	return r
}

// Normal sorts and joins ranges.
func (s AddrSet) Normal() AddrSet {
	s = slices.Clone(s)
	slices.SortFunc(s, func(a, b AddrRange) int { return a.Lo.Compare(b.Lo) })
	out := s[:0]
	for _, r := range s {
		if n := len(out); n > 0 && touches(out[n-1], r) {
			if r.Hi.Compare(out[n-1].Hi) > 0 {
				out[n-1].Hi = r.Hi
			}
			continue
		}
		out = append(out, r)
	}
	return slices.Clip(out)
}

// touches says whether b, which does not begin before a, overlaps a or follows it at once.
func touches(a, b AddrRange) bool {
	return b.Lo.Compare(a.Hi) <= 0 || a.Hi.Next() == b.Lo
}

// Contains says whether an address is in a set.
func (s AddrSet) Contains(a frame.Addr) bool {
	i, found := slices.BinarySearchFunc(s, a, func(r AddrRange, a frame.Addr) int { return r.Lo.Compare(a) })
	return found || i > 0 && a.Compare(s[i-1].Hi) <= 0
}

// Covers says whether every address of t is in s.
func (s AddrSet) Covers(t AddrSet) bool {
	if same(s, t) {
		return true
	}
	i := 0
	for _, r := range t {
		for i < len(s) && s[i].Hi.Compare(r.Lo) < 0 {
			i++
		}
		if i == len(s) || s[i].Lo.Compare(r.Lo) > 0 || s[i].Hi.Compare(r.Hi) < 0 {
			return false
		}
	}
	return true
}

// Both is what two sets have in common.
func (s AddrSet) Both(t AddrSet) (out AddrSet) {
	if same(s, t) || t.IsAny() {
		return s
	}
	for i, j := 0, 0; i < len(s) && j < len(t); {
		r := AddrRange{s[i].Lo, s[i].Hi}
		if t[j].Lo.Compare(r.Lo) > 0 {
			r.Lo = t[j].Lo
		}
		if t[j].Hi.Compare(r.Hi) < 0 {
			r.Hi = t[j].Hi
		}
		if r.Lo.Compare(r.Hi) <= 0 {
			out = append(out, r)
		}
		if s[i].Hi.Compare(t[j].Hi) < 0 {
			i++
		} else {
			j++
		}
	}
	return out
}

// Key makes equal sets equal strings.
func (s AddrSet) Key() string {
	b := make([]byte, 0, len(s)*32)
	for _, r := range s {
		b = append(append(b, r.Lo[:]...), r.Hi[:]...)
	}
	return string(b)
}

// Minus is what is in a set and not in another.
func (s AddrSet) Minus(t AddrSet) (out AddrSet) {
	j := 0
	for _, r := range s {
		for j < len(t) && t[j].Hi.Compare(r.Lo) < 0 {
			j++
		}
		ends := false
		for i := j; i < len(t) && t[i].Lo.Compare(r.Hi) <= 0; i++ {
			if r.Lo.Compare(t[i].Lo) < 0 {
				out = append(out, AddrRange{r.Lo, t[i].Lo.Prev()})
			}
			if ends = t[i].Hi.Compare(r.Hi) >= 0; ends {
				break
			}
			r.Lo = t[i].Hi.Next()
		}
		if !ends {
			out = append(out, r)
		}
	}
	return out
}

// Overlaps says whether two sets have an address in common.
func (s AddrSet) Overlaps(t AddrSet) bool {
	if same(s, t) {
		return len(s) > 0
	}
	for i, j := 0, 0; i < len(s) && j < len(t); {
		switch {
		case s[i].Hi.Compare(t[j].Lo) < 0:
			i++
		case t[j].Hi.Compare(s[i].Lo) < 0:
			j++
		default:
			return true
		}
	}
	return false
}
