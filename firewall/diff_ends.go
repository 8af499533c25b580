package firewall

import (
	"encoding/binary"
	"slices"
	"unsafe"

	"sluice/vnic/frame"
)

// endClass is addresses at one end of a flow that no rule tells apart, at one vNIC.
type endClass struct {
	addr  frame.Addr   // one of them
	other frame.Addr   // another one, or the same
	port  frame.PortID // 0 is no vNIC
	rules []uint32     // those that match it, in order, as indices of a list
	has   []uint64     // the same, a bit for each
}

// both lists the rules that match two ends.
func (e *endClass) both(o *endClass) (match []uint32) {
	if len(e.rules) > len(o.rules) {
		e, o = o, e
	}
	for _, i := range e.rules {
		if o.has[i/64]&(1<<(i%64)) != 0 {
			match = append(match, i)
		}
	}
	return match
}

// apart gives addresses of two classes that are not the same; ok is false where there are none, and they are.
func (e *endClass) apart(o *endClass) (from, to frame.Addr, ok bool) {
	switch from, to = e.addr, o.addr; {
	case from != to:
	case o.other != o.addr:
		to = o.other
	case e.other != e.addr:
		from = e.other
	default:
		return from, to, false
	}
	return from, to, true
}

// other gives another address of a range; the same where it is the only one.
func (r addrRange) other(a frame.Addr) frame.Addr {
	if a == r.hi {
		return r.lo
	}
	return r.hi
}

func (e *endClass) poor() (n int) {
	if e.port == 0 {
		n += 2
	}
	if !isIPv4(&e.addr) {
		n++
	}
	return n
}

// addrSpan is some addresses between two cuts, and the rules that match them all.
type addrSpan struct {
	addrRange
	rules []uint32
}

// ends gives the classes of one end of a flow within a set: of gives for each rule the set that it has at this end.
func (d *differ) ends(within addrSet, rules []*Rule, of func(*Rule) addrSet) []endClass {
	spans := d.spans(within, rules, of)
	byKey := map[string]int{}
	var classes []endClass
	rank := map[int]int{} // by class: how good an example its address is
	for i := range spans {
		s := &spans[i]
		if d.left -= 1 + len(s.rules); d.left < 0 {
			return nil
		}
		if !within.contains(s.lo) {
			continue
		}
		owner := d.a.PortOf(s.lo.IP())
		key := binary.BigEndian.AppendUint16(nil, uint16(owner))
		key = append(key, boolByte(isIPv4(&s.lo)))
		for _, r := range s.rules {
			key = binary.BigEndian.AppendUint32(key, r)
		}
		example, how := d.example(s.addrRange)
		c, known := byKey[string(key)]
		if !known {
			c = len(classes)
			byKey[string(key)] = c
			classes = append(classes, endClass{port: owner, rules: s.rules, has: bitsOf(s.rules, len(rules))})
		}
		e := &classes[c]
		switch {
		case !known:
			e.addr, e.other, rank[c] = example, s.other(example), how
		case how < rank[c]:
			e.other, e.addr, rank[c] = e.addr, example, how
		case e.other == e.addr:
			e.other = example
		}
	}
	return d.everywhere(classes)
}

// everywhere lets the classes that no vNIC owns appear at each kind of vNIC. The best examples come first: guests, and
// IPv4.
func (d *differ) everywhere(classes []endClass) []endClass {
	slices.SortStableFunc(classes, func(a, b endClass) int { return a.poor() - b.poor() })
	for _, c := range slices.Clone(classes) {
		if c.port == 0 {
			for _, port := range d.ports[1:] {
				c.port = port
				classes = append(classes, c)
			}
		}
	}
	return classes
}

// spans cuts the line of addresses wherever a rule begins or ends to match, and around the address of each vNIC.
func (d *differ) spans(within addrSet, rules []*Rule, of func(*Rule) addrSet) []addrSpan {
	starts := []frame.Addr{{}, allIPv4.lo, after(allIPv4.hi)}
	seen := map[*addrRange]bool{} // rules that name one group share one list
	cut := func(s addrSet) {
		if at := unsafe.SliceData(s); !seen[at] && d.left >= 0 {
			seen[at] = true
			d.left -= len(s)
			for _, r := range s {
				starts = append(starts, r.lo, after(r.hi))
			}
		}
	}
	cut(within)
	for _, r := range rules {
		cut(of(r))
	}
	for a := range d.a.owners {
		cut(addrSet{oneAddr(a)})
	}
	slices.SortFunc(starts, compareAddr)
	starts = slices.Compact(starts)
	spans := make([]addrSpan, len(starts))
	for i, lo := range starts {
		spans[i].addrRange = addrRange{lo, anyAddr[0].hi}
		if i+1 < len(starts) {
			spans[i].hi = before(starts[i+1])
		}
	}
	for n, r := range rules {
		for _, part := range of(r) {
			if d.left -= searchSteps; d.left < 0 {
				return spans
			}
			i, _ := slices.BinarySearchFunc(starts, part.lo, compareAddr)
			for ; i < len(spans) && compareAddr(spans[i].lo, part.hi) <= 0 && d.left >= 0; i++ {
				spans[i].rules = append(spans[i].rules, uint32(n))
				d.left -= searchSteps
			}
		}
	}
	return spans
}

// searchSteps is what it costs to find a range among others, and to note who has it.
const searchSteps = 8

// example takes an address out of a range, and says how good it is: the less the better.
func (d *differ) example(r addrRange) (a frame.Addr, rank int) {
	for i, a := range d.likely {
		if compareAddr(r.lo, a) <= 0 && compareAddr(a, r.hi) <= 0 {
			return a, i
		}
	}
	if (r.lo == allIPv4.lo || r.lo == frame.Addr{}) && r.lo != r.hi {
		return after(r.lo), len(d.likely)
	}
	return r.lo, len(d.likely)
}

func bitsOf(list []uint32, n int) []uint64 {
	b := make([]uint64, (n+63)/64)
	for _, i := range list {
		b[i/64] |= 1 << (i % 64)
	}
	return b
}

func (s addrSet) overlaps(t addrSet) bool {
	if same(s, t) {
		return len(s) > 0
	}
	for i, j := 0, 0; i < len(s) && j < len(t); {
		switch {
		case compareAddr(s[i].hi, t[j].lo) < 0:
			i++
		case compareAddr(t[j].hi, s[i].lo) < 0:
			j++
		default:
			return true
		}
	}
	return false
}
