package firewall

import (
	"encoding/binary"
	"slices"

	"sluice/vnic/frame"
)

// condition is what a part of a service asks of a packet beside what a service's number says: its source port, and
// TCP's flags. The zero condition holds for every packet.
type condition struct {
	from        svcSet // source ports, as ranges of a service's lower half; nil is any
	mask, flags uint8  // TCP: of the flags in mask those in flags are set
}

// part is services under one condition.
type part struct {
	condition
	svc svcSet
}

// maxConditions bounds the different conditions of a policy: which of them hold for a packet is one number of 64 bits,
// whose lowest stands for none.
const maxConditions = 63

func (c *condition) isNone() bool { return c.from == nil && c.mask == 0 }

func (c *condition) holds(more uint32) bool {
	return uint8(more)&c.mask == c.flags && (c.from == nil || c.from.contains(more>>8))
}

// covers says whether a condition holds wherever another does.
func (c *condition) covers(o *condition) bool {
	return c.mask&o.mask == c.mask && o.flags&c.mask == c.flags && (c.from == nil || o.from != nil && c.from.covers(o.from))
}

// key makes equal conditions equal strings.
func (c *condition) key() string {
	b := []byte{c.mask, c.flags, boolByte(c.from == nil)}
	for _, r := range c.from {
		b = binary.BigEndian.AppendUint64(b, uint64(r.lo)<<32|uint64(r.hi))
	}
	return string(b)
}

// moreOf is what conditions look at, in one number: the source port, and below it TCP's flags.
func moreOf(srcPort uint16, flags uint8) uint32 { return uint32(srcPort)<<8 | uint32(flags) }

func moreOfKey(k *frame.Key) uint32 { return moreOf(k.SrcPort, k.TCPFlags) }

// all gives a rule's services part by part; most rules have one without a condition.
func (r *Rule) all() []part {
	if r.parts == nil {
		return []part{{svc: r.svc}}
	}
	return r.parts
}

// matches says whether a rule has a service, under a condition that holds.
func (r *Rule) matches(service, more uint32) bool {
	if r.parts == nil {
		return r.svc.contains(service)
	}
	return slices.ContainsFunc(r.parts, func(p part) bool { return p.svc.contains(service) && p.holds(more) })
}

// coversServices says whether a rule has all services that another one has. Several parts that cover one together are
// not seen.
func (r *Rule) coversServices(o *Rule) bool {
	if r.parts == nil && o.parts == nil {
		return r.svc.covers(o.svc)
	}
	for _, q := range o.all() {
		if !slices.ContainsFunc(r.all(), func(p part) bool { return p.covers(&q.condition) && p.svc.covers(q.svc) }) {
			return false
		}
	}
	return true
}

// appendParts writes what a rule matches of services, for hashes and keys.
func appendParts(b []byte, r *Rule) []byte {
	b = append(b, byte(len(r.parts)))
	if r.parts == nil {
		return appendServices(b, r.svc)
	}
	for _, p := range r.parts {
		k := p.key()
		b = append(binary.AppendUvarint(b, uint64(len(k))), k...)
		b = appendServices(b, p.svc)
	}
	return b
}

func appendServices(b []byte, s svcSet) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	for _, r := range s {
		b = binary.BigEndian.AppendUint64(b, uint64(r.lo)<<32|uint64(r.hi))
	}
	return b
}

// conditions say which of a classifier's conditions hold for a packet: a bit for each, by its number from 1. Bit 0 is
// always set.
type conditions struct {
	starts  []uint32 // source ports at which other conditions hold; the first is 0
	byPort  []uint64
	byFlags [256]uint64
}

func newConditions(list []condition) *conditions {
	if len(list) == 0 {
		return nil
	}
	c := &conditions{starts: []uint32{0}}
	for _, one := range list {
		for _, r := range one.from {
			c.starts = append(c.starts, r.lo, r.hi+1)
		}
	}
	slices.Sort(c.starts)
	c.starts = slices.Compact(c.starts)
	c.byPort = make([]uint64, len(c.starts))
	for n, one := range list {
		bit := uint64(2) << n
		for i, at := range c.starts {
			if one.from == nil || one.from.contains(at) {
				c.byPort[i] |= bit
			}
		}
		for f := range c.byFlags {
			if uint8(f)&one.mask == one.flags {
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
