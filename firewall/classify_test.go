package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sluice/vnic/frame"
)

// linear is what the classifier must equal: the first rule that matches, by looking at each.
func linear(rules []Rule, pt Point, src, dst frame.Addr, service, more uint32) uint32 {
	for i := range rules {
		r := &rules[i]
		on := r.ports == nil
		for _, p := range r.ports {
			on = on || p == pt.Port
		}
		if on && r.dirs&(1<<pt.Dir) != 0 && r.from.contains(src) && r.to.contains(dst) && r.matches(service, more) {
			return uint32(i)
		}
	}
	return noRule
}

// addrGen draws addresses that are close to each other, so that sets meet at their edges.
func addrGen() *rapid.Generator[netip.Addr] {
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

func setGen() *rapid.Generator[addrSet] {
	return rapid.Custom(func(t *rapid.T) addrSet {
		if rapid.IntRange(0, 4).Draw(t, "any") == 0 {
			return anyAddr
		}
		var s addrSet
		for range rapid.IntRange(1, 3).Draw(t, "prefixes") {
			a := addrGen().Draw(t, "address")
			bits := rapid.SampledFrom([]int{0, 1, 7, 8, 9, 16, 23, 24, 26, 31, 32, 64, 127, 128}).Draw(t, "bits")
			s = append(s, prefixSet(netip.PrefixFrom(a, min(bits, a.BitLen())))...)
		}
		return s.normal()
	})
}

func serviceGen() *rapid.Generator[uint32] {
	return rapid.Custom(func(t *rapid.T) uint32 {
		proto := rapid.SampledFrom([]uint8{0, 1, 6, 17, 58, 132, 255}).Draw(t, "proto")
		low := rapid.SampledFrom([]uint32{0, 1, 79, 80, 81, 0x7fff, 0x8000, 0xffff}).Draw(t, "low")
		return uint32(proto)<<16 | low
	})
}

func ruleGen() *rapid.Generator[Rule] {
	return rapid.Custom(func(t *rapid.T) Rule {
		r := Rule{from: setGen().Draw(t, "from"), to: setGen().Draw(t, "to"), svc: anyService, dirs: uint8(rapid.IntRange(1, 3).Draw(t, "dirs"))}
		if rapid.Bool().Draw(t, "service") {
			r.svc = nil
			for range rapid.IntRange(1, 3).Draw(t, "ranges") {
				a, b := serviceGen().Draw(t, "a"), serviceGen().Draw(t, "b")
				r.svc = append(r.svc, svcRange{min(a, b), max(a, b)})
			}
			r.svc = r.svc.normal()
		}
		if rapid.IntRange(0, 2).Draw(t, "conditional") == 0 {
			r.parts = partsGen().Draw(t, "parts")
			r.svc = nil
			for _, p := range r.parts {
				r.svc = append(r.svc, p.svc...)
			}
			r.svc = r.svc.normal()
		}
		if rapid.IntRange(0, 3).Draw(t, "scoped") == 0 {
			r.ports = rapid.SliceOfNDistinct(rapid.SampledFrom([]frame.PortID{1, 2, 3, 4}), 0, 3, rapid.ID).Draw(t, "ports")
			slices.Sort(r.ports) // as the loader leaves them: ports are searched by halves
		}
		return r
	})
}

// morePorts are source ports at which conditions begin and end.
var morePorts = []uint32{0, 1, 1023, 1024, 0xffff}

func partsGen() *rapid.Generator[[]part] {
	return rapid.Custom(func(t *rapid.T) (out []part) {
		for range rapid.IntRange(1, 2).Draw(t, "parts") {
			var p part
			for range rapid.IntRange(1, 3).Draw(t, "ranges") {
				a, b := serviceGen().Draw(t, "a"), serviceGen().Draw(t, "b")
				p.svc = append(p.svc, svcRange{min(a, b), max(a, b)})
			}
			p.svc = p.svc.normal()
			for range rapid.IntRange(0, 2).Draw(t, "from") {
				a, b := rapid.SampledFrom(morePorts).Draw(t, "a"), rapid.SampledFrom(morePorts).Draw(t, "b")
				p.from = append(p.from, svcRange{min(a, b), max(a, b)})
			}
			if p.from != nil {
				p.from = p.from.normal()
			}
			p.mask = rapid.SampledFrom([]uint8{0, 0, 2, 0x12, 0x3f, 0xff}).Draw(t, "mask")
			p.flags = p.mask & rapid.SampledFrom([]uint8{0, 2, 0x10, 0x12, 0xff}).Draw(t, "flags")
			out = append(out, p)
		}
		return out
	})
}

func TestClassifierEqualsLinear(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.SliceOfN(ruleGen(), 0, 30).Draw(t, "rules")
		c := newClassifier(rules, rapid.SampledFrom([]uint32{0, 1, 2, fewCells}).Draw(t, "few"), rapid.SampledFrom([]uint32{2, 4, manyRanges}).Draw(t, "many"))
		for range 50 {
			pt := Point{frame.PortID(rapid.IntRange(0, 5).Draw(t, "port")), Dir(rapid.IntRange(0, 1).Draw(t, "dir"))}
			src, dst := frame.AddrFrom(addrGen().Draw(t, "src")), frame.AddrFrom(addrGen().Draw(t, "dst"))
			service := serviceGen().Draw(t, "service")
			more := rapid.SampledFrom(morePorts).Draw(t, "port")<<8 | uint32(rapid.SampledFrom([]uint8{0, 2, 0x10, 0x12, 0x18, 0x29, 0xc2}).Draw(t, "flags"))
			if got, want := c.find(pt, &src, &dst, service, more), linear(rules, pt, src, dst, service, more); got != want {
				t.Fatalf("%v %v > %v service %#x %#x: rule %d, linear says %d", pt, src.IP(), dst.IP(), service, more, int32(got), int32(want))
			}
		}
	})
}

func TestPrefixSet(t *testing.T) {
	for _, c := range []struct {
		prefix  string
		in, out string
	}{
		{"::/0", "fd00::1", "10.0.0.1"},
		{"0.0.0.0/0", "10.0.0.1", "::1"},
		{"::/1", "::fffe:ffff:ffff", "0.0.0.0"},
		{"fd00::/8", "fdff::", "fe00::"},
		{"10.0.0.0/31", "10.0.0.1", "10.0.0.2"},
	} {
		s := prefixSet(netip.MustParsePrefix(c.prefix))
		if !s.contains(frame.AddrFrom(netip.MustParseAddr(c.in))) || s.contains(frame.AddrFrom(netip.MustParseAddr(c.out))) {
			t.Errorf("%s is %v", c.prefix, fmt.Sprint(s))
		}
	}
}
