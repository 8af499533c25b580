package walk

import (
	"sluice/firewall"
	"sluice/vnic/frame"
)

// Shortcuts is a part of an engine that moves frames of known flows by itself, once a walk has shown it their way.
// Any goroutine may call its methods.
type Shortcuts interface {
	// Generation is what a way is shown with that leads from one port to another; it is asked before the way is looked
	// up for the last time. Changed ends all ways from and to a port that have been shown; of port 0 all there are.
	Generation(from, to frame.PortID) uint32
	Changed(frame.PortID)
	Show(way Way, generation uint32)
}

// Way is where the frames of one side of a flow go that come in at one port with one destination MAC, for as long as
// nothing changes.
type Way struct {
	Flow    firewall.Place
	Reply   bool // the side is not who began the flow
	In, Out frame.PortID
	Dst     frame.MAC // of the frame as it comes
	Routed  bool      // it goes on with the MACs To and the gateway's of Out's segment, and a lower TTL
	To      frame.MAC
	MTU     int   // bytes of IP packet, where it is routed; 0 is no limit
	Until   int64 // monotonic ns; 0: without end
	// CheckIn and CheckOut say at which of its ends there is an insertion point; Slow, that Out is the appliance's.
	CheckIn, CheckOut, Slow bool
}

// showing is what a walker has found out of the present frame's way, where somebody takes shortcuts.
type showing struct {
	way   Way
	found bool // of the way
	odd   bool // a check point has done more than to know the flow
}

// settled notes what a check point has done.
func (w *Walker) settled(d firewall.Dir) {
	s := &w.showing
	if w.cx.Settled == (firewall.Place{}) || s.way.Flow != (firewall.Place{}) && s.way.Flow != w.cx.Settled {
		s.odd = true
		return
	}
	s.way.Flow = w.cx.Settled
	if d == firewall.FromGuest {
		s.way.CheckIn = true
	} else {
		s.way.CheckOut = true
	}
}

// show shows the present frame's way, where the next frame of its flow would go it with no more ado.
func (w *Walker) show(reply bool) {
	s, p := &w.showing, w.plan
	if !s.found || s.odd || s.way.Flow == (firewall.Place{}) || len(w.outputs) != 1 || w.tried != 1 || w.said > 0 || w.dry || w.watch != nil ||
		w.journal != nil || p.Beside != nil || p.Bypassed || p.Placement.Steers() || p.Program == nil {
		return
	}
	way := s.way
	way.In, way.Out, way.Reply = w.port, w.outputs[0].Port, reply
	way.Slow = p.Ports[way.Out].Service
	generation := w.core.Shortcuts.Generation(way.In, way.Out)
	if !way.Routed && !way.Slow {
		var at frame.PortID
		if at, way.Until = w.core.fdb.lookupUntil(&p.Segments[p.Ports[way.In].Segment], way.Dst, w.cx.Now); at != way.Out {
			return
		}
	}
	if way.Routed && w.core.neighbours.claimed.Load() {
		return
	}
	w.core.Shortcuts.Show(way, generation)
}
