package firewall

import "sluice/vnic/frame"

// SteerSpec is what an appliance must know of one session: one stay in a placement that steers frames to it.
type SteerSpec struct {
	Session uint8 `json:"session"` // from 1
	// Inspect asks for our own inspector at the far end, which echoes tickets; else it is the kernel, which enforces
	// the policy with nftables.
	Inspect bool           `json:"inspect,omitempty"`
	Ports   []frame.PortID `json:"ports"` // whose frames are steered; the probe's port 0 is not among them, and always served
}

// SteerNIC is what an appliance calls its vNIC for steered frames. It is on no segment; the switch is its only
// neighbour.
const SteerNIC = "steer"

// The devices of a tunnel's far end in the appliance's kernel: one that frames come in by and one that goes on what
// passes, joined by a bridge. The session and the port follow the name. The probe's have names of their own: other
// rules are for it.
const (
	SteerIn, SteerOut, SteerBridge = "in", "out", "br"
	SteerProbes                    = "probe-" // before the names of the probe's devices
)
