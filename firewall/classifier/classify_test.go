package classifier_test

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"sluice/firewall/classifier"
	"sluice/firewall/classifier/draw"
	"sluice/vnic/frame"
)

// TestFindEqualsLooking: the classifier finds the first rule that matches, as looking at each does.
func TestFindEqualsLooking(t *testing.T) {
	flags := []uint32{0, 2, 0x10, 0x12, 0x18, 0x29, 0xc2}
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.SliceOfN(rapid.Ptr(draw.Match(), false), 0, 30).Draw(t, "rules")
		few := rapid.SampledFrom([]uint32{0, 1, 2, classifier.FewCells}).Draw(t, "few")
		c := classifier.Build(rules, few, rapid.SampledFrom([]uint32{2, 4, classifier.ManyRanges}).Draw(t, "many"))
		for range 50 {
			port, dir := frame.PortID(rapid.IntRange(0, 5).Draw(t, "port")), uint8(rapid.IntRange(0, 1).Draw(t, "dir"))
			src, dst := frame.AddrFrom(draw.Addr().Draw(t, "src")), frame.AddrFrom(draw.Addr().Draw(t, "dst"))
			p := classifier.Packet{
				Src: &src, Dst: &dst, Service: draw.Service().Draw(t, "service"),
				More: rapid.SampledFrom(draw.Ports).Draw(t, "from")<<8 | rapid.SampledFrom(flags).Draw(t, "flags"),
			}
			want := slices.IndexFunc(rules, func(m *classifier.Match) bool { return m.Matches(port, dir, p) })
			if got := int32(c.Find(port, dir, p)); int(got) != want {
				const differ = "at port %d, direction %d, %v > %v service %#x %#x: rule %d; looking finds %d"
				t.Fatalf(differ, port, dir, p.Src.IP(), p.Dst.IP(), p.Service, p.More, got, want)
			}
		}
	})
}

func prefix(a, b, c, d byte, bits int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{a, b, c, d}), bits).Masked()
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
		s := classifier.PrefixSet(netip.MustParsePrefix(c.prefix))
		if !s.Contains(frame.AddrFrom(netip.MustParseAddr(c.in))) || s.Contains(frame.AddrFrom(netip.MustParseAddr(c.out))) {
			t.Errorf("%s is %v", c.prefix, s)
		}
	}
}

func TestMinus(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw.Set().Draw(t, "a"), draw.Set().Draw(t, "b")
		left := a.Minus(b)
		if !slices.Equal(left, left.Normal()) || len(left.Both(b)) > 0 || !slices.Equal(append(left.Both(a), a.Both(b)...).Normal(), a) {
			t.Fatalf("%v minus %v is %v", a, b, left)
		}
	})
}
