package classifier

import "unsafe"

// Interned numbers equal sets of addresses once, from 1. The zero value has none.
type Interned struct {
	Sets      []AddrSet // by number - 1
	byPointer map[*AddrRange]uint32
	byContent map[string]uint32
}

// Number gives a set's number.
func (in *Interned) Number(s AddrSet) uint32 {
	if in.byContent == nil {
		in.byPointer, in.byContent = map[*AddrRange]uint32{}, map[string]uint32{}
	}
	at := unsafe.SliceData(s) // rules that name one group share one slice
	if n, ok := in.byPointer[at]; ok && len(in.Sets[n-1]) == len(s) {
		return n
	}
	k := s.Key()
	n, ok := in.byContent[k]
	if !ok {
		in.Sets = append(in.Sets, s)
		n = uint32(len(in.Sets))
		in.byContent[k] = n
	}
	if at != nil {
		in.byPointer[at] = n
	}
	return n
}
