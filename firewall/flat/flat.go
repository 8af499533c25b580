// Package flat keeps arrays in one run of bytes without pointers, a flat: Go walks it as slices, and C by the same
// offsets. A flat begins with a head of its owner's, which says where each array lies; arrays stand in a fixed order,
// each at a line of the processor's cache. Numbers are in the machine's own order of bytes. What the arrays mean, and
// whether the numbers in them lead anywhere, is not this package's business.
package flat

import (
	"errors"
	"fmt"
	"math"
	"unsafe"
)

// Line is a line of the processor's cache in bytes: a flat begins at one, and so does each of its arrays.
const Line = 64

// Start is how every head begins: what it is, of which layout, and how many bytes the whole flat has, a multiple of
// Line.
type Start struct{ Magic, Version, Size uint32 }

// Span is where an array lies: its first byte, counted from the flat's, and how many elements it has.
type Span struct{ At, Len uint32 }

// Part is some elements of another array: from one, up to another that is no part of it.
type Part struct{ From, To uint32 }

// Within says whether a part is one of an array with n elements.
func (p Part) Within(n int) bool { return p.From <= p.To && uint64(p.To) <= uint64(n) }

// In gives the bytes of an array of bytes.
func (s Span) In(b []byte) []byte { return b[s.At : uint64(s.At)+uint64(s.Len)] }

// Array is a slice, and the span in a head that says where it lies.
type Array interface {
	lie() *Span
	len() int
	each() uint64     // bytes of an element
	move(flat []byte) // the elements to where they lie; the slice is those from then on
	view(flat []byte)
}

type array[T any] struct {
	at    *Span
	slice *[]T
}

// Of is the array of a slice, whose elements have neither pointers nor bytes that are no field's: those would be
// whatever they happen to be.
func Of[T any](at *Span, slice *[]T) Array { return array[T]{at, slice} }

func (a array[T]) lie() *Span { return a.at }
func (a array[T]) len() int   { return len(*a.slice) }
func (a array[T]) each() uint64 {
	var one T
	return uint64(unsafe.Sizeof(one))
}

func (a array[T]) view(flat []byte) {
	*a.slice = nil
	if a.at.Len > 0 {
		*a.slice = unsafe.Slice((*T)(unsafe.Pointer(&flat[a.at.At])), a.at.Len)
	}
}

func (a array[T]) move(flat []byte) {
	from := *a.slice
	a.view(flat)
	copy(*a.slice, from)
}

type room struct {
	at   *Span
	size int
}

// Room is an array of bytes that somebody else writes later.
func Room(at *Span, size int) Array { return room{at, size} }

func (r room) lie() *Span   { return r.at }
func (r room) len() int     { return r.size }
func (r room) each() uint64 { return 1 }
func (r room) move([]byte)  {}
func (r room) view([]byte)  {}

// Lay gives each array its place behind a head, and gives the size of the whole. It panics at 4 GiB: spans count 32
// bits, and callers bound what they take.
func Lay[H any](head *H, arrays []Array) (size int) {
	end := uint64(unsafe.Sizeof(*head))
	for _, a := range arrays {
		end = up(end)
		*a.lie() = Span{uint32(end), uint32(a.len())}
		if end += uint64(a.len()) * a.each(); end > math.MaxUint32-Line {
			panic("flat: longer than 4 GiB")
		}
	}
	return int(up(end))
}

func up(n uint64) uint64 { return (n + Line - 1) &^ (Line - 1) }

// New makes room for a flat.
func New(size int) []byte {
	b := make([]byte, size+Line-1)
	skip := -uintptr(unsafe.Pointer(&b[0])) & (Line - 1)
	return b[skip:][:size:size]
}

// Head is the head of a flat.
func Head[H any](b []byte) *H { return (*H)(unsafe.Pointer(&b[0])) }

// Pack writes a flat: its head, and the arrays where Lay has put them. The slices are views of it from then on, so that
// what they were before can be forgotten one by one.
func Pack[H any](b []byte, head *H, arrays []Array) {
	*Head[H](b) = *head
	for _, a := range arrays {
		a.move(b)
	}
}

// Open gives the head of bytes that anybody may have written, where they are a flat of the kind that start says.
func Open[H any](b []byte, start Start) (*H, error) {
	var head H
	switch {
	case uintptr(unsafe.Pointer(unsafe.SliceData(b)))%Line != 0:
		return nil, fmt.Errorf("the bytes do not begin at a multiple of %d", Line)
	case uintptr(len(b)) < unsafe.Sizeof(head) || len(b) > math.MaxUint32:
		return nil, fmt.Errorf("%d bytes, and the head alone has %d", len(b), unsafe.Sizeof(head))
	}
	start.Size = uint32(len(b))
	if is := *Head[Start](b); is != start {
		return nil, fmt.Errorf("magic %#x, version %d, size %d; expected are %#x, %d, %d",
			is.Magic, is.Version, is.Size, start.Magic, start.Version, start.Size)
	}
	return Head[H](b), nil
}

// View makes the slices views of a flat whose head Open has given, where its spans say what Lay would.
func View[H any](b []byte, head *H, arrays []Array) error {
	end := uint64(unsafe.Sizeof(*head))
	for i, a := range arrays {
		end = up(end)
		s := *a.lie()
		if uint64(s.At) != end || uint64(s.Len) > (uint64(len(b))-min(end, uint64(len(b))))/a.each() {
			return fmt.Errorf("array %d: %d elements at %d are not where they belong", i, s.Len, s.At)
		}
		end += uint64(s.Len) * a.each()
		a.view(b)
	}
	if up(end) != uint64(len(b)) {
		return errors.New("the arrays do not fill it")
	}
	return nil
}
