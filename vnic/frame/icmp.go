package frame

// Types of ICMP messages (RFC 792, RFC 950, RFC 1256; IANA icmp-parameters).
const (
	ICMPEchoReply      = 0
	ICMPUnreachable    = 3
	ICMPSourceQuench   = 4 // an error; deprecated by RFC 6633
	ICMPRedirect       = 5
	ICMPEcho           = 8
	ICMPRouterAdvert   = 9
	ICMPTimeExceeded   = 11
	ICMPParameter      = 12 // what is wrong in a header
	ICMPTimestamp      = 13
	ICMPTimestampReply = 14
	ICMPInfo           = 15
	ICMPInfoReply      = 16
	ICMPMask           = 17
	ICMPMaskReply      = 18
)

// Codes of ICMPUnreachable (RFC 792, RFC 1812 5.2.7.1).
const (
	ICMPNet             = 0
	ICMPHost            = 1
	ICMPProtocol        = 2
	ICMPPort            = 3
	ICMPTooBig          = 4 // fragmentation needed
	ICMPSourceRoute     = 5 // it failed
	ICMPNetProhibited   = 9
	ICMPHostProhibited  = 10
	ICMPAdminProhibited = 13
)

// Types of ICMPv6 messages (RFC 4443, RFC 2710, RFC 3810, RFC 4861, RFC 4620; IANA icmpv6-parameters). Those below
// ICMP6Informs are errors.
const (
	ICMP6Unreachable      = 1
	ICMP6TooBig           = 2
	ICMP6TimeExceeded     = 3
	ICMP6Parameter        = 4
	ICMP6Informs          = 128
	ICMP6Echo             = 128
	ICMP6EchoReply        = 129
	ICMP6ListenerQuery    = 130
	ICMP6ListenerReport   = 131
	ICMP6ListenerDone     = 132
	ICMP6RouterSolicit    = 133
	ICMP6RouterAdvert     = 134
	ICMP6NeighbourSolicit = 135
	ICMP6NeighbourAdvert  = 136
	ICMP6Redirect         = 137
	ICMP6NodeQuery        = 139
	ICMP6NodeReply        = 140
	ICMP6ListenerReport2  = 143
)

// Codes of ICMP6Unreachable (RFC 4443 3.1).
const (
	ICMP6NoRoute         = 0
	ICMP6AdminProhibited = 1
	ICMP6BeyondScope     = 2 // of the source address
	ICMP6Host            = 3
	ICMP6Port            = 4
	ICMP6PolicyFail      = 5
	ICMP6RejectRoute     = 6
)

// Codes of ICMPTimeExceeded and ICMP6TimeExceeded (RFC 792, RFC 4443 3.3).
const (
	ICMPHops       = 0 // on the way
	ICMPReassembly = 1
)

// The options of neighbour discovery that carry a MAC (RFC 4861 4.6.1).
const (
	NDSource = 1
	NDTarget = 2
)
