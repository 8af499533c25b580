package vswitch

import (
	"net/netip"
	"slices"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// FlowFilter says which flows are meant: what is spoken (tcp, udp or icmp), who began them, and whom they are with.
// What is empty or 0 fits everything.
type FlowFilter struct {
	Proto            string
	From, To         []netip.Addr
	SrcPort, DstPort uint16
}

// Fits says whether an entry of the flow table is meant. ICMP's have no ports: theirs are identifiers.
func (f FlowFilter) Fits(r firewall.FlowRecord) bool {
	among := func(list []netip.Addr, a netip.Addr) bool { return len(list) == 0 || slices.Contains(list, a.Unmap()) }
	return ProtoIs(f.Proto, r.Proto) && among(f.From, r.Src.Addr()) && among(f.To, r.Dst.Addr()) &&
		(f.SrcPort == 0 || f.SrcPort == r.Src.Port()) && (f.DstPort == 0 || f.DstPort == r.Dst.Port())
}

var protocols = map[string][]uint8{
	"tcp": {frame.ProtoTCP}, "udp": {frame.ProtoUDP}, "icmp": {frame.ProtoICMP, frame.ProtoICMPv6},
}

// ProtoIs says whether a protocol is the one that is named; icmp is that of either family, and every one is the one
// without a name.
func ProtoIs(name string, proto uint8) bool {
	return name == "" || slices.Contains(protocols[name], proto)
}
