package frame

// Which headers of an IPv6 packet are on the way to the one that a rule is about: hop-by-hop options, routing, fragment
// and destination options. All others end the chain, with or without something behind them: the authentication header,
// mobility, HIP and Shim6, too. Linux agrees, and so nftables' `meta l4proto` does (ipv6_find_hdr with IP6_FH_F_AUTH,
// ipv6_ext_hdr, net/ipv6/exthdrs_core.c). If we looked behind them, a rule about `ah` could not be written, and one
// about TCP would let through what nftables takes for something else.
const (
	extHopByHop    = 0
	extRouting     = 43
	extFragment    = 44
	extDestination = 60
)

// maxExtensions bounds an IPv6 extension chain. RFC 8200 4.1 recommends an order of seven.
const maxExtensions = 8

// skipExtension gives the header behind the extension header of the kind next that begins at b[at], and where it
// begins. more is false where next ends the chain, or is a fragment header, which has no length; ok is false where b
// does not hold the header's first 8 bytes.
func skipExtension(b []byte, next uint8, at int) (_ uint8, _ int, more, ok bool) {
	switch next {
	case extHopByHop, extRouting, extDestination:
		if at+8 > len(b) {
			return next, at, true, false
		}
		return b[at], at + 8 + int(b[at+1])*8, true, true // in units of 8 bytes, less the first (RFC 8200 4.3)
	}
	return next, at, false, true
}

// FragmentHeader finds the fragment header of an IPv6 packet, as Parse does: b[at] is its first byte.
func FragmentHeader(b []byte) (at int, ok bool) {
	next, at, ok := lastHeader(b)
	return at, ok && next == extFragment && at+8 <= len(b)
}

// LastHeader finds what the chain of an IPv6 packet leads to, as Parse does: its protocol, and where it begins. The
// packet may be cut off behind that, as it is inside an ICMP error. A later fragment has no such header.
func LastHeader(b []byte) (proto uint8, at int, ok bool) {
	if proto, at, ok = lastHeader(b); !ok || proto != extFragment {
		return proto, at, ok
	}
	if at+8 > len(b) || (b[at+2]|b[at+3]&^7) != 0 {
		return proto, at, false
	}
	proto, at, ok = walkChain(b, b[at], at+8)
	return proto, at, ok && proto != extFragment
}

// lastHeader goes on until the chain's end, or a fragment header.
func lastHeader(b []byte) (proto uint8, at int, ok bool) {
	if len(b) < 40 {
		return 0, 0, false
	}
	return walkChain(b, b[6], 40)
}

func walkChain(b []byte, next uint8, at int) (uint8, int, bool) {
	for range maxExtensions + 1 {
		var more, ok bool
		if next, at, more, ok = skipExtension(b, next, at); !ok || !more {
			return next, at, ok
		}
	}
	return next, at, false
}
