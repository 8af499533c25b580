package firewall

import "sluice/vnic/frame"

// SteerSpec is what an appliance must know of one session: one stay in a placement that steers frames to it.
type SteerSpec struct {
	Session uint8 `json:"session"` // from 1
	// Inspect asks for our own inspector at the far end, which echoes tickets; else it is the kernel, which enforces the policy
	// with nftables.
	Inspect bool           `json:"inspect,omitempty"`
	Ports   []frame.PortID `json:"ports"` // whose frames are steered; the probe's port 0 is not among them, and always served
}
