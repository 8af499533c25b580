package firewall

import "net/netip"

// FlowRecord is one flow outside of any table: how flows are shown, and how they are carried between the engine's table
// and the appliance's conntrack. Src and Dst are those of the flow's first frame.
type FlowRecord struct {
	Proto   uint8          `json:"proto"`
	Src     netip.AddrPort `json:"src"` // ICMP echo: the port is the identifier
	Dst     netip.AddrPort `json:"dst"` // ICMP echo: the port is the identifier
	State   string         `json:"state"`
	Replied bool           `json:"replied"`           // a frame came back
	Timeout int            `json:"timeout_s"`         // seconds until it is forgotten
	Frames  [2]uint64      `json:"frames"`            // by direction: original, reply
	Bytes   [2]uint64      `json:"bytes"`             // by direction, IP bytes
	Rule    string         `json:"rule,omitempty"`    // the rule that let it in
	Service string         `json:"service,omitempty"` // how it is called in the policy, for people
}
