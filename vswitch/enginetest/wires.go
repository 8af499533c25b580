package enginetest

import (
	"testing"

	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

// Wires are what the ports of switches hang on.
type Wires interface {
	// Wire makes one: the NIC that the switch gets, and the far end, where a case plays the machine.
	Wire(t testing.TB, port string) (sw, end vnic.NIC)
	// Missed is how many frames that the far end of a port has taken the switch was never given.
	Missed(vswitch.PortStats) uint64
}

// Pipes are NICs in memory. They carry anything, also what is no frame.
type Pipes struct{}

// Wire makes a pipe.
func (Pipes) Wire(_ testing.TB, port string) (sw, end vnic.NIC) {
	return vnic.Pipe(port, vnic.PipeOptions{Queue: 1024, Offloads: frame.OffloadAll})
}

// Missed is none: what finds no room is not taken.
func (Pipes) Missed(vswitch.PortStats) uint64 { return 0 }
