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
	Kept    bool           `json:"kept,omitempty"`    // it stays on the way of an earlier placement until it ends

	// TCP is what each side's window needs to be understood, by original and reply.
	TCP [2]TCPSide `json:"tcp,omitzero"`
}

// TCPSide is what is known of one side of a TCP flow.
type TCPSide struct {
	Scaled  bool  `json:"scaled,omitempty"`  // it has said its window scale
	Scale   uint8 `json:"scale,omitempty"`   // by how many bits its windows are shifted; 0 where the other side has said none
	SACK    bool  `json:"sack,omitempty"`    // it takes selective acknowledgements
	Liberal bool  `json:"liberal,omitempty"` // what it sends is not held against the window
}

func tcpSide(options uint8) TCPSide {
	return TCPSide{
		Scaled: options&windowScaled != 0, Scale: options & windowScale, SACK: options&windowSACK != 0, Liberal: options&windowLiberal != 0,
	}
}

// options is the way back.
func (s TCPSide) options() (b uint8) {
	b = min(s.Scale, maxScale)
	for _, f := range []struct {
		is   bool
		flag uint8
	}{{s.Scaled, windowScaled}, {s.SACK, windowSACK}, {s.Liberal, windowLiberal}} {
		if f.is {
			b |= f.flag
		}
	}
	return b
}
