package firewall

import (
	"encoding/binary"
	"slices"
	"unsafe"

	"sluice/firewall/classifier"
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

// anotherIn gives another address of a range; the same where it is the only one.
func anotherIn(r classifier.AddrRange, a frame.Addr) frame.Addr {
	if a == r.Hi {
		return r.Lo
	}
	return r.Hi
}

func (e *endClass) poor() (n int) {
	if e.port == 0 {
		n += 2
	}
	if !e.addr.IsIPv4() {
		n++
	}
	return n
}

// addrSpan is some addresses between two cuts, and the rules that match them all.
type addrSpan struct {
	classifier.AddrRange
	rules []uint32
}

// ends gives the classes of one end of a flow within a set: of gives for each rule the set that it has at this end.
func (d *differ) ends(within classifier.AddrSet, rules []*Rule, of func(*Rule) classifier.AddrSet) []endClass {
	spans := d.spans(within, rules, of)
	byKey := map[string]int{}
	var classes []endClass
	rank := map[int]int{} // by class: how good an example its address is
	for i := range spans {
		s := &spans[i]
		if d.left -= 1 + len(s.rules); d.left < 0 {
			return nil
		}
		if !within.Contains(s.Lo) {
			continue
		}
		owner := d.a.PortOf(s.Lo.IP())
		key := binary.BigEndian.AppendUint16(nil, uint16(owner))
		key = append(key, boolByte(s.Lo.IsIPv4()))
		for _, r := range s.rules {
			key = binary.BigEndian.AppendUint32(key, r)
		}
		example, how := d.example(s.AddrRange)
		c, known := byKey[string(key)]
		if !known {
			c = len(classes)
			byKey[string(key)] = c
			classes = append(classes, endClass{port: owner, rules: s.rules, has: bitsOf(s.rules, len(rules))})
		}
		e := &classes[c]
		switch {
		case !known:
			e.addr, e.other, rank[c] = example, anotherIn(s.AddrRange, example), how
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
func (d *differ) spans(within classifier.AddrSet, rules []*Rule, of func(*Rule) classifier.AddrSet) []addrSpan {
	starts := []frame.Addr{{}, classifier.AllIPv4.Lo, classifier.AllIPv4.Hi.Next()}
	seen := map[*classifier.AddrRange]bool{} // rules that name one group share one list
	cut := func(s classifier.AddrSet) {
		if at := unsafe.SliceData(s); !seen[at] && d.left >= 0 {
			seen[at] = true
			d.left -= len(s)
			for _, r := range s {
				starts = append(starts, r.Lo, r.Hi.Next())
			}
		}
	}
	cut(within)
	for _, r := range rules {
		cut(of(r))
	}
	cut(d.a.owners.addrs())
	slices.SortFunc(starts, frame.Addr.Compare)
	starts = slices.Compact(starts)
	spans := make([]addrSpan, len(starts))
	for i, lo := range starts {
		spans[i].AddrRange = classifier.AddrRange{Lo: lo, Hi: classifier.AnyAddr[0].Hi}
		if i+1 < len(starts) {
			spans[i].Hi = starts[i+1].Prev()
		}
	}
	for n, r := range rules {
		for _, part := range of(r) {
			if d.left -= searchSteps; d.left < 0 {
				return spans
			}
			i, _ := slices.BinarySearchFunc(starts, part.Lo, frame.Addr.Compare)
			for ; i < len(spans) && spans[i].Lo.Compare(part.Hi) <= 0 && d.left >= 0; i++ {
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
func (d *differ) example(r classifier.AddrRange) (a frame.Addr, rank int) {
	for i, a := range d.likely {
		if r.Lo.Compare(a) <= 0 && a.Compare(r.Hi) <= 0 {
			return a, i
		}
	}
	if (r.Lo == classifier.AllIPv4.Lo || r.Lo == frame.Addr{}) && r.Lo != r.Hi {
		return r.Lo.Next(), len(d.likely)
	}
	return r.Lo, len(d.likely)
}

func bitsOf(list []uint32, n int) []uint64 {
	b := make([]uint64, (n+63)/64)
	for _, i := range list {
		b[i/64] |= 1 << (i % 64)
	}
	return b
}
