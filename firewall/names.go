package firewall

import (
	"slices"
	"strconv"
	"strings"

	"sluice/vnic/frame"
)

// What policies call protocols, messages of ICMP and TCP's flags, for others who describe packets.

// ProtocolNumber is what a policy means by a protocol's name, or by its number from 0 to 255 (IANA).
func ProtocolNumber(word string) (proto uint8, ok bool) {
	if proto, ok = protoNames[word]; ok {
		return proto, true
	}
	n, err := strconv.ParseUint(word, 10, 8)
	return uint8(n), err == nil
}

// ProtocolNames are the protocols that have a name, sorted.
func ProtocolNames() []string { return sortedKeys(protoNames) }

// ICMPWords are what types and codes of ICMP and ICMPv6 are called, sorted.
func ICMPWords() []string {
	words := append(sortedKeys(icmpNames), sortedKeys(icmpCodes)...)
	slices.Sort(words)
	return words
}

// ICMPKnown says whether a word names messages of ICMP or ICMPv6.
func ICMPKnown(word string) bool { return icmpKnown(0, word) || icmpKnown(1, word) }

// ICMPMessage is the message that a policy means by a type or code, as echo, host-unreachable or 3/1: where it means
// several, the first. A number means what it is in the family.
func ICMPMessage(word string, v6 bool) (icmpType, code uint8, ok bool) {
	t, c, hasCode := strings.Cut(word, "/")
	r, ok := icmpRange(int(boolByte(v6)), t, c, hasCode)
	if !ok || t == "any" {
		return 0, 0, false
	}
	return uint8(r.Lo >> 8), uint8(r.Lo), true
}

// TCPFlags are the flags that a policy means by syn|ack, syn,ack, none or all.
func TCPFlags(word string) (flags uint8, ok bool) { return flagsOf(word) }

// TCPFlagNames are the names of TCP's flags, in the order of their bits.
func TCPFlagNames() []string { return slices.Clone(flagOrder[:]) }

// protoNames are the protocols that a policy may name besides those with keys of their own (IANA, protocol numbers).
// Those of them that have ports (sctp, dccp, udplite) are named as a whole.
var protoNames = map[string]uint8{
	"icmp": frame.ProtoICMP, "igmp": 2, "ipip": 4, "tcp": frame.ProtoTCP, "udp": frame.ProtoUDP, "dccp": 33, "ipv6": 41, "rsvp": 46,
	"gre": 47, "esp": 50, "ah": 51, "icmpv6": frame.ProtoICMPv6, "eigrp": 88, "ospf": 89, "pim": 103, "ipcomp": 108, "vrrp": 112,
	"l2tp": 115, "sctp": 132, "udplite": 136,
}

// serviceName is how a flow's service is shown to people.
func serviceName(proto uint8, port uint16) string {
	switch proto {
	case frame.ProtoTCP:
		return "tcp/" + strconv.Itoa(int(port))
	case frame.ProtoUDP:
		return "udp/" + strconv.Itoa(int(port))
	case frame.ProtoICMP:
		return "icmp echo"
	case frame.ProtoICMPv6:
		return "icmpv6 echo"
	}
	return protoName(proto)
}

// protoName is how a protocol is called: by its number where a policy has no name for it.
func protoName(proto uint8) string {
	for name, number := range protoNames {
		if number == proto {
			return name
		}
	}
	return "protocol " + strconv.Itoa(int(proto))
}
