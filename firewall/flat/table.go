package flat

// A hash table here has open addressing, and its length is a power of two. A free slot is the zero value: at least half
// of those that Table makes.

// Hash is the hash of a key of two numbers.
func Hash(a, b uint64) uint32 {
	return uint32((a*0x9e3779b97f4a7c15 ^ b) * 0xd6e8feb86659fd93 >> 32)
}

// Table makes a hash table for n entries.
func Table[T any](n int) []T {
	size := 2
	for size < 2*n+2 {
		size *= 2
	}
	return make([]T, size)
}

// Insert puts an entry, which is not the zero value, into a table by its key's hash.
func Insert[T comparable](table []T, hash uint32, entry T) {
	var free T
	for table[hash&uint32(len(table)-1)] != free {
		hash++
	}
	table[hash&uint32(len(table)-1)] = entry
}

// Probe says how many slots a search for an entry that is there looks at, at most; ok is false where a search for
// another may have no end. of says which entries are used, and gives their hashes.
func Probe[T any](table []T, of func(*T) (hash uint32, used bool)) (most uint32, ok bool) {
	mask := uint32(len(table) - 1)
	if len(table) == 0 || len(table)&int(mask) != 0 {
		return 0, false
	}
	for i := range table {
		hash, used := of(&table[i])
		if !used {
			ok = true
			continue
		}
		most = max(most, (uint32(i)-hash)&mask+1)
	}
	return most, ok
}
