package enginetest

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

// tally is a NIC of the appliance that counts what it hands to the switch: guests' frames, as those are in the books.
type tally struct {
	vnic.NIC
	port frame.PortID
	gave atomic.Uint64
	mark atomic.Uint64 // the last marker that came to it
}

func (r *rig) addTally(p vswitch.Port) *tally { return &tally{NIC: r.addPort(p), port: p.ID} }

// WriteBatch counts frames of guests. A probe goes by the NIC below.
func (n *tally) WriteBatch(frames []*frame.Frame) (int, error) {
	sent, err := n.NIC.WriteBatch(frames)
	n.gave.Add(uint64(sent))
	return sent, err
}

// markerType is that of a marker: IEEE 802 local experimental EtherType 2.
const markerType = 0x88b6

// newMarker is a frame that comes to the appliance behind all that it was handed before.
func newMarker(number uint64) *frame.Frame {
	f := frame.New(60)
	frame.PutEth(f.Eth(), gatewayMAC, gatewayMAC, markerType)
	binary.BigEndian.PutUint64(f.Eth()[frame.MinLen:], number)
	return f
}

// marks says whether a frame is a marker, and notes it.
func (n *tally) marks(f *frame.Frame) bool {
	b := f.Eth()
	if len(b) < frame.MinLen+8 || binary.BigEndian.Uint16(b[12:]) != markerType {
		return false
	}
	n.mark.Store(binary.BigEndian.Uint64(b[frame.MinLen:]))
	return true
}

// settled is balanced, once nothing is on its way through the appliance any more.
func (r *rig) settled() vswitch.Stats {
	r.t.Helper()
	for last := r.balanced(); ; {
		for _, p := range last.Ports {
			for _, n := range []*tally{r.fw.nics[1], r.fw.nics[2], r.fw.steer} {
				if p.ID == n.port {
					r.comesBack(n)
				}
			}
		}
		s := r.balanced()
		if s.In == last.In {
			return s
		}
		last = s
	}
}

// comesBack waits until the appliance has dealt with what it was handed by a port, and the switch has taken what it
// gave back there, unless it stands still.
func (r *rig) comesBack(n *tally) {
	r.t.Helper()
	const again = 100 // polls: a marker may find no room
	number := r.markers.Add(1)
	deadline := time.Now().Add(patience)
	for poll := 0; n.mark.Load() < number; poll++ {
		switch {
		case r.fw.stalled.Load():
			return
		case time.Now().After(deadline):
			r.t.Fatalf("the appliance does not read what port %d was handed", n.port)
		case poll%again == 0:
			r.engine.Send(n.port, newMarker(number))
		}
		time.Sleep(time.Millisecond) // a poll with a deadline
	}
	for ; r.cameIn(n.port) < n.gave.Load(); time.Sleep(time.Millisecond) { // a poll with a deadline
		if time.Now().After(deadline) {
			r.t.Fatalf("of %d frames of the appliance %d came in by port %d", n.gave.Load(), r.cameIn(n.port), n.port)
		}
	}
}

// cameIn is how many frames the far end of a port has got rid of.
func (r *rig) cameIn(id frame.PortID) uint64 {
	for _, p := range r.sw.Stats().Ports {
		if p.ID == id {
			return p.InFrames + r.wires.Missed(p)
		}
	}
	return 0
}
