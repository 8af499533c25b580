package check

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sluice/firewall"
	"sluice/vswitch"
)

// End is one end of a flow: a guest with its addresses, or an address. The zero End is anybody.
type End struct {
	Name  string
	Guest bool // Name is a guest's
	Addrs []netip.Addr
}

// Flow is a conversation by its first packet.
type Flow struct {
	Proto    string // tcp, udp, icmp; empty is any
	SrcPort  uint16 // of From; 0 is any
	Port     uint16 // destination; 0 is any
	From, To End
	IPv6     bool // for a walk between ends that have both families
	// Flags and ICMP say more of a packet that is traced, as vswitch.TraceRequest does.
	Flags, ICMP string
}

// String is the flow as `sluice trace` reads it.
func (f Flow) String() string {
	words := []string{f.Proto}
	if f.Proto == "" {
		words[0] = "anything"
	}
	if f.From.Name != "" {
		words = append(words, "from", f.From.Name)
	}
	if f.SrcPort != 0 {
		words = append(words, "port", fmt.Sprint(f.SrcPort))
	}
	switch {
	case f.To.Name != "":
		words = append(words, "to", f.To.Name)
	case f.Port != 0 && len(words) > 1:
		words = append(words, "to") // else it would be the port of who sends
	}
	if f.Port != 0 {
		words = append(words, "port", fmt.Sprint(f.Port))
	}
	if f.Flags != "" {
		words = append(words, "flags", f.Flags)
	}
	if f.ICMP != "" {
		words = append(words, "type", f.ICMP)
	}
	return strings.Join(words, " ")
}

// traceIt is the command that explains a flow.
func (f Flow) traceIt() string { return "sluice trace '" + f.String() + "'" }

// at is the flow to one of the addresses of its end. IPv4 is what a name is traced by.
func (f Flow) at(a netip.Addr) Flow {
	if a.Is6() {
		f.To = End{Name: a.String(), Addrs: []netip.Addr{a}}
	}
	return f
}

// answer is the flow's other direction, as a packet from to back to an address and port.
func (f Flow) answer(to netip.AddrPort) Flow {
	back := Flow{Proto: f.Proto, From: f.To, To: f.From, SrcPort: f.Port, Port: to.Port()}
	return back.at(to.Addr())
}

func (f Flow) request() vswitch.TraceRequest {
	return vswitch.TraceRequest{
		Proto: f.Proto, From: f.From.Name, To: f.To.Name, SrcPort: f.SrcPort, DstPort: f.Port, IPv6: f.IPv6, Flags: f.Flags, ICMP: f.ICMP,
	}
}

func (f Flow) sight(at string) vswitch.Sight {
	return vswitch.Sight{At: at, Proto: f.Proto, Port: f.Port, From: f.From.Addrs, To: f.To.Addrs}
}

// fits says whether an entry of the flow table is this flow.
func (f Flow) fits(r firewall.FlowRecord) bool {
	return vswitch.FlowFilter{Proto: f.Proto, From: f.From.Addrs, To: f.To.Addrs, SrcPort: f.SrcPort, DstPort: f.Port}.Fits(r)
}

func (e End) has(a netip.Addr) bool { return len(e.Addrs) == 0 || slices.Contains(e.Addrs, a.Unmap()) }
