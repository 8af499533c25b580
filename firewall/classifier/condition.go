package classifier

import (
	"encoding/binary"
	"slices"
)

// Condition is what a part of a service asks of a packet beside what a service's number says: its source port, and
// TCP's flags. The zero Condition holds for every packet.
type Condition struct {
	From        ServiceSet // source ports, as ranges of a service's lower half; nil is any
	Mask, Flags uint8      // TCP: of the flags in Mask those in Flags are set
}

// Part is services under one condition.
type Part struct {
	Condition
	Services ServiceSet
}

// MaxConditions bounds the different conditions of one classifier: which of them hold for a packet is one number of 64
// bits, whose lowest stands for none.
const MaxConditions = 63

// IsNone says whether a condition holds for every packet.
func (c *Condition) IsNone() bool { return c.From == nil && c.Mask == 0 }

func (c *Condition) holds(more uint32) bool {
	return uint8(more)&c.Mask == c.Flags && (c.From == nil || c.From.Contains(more>>8))
}

// Covers says whether a condition holds wherever another does.
func (c *Condition) Covers(o *Condition) bool {
	return c.Mask&o.Mask == c.Mask && o.Flags&c.Mask == c.Flags && (c.From == nil || o.From != nil && c.From.Covers(o.From))
}

// Both is the condition that holds where two do; ok is false where there is none.
func (c *Condition) Both(o *Condition) (b Condition, ok bool) {
	if (c.Flags^o.Flags)&c.Mask&o.Mask != 0 {
		return b, false
	}
	b = Condition{c.From, c.Mask | o.Mask, c.Flags | o.Flags}
	switch {
	case c.From == nil:
		b.From = o.From
	case o.From != nil:
		b.From = c.From.Both(o.From)
		return b, len(b.From) > 0
	}
	return b, true
}

// Key makes equal conditions equal strings.
func (c *Condition) Key() string {
	b := []byte{c.Mask, c.Flags, boolByte(c.From == nil)}
	for _, r := range c.From {
		b = binary.BigEndian.AppendUint64(b, uint64(r.Lo)<<32|uint64(r.Hi))
	}
	return string(b)
}

// MoreOf is what conditions look at, in one number: the source port, and below it TCP's flags.
func MoreOf(srcPort uint16, flags uint8) uint32 { return uint32(srcPort)<<8 | uint32(flags) }

// conditions say which of a classifier's conditions hold for a packet: a bit for each, by its number from 1. Bit 0 is
// always set. Where no rule has a condition, there are none of these.
type conditions struct {
	starts  []uint32 // source ports at which other conditions hold; the first is 0
	byPort  []uint64
	byFlags []uint64
}

// allFlags is how many sets of TCP's flags there are.
const allFlags = 256

func newConditions(list []Condition) (c conditions) {
	if len(list) == 0 {
		return c
	}
	c = conditions{starts: []uint32{0}, byFlags: make([]uint64, allFlags)}
	for _, one := range list {
		for _, r := range one.From {
			c.starts = append(c.starts, r.Lo, r.Hi+1)
		}
	}
	slices.Sort(c.starts)
	c.starts = slices.Compact(c.starts)
	c.byPort = make([]uint64, len(c.starts))
	for n, one := range list {
		bit := uint64(2) << n
		for i, at := range c.starts {
			if one.From == nil || one.From.Contains(at) {
				c.byPort[i] |= bit
			}
		}
		for f := range c.byFlags {
			if uint8(f)&one.Mask == one.Flags {
				c.byFlags[f] |= bit
			}
		}
	}
	return c
}

// holding gives the conditions that hold.
func (c *conditions) holding(more uint32) uint64 {
	port, at := more>>8, 0
	for n := len(c.starts); n > 1; n -= n / 2 {
		if c.starts[at+n/2] <= port {
			at += n / 2
		}
	}
	return c.byPort[at]&c.byFlags[uint8(more)] | 1
}
