package firewall

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"sluice/vnic/frame"
)

// addrRange is all addresses from lo to hi, both included. IPv4 is mapped into IPv6 (frame.Addr), so that one order and
// one set of functions serves both families.
type addrRange struct{ lo, hi frame.Addr }

// addrSet is a set of addresses: sorted ranges that neither overlap nor touch.
type addrSet []addrRange

// anyAddr is every address of both families.
var anyAddr = addrSet{{hi: frame.Addr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}}

func (s addrSet) isAny() bool { return len(s) == 1 && s[0] == anyAddr[0] }

func oneAddr(a netip.Addr) addrRange { return addrRange{frame.AddrFrom(a), frame.AddrFrom(a)} }

// prefixSet is the addresses below a prefix. IPv4 lies within the space of IPv6, but not within its prefixes.
func prefixSet(p netip.Prefix) addrSet {
	r := prefixRange(p.Masked().Addr(), p.Bits())
	if p.Addr().Is4() || compareAddr(r.lo, allIPv4.lo) > 0 || compareAddr(r.hi, allIPv4.hi) < 0 {
		return addrSet{r}
	}
	return addrSet{{r.lo, before(allIPv4.lo)}, {after(allIPv4.hi), r.hi}}
}

var allIPv4 = prefixRange(netip.IPv4Unspecified(), 0)

// allIPv6 is the rest of the addresses.
var allIPv6 = addrSet{{frame.Addr{}, before(allIPv4.lo)}, {after(allIPv4.hi), anyAddr[0].hi}}

func prefixRange(a netip.Addr, bits int) addrRange {
	if a.Is4() {
		bits += 96
	}
	r := addrRange{frame.AddrFrom(a), frame.AddrFrom(a)}
	for i := bits; i < 128; i++ {
		r.hi[i/8] |= 0x80 >> (i % 8)
	}
	return r
}

func compareAddr(a, b frame.Addr) int { return bytes.Compare(a[:], b[:]) }

// normal sorts and joins ranges.
func (s addrSet) normal() addrSet {
	s = slices.Clone(s)
	slices.SortFunc(s, func(a, b addrRange) int { return compareAddr(a.lo, b.lo) })
	out := s[:0]
	for _, r := range s {
		if n := len(out); n > 0 && touches(out[n-1], r) {
			if compareAddr(r.hi, out[n-1].hi) > 0 {
				out[n-1].hi = r.hi
			}
			continue
		}
		out = append(out, r)
	}
	return slices.Clip(out)
}

// touches says whether b, which does not begin before a, overlaps a or follows it at once.
func touches(a, b addrRange) bool {
	return compareAddr(b.lo, a.hi) <= 0 || after(a.hi) == b.lo
}

// after is the next address; after the last one comes the first.
func after(a frame.Addr) frame.Addr {
	for i := len(a) - 1; i >= 0; i-- {
		a[i]++
		if a[i] != 0 {
			break
		}
	}
	return a
}

// before is the previous address.
func before(a frame.Addr) frame.Addr {
	for i := len(a) - 1; i >= 0; i-- {
		a[i]--
		if a[i] != 0xff {
			break
		}
	}
	return a
}

func (s addrSet) contains(a frame.Addr) bool {
	i, found := slices.BinarySearchFunc(s, a, func(r addrRange, a frame.Addr) int { return compareAddr(r.lo, a) })
	return found || i > 0 && compareAddr(a, s[i-1].hi) <= 0
}

// covers says whether every address of t is in s.
func (s addrSet) covers(t addrSet) bool {
	if same(s, t) {
		return true
	}
	i := 0
	for _, r := range t {
		for i < len(s) && compareAddr(s[i].hi, r.lo) < 0 {
			i++
		}
		if i == len(s) || compareAddr(s[i].lo, r.lo) > 0 || compareAddr(s[i].hi, r.hi) < 0 {
			return false
		}
	}
	return true
}

// few is the first two ranges that a set has in common with each of some ranges.
func (s addrSet) few(of addrSet) (out addrSet) {
	for _, f := range of {
		i, _ := slices.BinarySearchFunc(s, f.lo, func(r addrRange, a frame.Addr) int { return compareAddr(r.hi, a) })
		out = append(out, s[i:min(i+2, len(s))].both(addrSet{f})...)
	}
	return out
}

// both is what two sets have in common.
func (s addrSet) both(t addrSet) (out addrSet) {
	if same(s, t) || t.isAny() {
		return s
	}
	for i, j := 0, 0; i < len(s) && j < len(t); {
		r := addrRange{s[i].lo, s[i].hi}
		if compareAddr(t[j].lo, r.lo) > 0 {
			r.lo = t[j].lo
		}
		if compareAddr(t[j].hi, r.hi) < 0 {
			r.hi = t[j].hi
		}
		if compareAddr(r.lo, r.hi) <= 0 {
			out = append(out, r)
		}
		if compareAddr(s[i].hi, t[j].hi) < 0 {
			i++
		} else {
			j++
		}
	}
	return out
}

// key makes equal sets equal strings.
func (s addrSet) key() string {
	b := make([]byte, 0, len(s)*32)
	for _, r := range s {
		b = append(append(b, r.lo[:]...), r.hi[:]...)
	}
	return string(b)
}

func isIPv4(a *frame.Addr) bool {
	high, low := words(a)
	return high == 0 && low>>32 == 0xffff
}

// words is an address as two numbers, which compare as the address does.
func words(a *frame.Addr) (high, low uint64) {
	return binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])
}
