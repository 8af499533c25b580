package firewall

import "sluice/vnic/frame"

// onLinkHops is the TTL of group membership's messages: they stay on their segment (RFC 3376 4, RFC 2710 3).
const onLinkHops = 1

// hasOwnWay says whether a packet's protocol is ICMP, IGMP or ICMPv6, which the flow table alone does not decide.
func hasOwnWay(proto uint8) bool {
	const own = 1<<frame.ProtoICMP | 1<<frame.ProtoIGMP | 1<<frame.ProtoICMPv6
	return proto < 64 && own>>proto&1 != 0
}

// isMembership says whether an IPv4 packet is group membership on its segment: IGMP to a group, as MLD is for IPv6.
// What is sent further, or to one machine, is a packet like any other.
func isMembership(k *frame.Key) bool {
	return k.Proto == frame.ProtoIGMP && k.Has(frame.KeyIPv4) && k.TTL == onLinkHops && k.Dst[12]>>4 == 14
}
