package flat_test

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"unsafe"

	"sluice/firewall/flat"
)

type head struct {
	flat.Start
	words, longs flat.Span
	rest         flat.Span
}

// lists are what the tests lay into a flat.
type lists struct {
	words []uint32
	longs []uint64
}

func (l *lists) arrays(h *head) []flat.Array {
	return []flat.Array{flat.Of(&h.words, &l.words), flat.Of(&h.longs, &l.longs)}
}

var start = flat.Start{Magic: 7, Version: 1}

// made is a flat of three words, no long number, and ten bytes.
func made() []byte {
	l, h := lists{words: []uint32{1, 2, 3}}, head{Start: start}
	arrays := append(l.arrays(&h), flat.Room(&h.rest, 10))
	b := flat.New(flat.Lay(&h, arrays))
	h.Size = uint32(len(b))
	flat.Pack(b, &h, arrays)
	copy(h.rest.In(b), "0123456789")
	return b
}

func read(b []byte) (l lists, rest []byte, err error) {
	h, err := flat.Open[head](b, start)
	if err == nil {
		err = flat.View(b, h, append(l.arrays(h), flat.Of(&h.rest, &rest)))
	}
	return l, rest, err
}

func TestReadBack(t *testing.T) {
	b := made()
	l, rest, err := read(b)
	if err != nil || !slices.Equal(l.words, []uint32{1, 2, 3}) || l.longs != nil || string(rest) != "0123456789" {
		t.Fatal(l, rest, err)
	}
	if at := uintptr(unsafe.Pointer(&l.words[0])); at%flat.Line != 0 || len(b)%flat.Line != 0 {
		t.Errorf("an array at %#x, in %d bytes", at, len(b))
	}
}

// TestBrokenHead: a head that says anything else is refused, whatever of it is broken; as are bytes that end early, or
// do not begin at a line.
func TestBrokenHead(t *testing.T) {
	whole := made()
	for at := range int(unsafe.Sizeof(head{})) {
		b := flat.New(len(whole))
		copy(b, whole)
		b[at] ^= 1 << (at % 8)
		if l, rest, err := read(b); err == nil && len(l.words) == 3 && len(rest) == 10 {
			t.Errorf("byte %d of the head does not matter", at)
		}
	}
	for n := range whole {
		if _, _, err := read(whole[:n:n]); err == nil {
			t.Errorf("%d of %d bytes are taken", n, len(whole))
		}
	}
	if _, _, err := read(append(make([]byte, 1, len(whole)+1), whole...)[1:]); err == nil {
		t.Error("bytes that begin anywhere are taken")
	}
}

// TestProbe: each entry of a table is found in as many steps as Probe says, and one of them needs so many.
func TestProbe(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	table := flat.Table[uint64](1000)
	keys := make([]uint64, 1000)
	for i := range keys {
		keys[i] = r.Uint64() | 1
		flat.Insert(table, flat.Hash(0, keys[i]), keys[i])
	}
	most, ok := flat.Probe(table, func(e *uint64) (uint32, bool) { return flat.Hash(0, *e), *e != 0 })
	longest := 0
	for _, k := range keys {
		n := 1
		for table[(int(flat.Hash(0, k))+n-1)&(len(table)-1)] != k {
			n++
		}
		longest = max(longest, n)
	}
	if !ok || int(most) != longest {
		t.Errorf("Probe says %d %v; the longest search takes %d", most, ok, longest)
	}
	for _, bad := range [][]uint64{nil, {1, 2}, {0, 0, 0}} {
		if _, ok := flat.Probe(bad, func(e *uint64) (uint32, bool) { return 0, *e != 0 }); ok {
			t.Errorf("%v is a hash table", bad)
		}
	}
}

func TestUnfit(t *testing.T) {
	for _, bad := range []any{true, "", new(int), 1.5, int(0), struct {
		a uint8
		b uint16
	}{}, struct {
		a uint64
		b uint8
	}{}, [2]bool{}} {
		if flat.Unfit(reflect.TypeOf(bad)) == nil {
			t.Errorf("%T may lie in a flat", bad)
		}
	}
	if err := flat.Unfit(reflect.TypeOf(head{})); err != nil {
		t.Error(err)
	}
}
