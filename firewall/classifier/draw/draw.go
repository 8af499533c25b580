// Package draw draws what rules match, for property tests: sets and services that meet at their edges. Only tests
// import it.
package draw

import (
	"net/netip"
	"slices"

	"pgregory.net/rapid"

	"sluice/firewall/classifier"
	"sluice/vnic/frame"
)

// Addr draws addresses that are close to each other, so that sets meet at their edges.
func Addr() *rapid.Generator[netip.Addr] {
	return rapid.Custom(func(t *rapid.T) netip.Addr {
		b := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 127, 128, 254, 255}), 4, 4).Draw(t, "bytes")
		if rapid.Bool().Draw(t, "v4") {
			if rapid.Bool().Draw(t, "near") {
				b[0], b[1] = 127, 128 // half of them in one half
			}
			return netip.AddrFrom4([4]byte(b))
		}
		a := [16]byte{0xfd, 15: b[3]}
		a[1], a[7], a[8] = b[0], b[1], b[2]
		return netip.AddrFrom16(a)
	})
}

// Set draws sets of addresses.
func Set() *rapid.Generator[classifier.AddrSet] {
	return rapid.Custom(func(t *rapid.T) classifier.AddrSet {
		if rapid.IntRange(0, 4).Draw(t, "any") == 0 {
			return classifier.AnyAddr
		}
		var s classifier.AddrSet
		for range rapid.IntRange(1, 3).Draw(t, "prefixes") {
			a := Addr().Draw(t, "address")
			bits := rapid.SampledFrom([]int{0, 1, 7, 8, 9, 16, 23, 24, 26, 31, 32, 64, 127, 128}).Draw(t, "bits")
			s = append(s, classifier.PrefixSet(netip.PrefixFrom(a, min(bits, a.BitLen())))...)
		}
		return s.Normal()
	})
}

// Service draws the numbers of services.
func Service() *rapid.Generator[uint32] {
	return rapid.Custom(func(t *rapid.T) uint32 {
		proto := rapid.SampledFrom([]uint8{0, 1, 6, 17, 58, 132, 255}).Draw(t, "proto")
		low := rapid.SampledFrom([]uint32{0, 1, 79, 80, 81, 0x7fff, 0x8000, 0xffff}).Draw(t, "low")
		return uint32(proto)<<16 | low
	})
}

// Match draws what a rule matches.
func Match() *rapid.Generator[classifier.Match] {
	return rapid.Custom(func(t *rapid.T) classifier.Match {
		m := classifier.Match{
			From: Set().Draw(t, "from"), To: Set().Draw(t, "to"), Services: classifier.AnyService,
			Dirs: uint8(rapid.IntRange(1, 3).Draw(t, "dirs")),
		}
		if rapid.Bool().Draw(t, "service") {
			m.Services = nil
			for range rapid.IntRange(1, 3).Draw(t, "ranges") {
				a, b := Service().Draw(t, "a"), Service().Draw(t, "b")
				m.Services = append(m.Services, classifier.ServiceRange{Lo: min(a, b), Hi: max(a, b)})
			}
			m.Services = m.Services.Normal()
		}
		if rapid.IntRange(0, 2).Draw(t, "conditional") == 0 {
			m.Parts = parts().Draw(t, "parts")
			m.Services = nil
			for _, p := range m.Parts {
				m.Services = append(m.Services, p.Services...)
			}
			m.Services = m.Services.Normal()
		}
		if rapid.IntRange(0, 3).Draw(t, "scoped") == 0 {
			m.Ports = rapid.SliceOfNDistinct(rapid.SampledFrom([]frame.PortID{1, 2, 3, 4}), 0, 3, rapid.ID).Draw(t, "ports")
			slices.Sort(m.Ports) // as the loader leaves them: ports are searched by halves
		}
		return m
	})
}

// Ports are source ports at which conditions begin and end.
var Ports = []uint32{0, 1, 1023, 1024, 0xffff}

func parts() *rapid.Generator[[]classifier.Part] {
	return rapid.Custom(func(t *rapid.T) (out []classifier.Part) {
		for range rapid.IntRange(1, 2).Draw(t, "parts") {
			var p classifier.Part
			for range rapid.IntRange(1, 3).Draw(t, "ranges") {
				a, b := Service().Draw(t, "a"), Service().Draw(t, "b")
				p.Services = append(p.Services, classifier.ServiceRange{Lo: min(a, b), Hi: max(a, b)})
			}
			p.Services = p.Services.Normal()
			for range rapid.IntRange(0, 2).Draw(t, "from") {
				a, b := rapid.SampledFrom(Ports).Draw(t, "a"), rapid.SampledFrom(Ports).Draw(t, "b")
				p.From = append(p.From, classifier.ServiceRange{Lo: min(a, b), Hi: max(a, b)})
			}
			if p.From != nil {
				p.From = p.From.Normal()
			}
			p.Mask = rapid.SampledFrom([]uint8{0, 0, 2, 0x12, 0x3f, 0xff}).Draw(t, "mask")
			p.Flags = p.Mask & rapid.SampledFrom([]uint8{0, 2, 0x10, 0x12, 0xff}).Draw(t, "flags")
			out = append(out, p)
		}
		return out
	})
}
