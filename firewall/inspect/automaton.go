package inspect

import "bytes"

// automaton finds many byte strings in one pass over a stream (Aho and Corasick 1975), as a table without failure
// links. Its state is a number, so that it is carried from segment to segment, for each direction of each flow.
type automaton struct {
	class   [256]uint8 // bytes that no string tells apart share one column
	width   uint32     // columns
	next    []uint32   // by state and class: the next state, with accepts where a string ends there
	ends    []int32    // by state/width: the first of its outputs, or -1
	outputs []output
	longest int  // bytes of the longest string
	single  bool // all strings begin with the byte first
	first   byte
}

// output is one string that ends in a state, and the next such.
type output struct {
	signature int32
	next      int32
}

// accepts marks a state in which a string ends. States are offsets into next, so they stay below it.
const accepts = 1 << 31

// newAutomaton builds the table for the strings; the number of each is what outputs name.
func newAutomaton(strings map[int32][]byte) *automaton {
	a := &automaton{}
	a.classify(strings)
	links := a.trie(strings)
	a.close(links)
	return a
}

func (a *automaton) classify(strings map[int32][]byte) {
	var used [256]bool
	var firsts [256]bool
	for _, s := range strings {
		for _, c := range s {
			used[c] = true
		}
		firsts[s[0]] = true
		a.longest = max(a.longest, len(s))
	}
	n, all := 0, true
	for c := range used {
		all = all && used[c]
	}
	if !all {
		n = 1 // class 0 is every byte that no string has
	}
	begin := 0
	for c := range used {
		if used[c] {
			a.class[c] = uint8(n)
			n++
		}
		if firsts[c] {
			begin++
			a.first = byte(c)
		}
	}
	a.width, a.single = uint32(max(n, 1)), begin == 1
}

// trie lays out the strings, and gives the states in the order of their depth. State 0 is the root; a next of 0 is none
// yet.
func (a *automaton) trie(strings map[int32][]byte) (order []uint32) {
	a.addState()
	deep := [][]uint32{{0}}
	for id, s := range strings {
		at := uint32(0)
		for depth, c := range s {
			slot := &a.next[at+uint32(a.class[c])]
			if *slot == 0 {
				to := a.addState()
				a.next[at+uint32(a.class[c])] = to
				if len(deep) == depth+1 {
					deep = append(deep, nil)
				}
				deep[depth+1] = append(deep[depth+1], to)
				at = to
				continue
			}
			at = *slot
		}
		a.outputs = append(a.outputs, output{id, a.ends[at/a.width]})
		a.ends[at/a.width] = int32(len(a.outputs) - 1)
	}
	for _, d := range deep {
		order = append(order, d...)
	}
	return order
}

func (a *automaton) addState() uint32 {
	at := uint32(len(a.next))
	a.next = append(a.next, make([]uint32, a.width)...)
	a.ends = append(a.ends, -1)
	return at
}

// close fills in what happens where a string does not go on: as from the longest end of what was read that begins a
// string.
func (a *automaton) close(order []uint32) {
	fail := make([]uint32, len(a.ends))
	for _, s := range order {
		back := fail[s/a.width]
		if s != 0 {
			a.inherit(s, back)
		}
		for c := range a.width {
			to := a.next[s+c]
			switch {
			case to == 0 && s != 0:
				a.next[s+c] = a.next[back+c]
			case to != 0 && s != 0:
				fail[to/a.width] = a.next[back+c]
			}
		}
	}
	for i, to := range a.next {
		if a.ends[to/a.width] >= 0 {
			a.next[i] = to | accepts
		}
	}
}

// inherit gives a state the outputs of the state that it falls back to.
func (a *automaton) inherit(s, back uint32) {
	last := a.ends[back/a.width]
	if last < 0 {
		return
	}
	at := &a.ends[s/a.width]
	for *at >= 0 {
		at = &a.outputs[*at].next
	}
	*at = last
}

// scan goes on in state s with b, up to where a string ends: done is how much of b it has read. The state that it gives
// has accepts set there, and not at b's end.
func (a *automaton) scan(s uint32, b []byte) (state uint32, done int) {
	s &^= accepts
	for i := 0; i < len(b); {
		if s == 0 && a.single {
			skip := bytes.IndexByte(b[i:], a.first)
			if skip < 0 {
				return 0, len(b)
			}
			i += skip
		}
		s = a.next[s+uint32(a.class[b[i]])]
		i++
		if s&accepts != 0 {
			return s, i
		}
	}
	return s, len(b)
}
