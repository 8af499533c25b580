package frame

import "encoding/binary"

// IsND says whether a packet is of neighbour discovery (RFC 4861), which no gateway forwards.
func (k *Key) IsND() bool {
	return k.Has(KeyIPv6|KeyL4) && k.Proto == ProtoICMPv6 && k.ICMPType >= ICMP6RouterSolicit && k.ICMPType <= ICMP6Redirect
}

// IsEchoRequest says whether a packet is an echo request of either family.
func (k *Key) IsEchoRequest() bool {
	return k.Proto == ProtoICMP && k.ICMPType == ICMPEcho || k.Proto == ProtoICMPv6 && k.ICMPType == ICMP6Echo
}

// IsIPv4 says whether an address is of IPv4: mapped into IPv6, as in ::ffff:0:0/96.
func (a *Addr) IsIPv4() bool {
	return binary.BigEndian.Uint64(a[:]) == 0 && binary.BigEndian.Uint32(a[8:]) == 0xffff
}

// IsGroup says whether an address is multicast or the IPv4 broadcast.
func (a *Addr) IsGroup() bool {
	if a.IsIPv4() {
		return a[12]>>4 == 14 || a[12] == 255
	}
	return a[0] == 0xff
}
