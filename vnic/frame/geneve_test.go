package frame

import (
	"bytes"
	"net/netip"
	"testing"
)

var testOuter = Outer{
	Local: AddrFrom(netip.MustParseAddr("169.254.83.1")), Peer: AddrFrom(netip.MustParseAddr("169.254.83.2")),
	LocalMAC: MAC{2, 1}, PeerMAC: MAC{2, 2},
}

// turned is the same tunnel as the far end sees it.
func turned(o Outer) Outer {
	return Outer{Local: o.Peer, Peer: o.Local, LocalMAC: o.PeerMAC, PeerMAC: o.LocalMAC}
}

func TestWrap(t *testing.T) {
	inner := bytes.Repeat([]byte{7}, 60)
	for _, c := range []struct {
		name   string
		ticket *Ticket
		csum   bool
	}{
		{"bare", nil, false},
		{"bare with an open checksum", nil, true},
		{"ticket", &Ticket{Seq: 1 << 40, Cookie: 9, Port: 300, Dir: 1, Verdict: VerdictClean}, false},
		{"ticket with an open checksum", &Ticket{Seq: 2}, true},
	} {
		f := From(inner)
		if c.csum {
			f.Vnet().SetChecksum(34, 16)
		}
		before := *f.Vnet()
		f.Wrap(&testOuter, NewVNI(200, 300, true), c.ticket, 50000)
		var k Key
		if r := Parse(f, &k); r != ReasonNone || k.DstPort != GenevePort || k.SrcPort != 50000 {
			t.Errorf("%s: the outer packet: %v, %d to %d", c.name, r, k.SrcPort, k.DstPort)
		}
		far := turned(testOuter)
		var got Ticket
		vni, has, ok := f.Unwrap(&far, &got)
		if !ok || has != (c.ticket != nil) || vni.Session() != 200 || vni.Port() != 300 || !vni.Back() {
			t.Errorf("%s: vni %x, ticket %v, ok %v", c.name, vni, has, ok)
		}
		if has && (got != *c.ticket || got.Vnet != before) {
			t.Errorf("%s: %+v, sent %+v", c.name, got, *c.ticket)
		}
		if !has && *f.Vnet() != before {
			t.Errorf("%s: vnet %v, was %v", c.name, *f.Vnet(), before)
		}
		if !bytes.Equal(f.Eth(), inner) {
			t.Errorf("%s: the frame has changed", c.name)
		}
	}
}

func TestUnwrapRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(b []byte)
	}{
		{"another sender", func(b []byte) { b[MinLen+12]++ }},
		{"another receiver", func(b []byte) { b[MinLen+16]++ }},
		{"a fragment", func(b []byte) { b[MinLen+6] |= 0x20 }},
		{"a later fragment", func(b []byte) { b[MinLen+7] = 1 }},
		{"IP too long", func(b []byte) { b[MinLen+2] = 0xff }},
		{"UDP of another length", func(b []byte) { b[MinLen+25]++ }},
		{"another port", func(b []byte) { b[MinLen+22]++ }},
		{"another protocol", func(b []byte) { b[MinLen+9] = ProtoTCP }},
		{"GENEVE of another version", func(b []byte) { b[MinLen+28] |= 0x40 }},
		{"a control packet", func(b []byte) { b[MinLen+29] |= 0x80 }},
		{"no Ethernet inside", func(b []byte) { b[MinLen+31]++ }},
		{"options beyond the end", func(b []byte) { b[MinLen+28] |= 0x3f }},
		{"an unknown critical option", func(b []byte) { b[outerLen+2]++ }},
		{"an option beyond the options", func(b []byte) { b[outerLen+3] = 0x1f }},
		{"a ticket of another length", func(b []byte) { b[outerLen+3]-- }},
		{"a ticket with an unknown word", func(b []byte) { b[outerLen+optionLen+19] = 99 }},
	} {
		f := From(make([]byte, 60))
		f.Wrap(&testOuter, NewVNI(1, 2, true), &Ticket{Seq: 1}, 1)
		far := turned(testOuter)
		c.change(f.Eth())
		was := *f
		if _, _, ok := f.Unwrap(&far, &Ticket{}); ok || f.Off != was.Off || f.Len != was.Len {
			t.Errorf("%s: ok %v, offset %d of %d", c.name, ok, f.Off, was.Off)
		}
	}
}

func FuzzUnwrap(f *testing.F) {
	for _, ticket := range []*Ticket{nil, {Seq: 1}} {
		w := From(make([]byte, 60))
		w.Wrap(&testOuter, NewVNI(1, 2, true), ticket, 1)
		f.Add(w.Wire())
	}
	far := turned(testOuter)
	f.Fuzz(func(t *testing.T, wire []byte) {
		if len(wire) < VnetLen || len(wire) > MaxLen {
			return
		}
		w := New(len(wire) - VnetLen)
		copy(w.Wire(), wire)
		if _, _, ok := w.Unwrap(&far, &Ticket{}); ok {
			if w.Len < MinLen || w.Off+w.Len > len(w.Buf) {
				t.Fatalf("offset %d, length %d of %d", w.Off, w.Len, len(w.Buf))
			}
			Parse(w, &Key{})
		}
	})
}
