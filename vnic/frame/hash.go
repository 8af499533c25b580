package frame

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
)

// The seeds differ in each process, so that no guest can aim its flows at one bucket.
var seedA, seedB, seedC = rand.Uint64() | 1, rand.Uint64() | 1, rand.Uint64() | 1

// mix multiplies to 128 bits and folds: every bit of the result depends on every bit of both (as wyhash does).
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func hashEnd(a *Addr, port uint16) uint64 {
	return mix(binary.LittleEndian.Uint64(a[:])^seedA^uint64(port), binary.LittleEndian.Uint64(a[8:])^seedB)
}

// Hash is a hash of the flow in this direction: addresses, ports and protocol.
func (k *Key) Hash() uint64 {
	return mix(hashEnd(&k.Src, k.SrcPort)^uint64(k.Proto), bits.RotateLeft64(hashEnd(&k.Dst, k.DstPort), 32)^seedC)
}

// SymHash is a hash that is the same for both directions of a flow.
func (k *Key) SymHash() uint64 {
	a, b := hashEnd(&k.Src, k.SrcPort), hashEnd(&k.Dst, k.DstPort)
	return mix(a+b^uint64(k.Proto), a^b^seedC)
}
