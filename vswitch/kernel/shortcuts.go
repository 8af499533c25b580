package kernel

import (
	"unsafe"

	"sluice/vnic/frame"
	"sluice/vswitch/walk"
)

// shortcuts is the engine as a walker sees it.
type shortcuts Engine

// Generation is that of ways between two ports. It is a sum: whatever changes adds to it, so that it never comes back.
func (s *shortcuts) Generation(from, to frame.PortID) uint32 {
	t := &s.tables
	if int(from) >= maxPorts || int(to) >= maxPorts {
		return 0
	}
	return t.settings.generation.Load() + t.ports[from].generation.Load() + t.ports[to].generation.Load()
}

// Changed ends the ways from and to a port; of port 0 all.
func (s *shortcuts) Changed(id frame.PortID) {
	switch {
	case id == 0:
		s.tables.settings.generation.Add(1)
	case int(id) < maxPorts:
		s.tables.ports[id].generation.Add(1)
	}
}

// Show tells the programs of a way.
func (s *shortcuts) Show(w walk.Way, generation uint32) {
	if int(w.In) >= maxPorts || int(w.Out) >= maxPorts || w.MTU > 1<<16-1 {
		return
	}
	s.tables.settings.now.Store(milliseconds(s.clock()))
	index, hash := s.Core.Flows().At(w.Flow)
	i := 2 * index
	if w.Reply {
		i++
	}
	to := way{generation: generation, flow: hash, in: uint16(w.In), out: uint16(w.Out), mtu: uint16(w.MTU), dst: w.Dst, to: w.To}
	if w.Until != 0 {
		to.until = max(1, milliseconds(w.Until))
	}
	for flag, set := range map[uint8]bool{wayCheckIn: w.CheckIn, wayCheckOut: w.CheckOut, wayRouted: w.Routed, waySlow: w.Slow} {
		if set {
			to.flags |= flag
		}
	}
	s.Core.Flows().With(w.Flow, func() { s.tables.ways[i] = to })
}

func bytesOf[T any](s []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(*new(T))))
}
