package classifier

import (
	"encoding/binary"
	"slices"
	"unsafe"

	"sluice/vnic/frame"
)

// Match is what a rule matches: packets between two sets of addresses, of some services, at some insertion points.
type Match struct {
	From, To AddrSet
	Services ServiceSet     // of all parts
	Parts    []Part         // nil where no service has a condition
	Dirs     uint8          // a bit for each direction, which is 0 or 1
	Ports    []frame.PortID // where it is asked, sorted; nil is every port
}

// Packet is what is looked at of a packet. Its addresses are not copied: that would be a tenth of what finding a rule
// costs.
type Packet struct {
	Src, Dst *frame.Addr
	Service  uint32 // see ServiceNumber
	More     uint32 // what conditions look at; see MoreOf
}

// PacketOf reads a packet's key.
func PacketOf(k *frame.Key) Packet {
	return Packet{&k.Src, &k.Dst, ServiceNumber(k.Proto, k.DstPort, k.ICMPType, k.ICMPCode), MoreOf(k.SrcPort, k.TCPFlags)}
}

// Matches says whether a packet matches at a port, in a direction.
func (m *Match) Matches(port frame.PortID, dir uint8, p Packet) bool {
	if m.Ports != nil && !slices.Contains(m.Ports, port) || m.Dirs&(1<<dir) == 0 {
		return false
	}
	return m.From.Contains(*p.Src) && m.To.Contains(*p.Dst) && m.asks(p.Service, p.More)
}

// asks says whether a service is among those matched, under a condition that holds.
func (m *Match) asks(service, more uint32) bool {
	if m.Parts == nil {
		return m.Services.Contains(service)
	}
	return slices.ContainsFunc(m.Parts, func(p Part) bool { return p.Services.Contains(service) && p.holds(more) })
}

// IsEmpty says whether no packet matches, because a set is empty.
func (m *Match) IsEmpty() bool {
	return len(m.From) == 0 || len(m.To) == 0 || len(m.Services) == 0 || m.Ports != nil && len(m.Ports) == 0
}

// AllParts gives the services part by part; most matches have one without a condition.
func (m *Match) AllParts() []Part {
	if m.Parts == nil {
		return []Part{{Services: m.Services}}
	}
	return m.Parts
}

// Covers says whether all that matches o matches m. Several parts of m that cover one of o together are not seen.
func (m *Match) Covers(o *Match) bool {
	return m.Dirs&o.Dirs == o.Dirs && m.coversPorts(o) && m.coversServices(o) && m.From.Covers(o.From) && m.To.Covers(o.To)
}

func (m *Match) coversPorts(o *Match) bool {
	if m.Ports == nil {
		return true
	}
	if o.Ports == nil {
		return false
	}
	for _, p := range o.Ports {
		if _, in := slices.BinarySearch(m.Ports, p); !in {
			return false
		}
	}
	return true
}

func (m *Match) coversServices(o *Match) bool {
	if m.Parts == nil && o.Parts == nil {
		return m.Services.Covers(o.Services)
	}
	for _, q := range o.AllParts() {
		if !slices.ContainsFunc(m.AllParts(), func(p Part) bool { return p.Covers(&q.Condition) && p.Services.Covers(q.Services) }) {
			return false
		}
	}
	return true
}

// Overlaps says whether a packet can match both, as far as conditions do not matter.
func (m *Match) Overlaps(o *Match) bool {
	if m.Dirs&o.Dirs == 0 || m.Ports != nil && o.Ports != nil && !slices.ContainsFunc(m.Ports, func(p frame.PortID) bool {
		_, in := slices.BinarySearch(o.Ports, p)
		return in
	}) {
		return false
	}
	return m.OverlapsAnywhere(o)
}

// OverlapsAnywhere is Overlaps, wherever the two are asked.
func (m *Match) OverlapsAnywhere(o *Match) bool {
	return m.Services.Overlaps(o.Services) && m.From.Overlaps(o.From) && m.To.Overlaps(o.To)
}

// Cost is how many steps it takes to compare two of them. What both say by one name is one list, which is not compared
// with itself.
func (m *Match) Cost(o *Match) int {
	n := 1 + (len(m.Ports)+len(o.Ports))/8 + len(m.Parts)*len(o.Parts)
	if !same(m.Services, o.Services) || m.Parts != nil || o.Parts != nil {
		n += len(m.Services) + len(o.Services)
	}
	if !same(m.From, o.From) {
		n += len(m.From) + len(o.From)
	}
	if !same(m.To, o.To) {
		n += len(m.To) + len(o.To)
	}
	return n
}

// same says whether two lists are one.
func same[S ~[]E, E any](a, b S) bool {
	return len(a) == len(b) && unsafe.SliceData(a) == unsafe.SliceData(b)
}

// Append writes a match for hashes and keys: equal ones are written equally. sets numbers the addresses.
func (m *Match) Append(b []byte, sets *Interned) []byte {
	b = append(b, m.Dirs, boolByte(m.Ports == nil))
	b = binary.BigEndian.AppendUint32(b, sets.Number(m.From))
	b = binary.BigEndian.AppendUint32(b, sets.Number(m.To))
	b = binary.AppendUvarint(b, uint64(len(m.Ports)))
	for _, p := range m.Ports {
		b = binary.BigEndian.AppendUint16(b, uint16(p))
	}
	b = append(b, byte(len(m.Parts)))
	if m.Parts == nil {
		return m.Services.append(b)
	}
	for _, p := range m.Parts {
		k := p.Key()
		b = append(binary.AppendUvarint(b, uint64(len(k))), k...)
		b = p.Services.append(b)
	}
	return b
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}
