package firewall

import (
	"net/netip"

	"sluice/vnic/frame"
)

// FlowRecord is one flow outside of any table: how flows are shown, and how they are carried between the engine's table
// and the appliance's conntrack. Src and Dst are those of the flow's first frame.
type FlowRecord struct {
	Proto   uint8          `json:"proto"`
	Src     netip.AddrPort `json:"src"` // ICMP: the port is the request's identifier
	Dst     netip.AddrPort `json:"dst"` // ICMP: the port is the request's identifier
	State   string         `json:"state"`
	Replied bool           `json:"replied"`           // a frame came back
	Related bool           `json:"related,omitempty"` // conntrack: a helper of the appliance knew that it would come
	Timeout int            `json:"timeout_s"`         // seconds until it is forgotten
	Frames  [2]uint64      `json:"frames"`            // by direction: original, reply
	Bytes   [2]uint64      `json:"bytes"`             // by direction, IP bytes
	Rule    string         `json:"rule,omitempty"`    // the rule that let it in
	Service string         `json:"service,omitempty"` // how it is called in the policy, for people
	Kept    bool           `json:"kept,omitempty"`    // it stays on the way of an earlier placement until it ends

	// ICMPType and ICMPCode are the request's, where Proto is ICMP's or ICMPv6's; left out, it is an echo.
	ICMPType uint8 `json:"icmp_type,omitempty"`
	ICMPCode uint8 `json:"icmp_code,omitempty"`

	// TCP is what each side's window needs to be understood, by original and reply.
	TCP [2]TCPSide `json:"tcp,omitzero"`
}

// Carried says what became of flows that a conntrack was told of.
type Carried struct {
	Left []int  `json:"left,omitempty"` // places in the list, ascending, of those that it did not take
	Full bool   `json:"full,omitempty"` // it had no room for some of them
	Why  string `json:"why,omitempty"`  // of the first that it did not take
}

// HasPorts says whether flows of a protocol are told apart by ports.
func HasPorts(proto uint8) bool { return proto == frame.ProtoTCP || proto == frame.ProtoUDP }

// Request gives the type and code of the request that began an ICMP flow. ok is false for other protocols, and where
// the protocol is not that of the addresses' family: such packets are told apart by nothing.
func (r *FlowRecord) Request() (kind, code uint8, ok bool) {
	switch is4 := r.Src.Addr().Unmap().Is4(); {
	case r.Proto == frame.ProtoICMP && is4:
		kind = frame.ICMPEcho
	case r.Proto == frame.ProtoICMPv6 && !is4:
		kind = frame.ICMP6Echo
	default:
		return 0, 0, false
	}
	if r.ICMPType != 0 {
		kind = r.ICMPType
	}
	return kind, r.ICMPCode, true
}

// First is the flow's first packet, as rules see it.
func (r *FlowRecord) First() Tuple {
	t := Tuple{Proto: r.Proto, Src: r.Src, Dst: r.Dst}
	if kind, code, ok := r.Request(); ok {
		t.ICMPType, t.ICMPCode = kind, code
	}
	if !HasPorts(r.Proto) {
		t.Src, t.Dst = netip.AddrPortFrom(r.Src.Addr(), 0), netip.AddrPortFrom(r.Dst.Addr(), 0)
	}
	return t
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
