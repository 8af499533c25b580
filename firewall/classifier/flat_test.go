package classifier_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sluice/firewall/classifier"
	"sluice/firewall/classifier/draw"
	"sluice/firewall/flat"
	"sluice/vnic/frame"
)

// asked is a packet at an insertion point.
type asked struct {
	port     frame.PortID
	dir      uint8
	src, dst frame.Addr
	service  uint32
	more     uint32
}

func (a *asked) find(c *classifier.Classifier) uint32 { return c.Find(a.port, a.dir, a.packet()) }

func (a *asked) packet() classifier.Packet {
	return classifier.Packet{Src: &a.src, Dst: &a.dst, Service: a.service, More: a.more}
}

func randomAsked(r *rand.Rand, edges []frame.Addr) asked {
	low := []uint32{0, 1, 79, 80, 81, 0x7fff, 0x8000, 0xffff}
	return asked{
		port: frame.PortID(r.IntN(6)), dir: uint8(r.IntN(2)), src: edges[r.IntN(len(edges))], dst: edges[r.IntN(len(edges))],
		service: []uint32{0, 1, 6, 17, 58, 132, 255}[r.IntN(7)]<<16 | low[r.IntN(len(low))],
		more:    draw.Ports[r.IntN(len(draw.Ports))]<<8 | uint32(r.IntN(256)),
	}
}

// copied are the same bytes elsewhere.
func copied(b []byte) []byte {
	c := flat.New(len(b))
	copy(c, b)
	return c
}

// TestReadFindsTheSame: a classifier that is read back from its bytes finds the rule that it found before, and that
// looking at each rule finds: for 1,000 packets of each of a hundred drawn lists of rules.
func TestReadFindsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.SliceOfN(rapid.Ptr(draw.Match(), false), 0, 30).Draw(t, "rules")
		edges := edgesOf(rules)
		few := rapid.SampledFrom([]uint32{0, 1, classifier.FewCells}).Draw(t, "few")
		c := classifier.Build(rules, few, rapid.SampledFrom([]uint32{2, classifier.ManyRanges}).Draw(t, "many"))
		back, err := classifier.Read(copied(c.Flat()))
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for range 1000 {
			a := randomAsked(r, edges)
			want := slices.IndexFunc(rules, func(m *classifier.Match) bool { return m.Matches(a.port, a.dir, a.packet()) })
			if was, is := a.find(c), a.find(back); int(int32(was)) != want || is != was {
				t.Fatalf("%+v: rule %d, read back %d; looking finds %d", a, int32(was), int32(is), want)
			}
		}
	})
}

// TestSameRulesSameBytes: what the bytes are follows from the rules alone, not from where these lie, nor from the order
// in which a map gives its keys.
func TestSameRulesSameBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.SliceOfN(rapid.Ptr(draw.Match(), false), 0, 30).Draw(t, "rules")
		again := make([]*classifier.Match, len(rules))
		for i, m := range rules {
			again[i] = &classifier.Match{
				From: slices.Clone(m.From), To: slices.Clone(m.To), Services: slices.Clone(m.Services), Parts: slices.Clone(m.Parts),
				Dirs: m.Dirs, Ports: slices.Clone(m.Ports),
			}
		}
		if !bytes.Equal(classifier.New(rules).Flat(), classifier.New(again).Flat()) {
			t.Fatal("the bytes differ")
		}
	})
}

// TestBounds: what the bounds say is reached.
func TestBounds(t *testing.T) {
	var rules []*classifier.Match
	add := func(n int, change func(i int, m *classifier.Match)) {
		for i := range n {
			m := &classifier.Match{From: classifier.AnyAddr, To: classifier.AnyAddr, Services: classifier.AnyService, Dirs: 3}
			change(i, m)
			rules = append(rules, m)
		}
	}
	service := func(port int) classifier.ServiceSet {
		return classifier.ServiceSet{classifier.PortRange(frame.ProtoTCP, uint16(port), uint16(port))}
	}
	add(29, func(i int, m *classifier.Match) { // each network in the next: with any, 30 sets
		m.From = classifier.PrefixSet(prefix(10, 0, 0, 0, 30-i))
	})
	add(6, func(i int, m *classifier.Match) { m.Ports = []frame.PortID{1, frame.PortID(i + 2)} })
	add(10, func(i int, m *classifier.Match) { // with those of the ports, 16 cells of any
		m.To, m.Services = classifier.PrefixSet(prefix(10, byte(i), 0, 0, 32)), service(1)
	})
	add(20, func(i int, m *classifier.Match) { // each a range between two of what has no rule
		m.From, m.To, m.Services = classifier.PrefixSet(prefix(11, 0, 0, 0, 8)), classifier.PrefixSet(prefix(12, 0, 0, 0, 8)), service(2*i+2)
	})
	is := classifier.New(rules).Bounds()
	want := classifier.Bounds{List: 10, Scopes: 7, Cells: 16, Ranges: 41, Probe: is.Probe}
	if is != want || is.Probe < 1 {
		t.Errorf("%+v, want %+v", is, want)
	}
}

// smallRules are a few rules that have whatever there is in a flat, whose addresses lie close to each other.
func smallRules() (rules []*classifier.Match) {
	of := func(text string) classifier.AddrSet { return classifier.PrefixSet(netip.MustParsePrefix(text)) }
	several := classifier.ServiceSet{}
	for port := range uint16(6) {
		several = append(several, classifier.PortRange(frame.ProtoTCP, 1000*port, 1000*port+9))
	}
	several = append(several, classifier.PortRange(frame.ProtoUDP, 5000, 5009))
	syn := []classifier.Part{{Condition: classifier.Condition{Mask: 0x12, Flags: 2}, Services: several}}
	for i, ends := range [][2]string{
		{"10.0.0.1/32", "10.0.0.0/26"}, {"10.0.0.0/25", "10.1.128.0/17"}, {"10.0.0.0/15", "10.0.0.1/32"}, {"fd00::1/128", "fd00::/8"},
		{"fd00:1::/64", "fd00::/121"}, {"::/0", "::/0"},
	} {
		m := classifier.Match{From: of(ends[0]), To: of(ends[1]), Services: several, Dirs: 3}
		second := m
		second.Services = classifier.AnyService
		if i%2 > 0 {
			m.Parts, second.Ports = syn, []frame.PortID{1}
		}
		rules = append(rules, &m, &second)
	}
	return rules
}

func edgesOf(rules []*classifier.Match) []frame.Addr {
	edges := []frame.Addr{{}}
	for _, m := range rules {
		for _, r := range slices.Concat(m.From, m.To) {
			edges = append(edges, r.Lo, r.Hi, r.Lo.Prev(), r.Hi.Next())
		}
	}
	return edges
}

// TestFalseBounds: a flat whose head says other bounds than a walk keeps is refused, also where they are wider.
func TestFalseBounds(t *testing.T) {
	const bounds, rest = 16, 36 // where they begin in the head, and where what follows them does
	whole := classifier.New(smallRules()).Flat()
	for at := bounds; at < rest; at += 4 {
		b := copied(whole)
		b[at]++
		if _, err := classifier.Read(b); err == nil || !strings.Contains(err.Error(), "bounds") {
			t.Errorf("byte %d: %v", at, err)
		}
	}
}

// TestBrokenFlat: a flat of which one word is broken is refused, or is walked to an end. Each word is set to what leads
// far away, a little away, and to what another word says.
func TestBrokenFlat(t *testing.T) {
	rules := smallRules()
	edges, r := edgesOf(rules), rand.New(rand.NewPCG(1, 2))
	refused := 0
	for _, few := range []uint32{0, classifier.FewCells} {
		b := copied(classifier.Build(rules, few, 4).Flat())
		for at := 0; at < len(b); at += 4 {
			was := binary.NativeEndian.Uint32(b[at:])
			for _, v := range []uint32{
				0, 1, was + 1, was - 1, was ^ 1<<r.IntN(32), 1<<31 | r.Uint32(), 1<<32 - 1, r.Uint32N(64),
				binary.NativeEndian.Uint32(b[r.IntN(len(b)/4)*4:]),
			} {
				binary.NativeEndian.PutUint32(b[at:], v)
				refused += walk(t, b, r, edges)
			}
			binary.NativeEndian.PutUint32(b[at:], was)
		}
	}
	if refused < 1000 {
		t.Errorf("%d are refused: the words that lead somewhere are not among those that were broken", refused)
	}
}

// TestFullTable: a hash table without a free slot, in which a search may have no end, is refused.
func TestFullTable(t *testing.T) {
	for i, b := range classifier.Full(classifier.Build(smallRules(), 0, 4).Flat()) {
		if _, err := classifier.Read(b); err == nil || !strings.Contains(err.Error(), "no hash table") {
			t.Errorf("table %d: %v", i, err)
		}
	}
}

// walk reads a flat, as it is and with a head that fits, and asks what was read about some packets. It says how often
// the flat was refused.
func walk(t *testing.T, b []byte, r *rand.Rand, edges []frame.Addr) (refused int) {
	head := slices.Clone(b[:min(len(b), classifier.HeadSize)])
	for _, mend := range []func([]byte){func([]byte) {}, classifier.Mend} {
		mend(b)
		c, err := classifier.Read(b)
		if err != nil {
			refused++
			continue
		}
		for range 8 {
			a := randomAsked(r, edges)
			if rule := a.find(c); rule != classifier.NoRule && int(rule) >= c.Rules() {
				t.Fatalf("rule %d of %d", rule, c.Rules())
			}
		}
	}
	copy(b, head)
	return refused
}

// FuzzRead reads whatever bytes as a flat classifier.
func FuzzRead(f *testing.F) {
	rules := smallRules()
	edges := edgesOf(rules)
	f.Add(classifier.New(nil).Flat(), uint64(0))
	f.Add(classifier.New(rules[:2]).Flat(), uint64(0))
	f.Add(classifier.Build(rules[6:8], 0, 2).Flat(), uint64(1))
	f.Add(classifier.Build(rules, 0, 4).Flat(), uint64(2))
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		walk(t, copied(b), rand.New(rand.NewPCG(seed, 0)), edges)
	})
}

// TestLayout: what lies in a flat has neither pointers nor padding, and its sizes are those that C has.
func TestLayout(t *testing.T) {
	sizes := map[string]uintptr{
		"head": 268, "sideHead": 80, "host6": 24, "branch": 40, "trieNode": 88, "node": 64, "member": 16, "cell": 20, "tableCell": 24,
		"decided": 8, "Part": 8,
	}
	for _, v := range classifier.InFlat() {
		one := reflect.TypeOf(v)
		if err := flat.Unfit(one); err != nil {
			t.Error(err)
		}
		if one.Size() != sizes[one.Name()] {
			t.Errorf("%s has %d bytes, not %d", one, one.Size(), sizes[one.Name()])
		}
	}
}
