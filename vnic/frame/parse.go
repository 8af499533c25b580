package frame

import "encoding/binary"

// Parse reads a frame from a guest into k, and says ReasonNone or why the frame must be dropped. It believes nothing:
// every length and offset is checked against the frame, and the virtio_net_hdr against what was read. Frames of other
// EtherTypes pass, with only the Ethernet fields filled in. It does not allocate, and keeps nothing.
func Parse(f *Frame, k *Key) Reason {
	b := f.Eth()
	*k = Key{}
	if len(b) < MinLen {
		return ReasonShort
	}
	k.DstMAC, k.SrcMAC = MAC(b[0:6]), MAC(b[6:12])
	k.EtherType = binary.BigEndian.Uint16(b[12:])
	k.L3 = MinLen
	if b[0]&1 != 0 {
		k.Flags |= KeyGroup
	}
	if b[6]&1 != 0 || k.SrcMAC == (MAC{}) {
		return ReasonBadAddress
	}
	var r Reason
	switch k.EtherType {
	case EtherIPv4:
		r = parseIPv4(b, k)
	case EtherIPv6:
		r = parseIPv6(b, k)
	case EtherARP:
		r = parseARP(b, k)
	case EtherVLAN, etherService, etherOldService:
		return ReasonVLAN // what is behind it nobody would have looked at, and a kernel takes VLAN 0 for none
	}
	if r != ReasonNone {
		return r
	}
	v := f.Vnet()
	if v.Flags()&(VnetNeedsCsum|VnetDataValid) != 0 {
		k.Flags |= KeySummed
	}
	if v.Plain() {
		return ReasonNone
	}
	if !v.Validate(b, k) {
		return ReasonBadVnet
	}
	// A GSO type on a single packet's payload is no GSO; Linux does the same (virtio_net_hdr_to_skb).
	if v.GSOType() != GSONone && k.PayloadLen > uint32(v.GSOSize()) {
		k.Flags |= KeyGSO
	}
	return ReasonNone
}

// mapped is the high half of the second word of ::ffff:a.b.c.d.
const mapped = 0xffff << 32

func parseIPv4(b []byte, k *Key) Reason {
	if len(b) < MinLen+20 {
		return ReasonShort
	}
	ip := b[MinLen:]
	head := int(ip[0]&15) * 4
	total := int(binary.BigEndian.Uint16(ip[2:]))
	if ip[0]>>4 != 4 || head < 20 || total < head {
		return ReasonBadOffset
	}
	if total > len(ip) {
		return ReasonShort
	}
	if !headerHolds(ip[:head]) {
		return ReasonChecksum
	}
	if head > 20 && !optionsIPv4(ip[20:head]) {
		return ReasonOptions
	}
	k.Flags |= KeyIPv4
	k.TOS, k.TTL, k.Proto = ip[1], ip[8], ip[9]
	k.L3Len = uint32(total)
	k.L4 = MinLen + uint16(head)
	src, dst := binary.BigEndian.Uint32(ip[12:]), binary.BigEndian.Uint32(ip[16:])
	binary.BigEndian.PutUint64(k.Src[8:], mapped|uint64(src))
	binary.BigEndian.PutUint64(k.Dst[8:], mapped|uint64(dst))
	// 127.0.0.0/8 and 0.0.0.0/8 are no addresses of others; 0.0.0.0 only asks a group for an address.
	if cannotSend(src) || dst>>24 == 127 || dst>>24 == 0 || src>>24 == 0 && (src != 0 || dst>>28 < 14) {
		return ReasonBadAddress
	}
	if frag := binary.BigEndian.Uint16(ip[6:]); frag&0x3fff != 0 {
		if r := fragment(k, int(frag&0x1fff)*8, total-head, frag&0x2000 != 0); r != ReasonNone || k.Has(KeyLater) {
			return r
		}
	}
	return parseL4(ip[head:total], k)
}

// cannotSend says that an IPv4 address is nobody's who could send: loopback, a group, or all.
func cannotSend(a uint32) bool { return a>>24 == 127 || a>>28 == 14 || a == 0xffffffff }

func parseIPv6(b []byte, k *Key) Reason {
	if len(b) < MinLen+40 {
		return ReasonShort
	}
	ip := b[MinLen:]
	if ip[0]>>4 != 6 {
		return ReasonBadOffset
	}
	total := 40 + int(binary.BigEndian.Uint16(ip[4:]))
	if total > len(ip) {
		return ReasonShort
	}
	k.Flags |= KeyIPv6
	k.TOS, k.TTL, k.Proto = ip[0]<<4|ip[1]>>4, ip[7], ip[6]
	k.L3Len = uint32(total)
	k.Src, k.Dst = Addr(ip[8:24]), Addr(ip[24:40])
	if badIPv6(&k.Src, &k.Dst) {
		return ReasonBadAddress
	}
	return parseExtensions(ip[:total], k)
}

// badIPv6 says whether an IPv6 packet may not have these addresses. Mapped addresses are among them: in a Key they are
// how IPv4 is written, so a packet that carried them could pass for another.
func badIPv6(src, dst *Addr) bool {
	high, low := binary.BigEndian.Uint64(src[:]), binary.BigEndian.Uint64(src[8:])
	if high == 0 && (low == 1 || low == 0 && dst[0] != 0xff || low>>32 == 0xffff) {
		return true
	}
	to := binary.BigEndian.Uint64(dst[8:])
	return src[0] == 0xff || binary.BigEndian.Uint64(dst[:]) == 0 && (to == 1 || to>>32 == 0xffff)
}

// parseExtensions walks the chain of extension headers, and leaves Proto and L4 at what comes after.
func parseExtensions(ip []byte, k *Key) Reason {
	at := 40
	if k.Proto == extHopByHop {
		if _, end, _, ok := skipExtension(ip, k.Proto, at); !ok || end > len(ip) {
			return ReasonShort
		} else if !optionsHopByHop(ip[at:end]) {
			return ReasonOptions
		}
	}
	for range maxExtensions + 1 {
		next, behind, more, ok := skipExtension(ip, k.Proto, at)
		switch {
		case !ok:
			return cut(k)
		case more:
			k.Proto, at = next, behind
		case k.Proto == extFragment: // RFC 8200 4.5
			if at+8 > len(ip) || k.Has(KeyFragment) {
				return ReasonFragment
			}
			field := binary.BigEndian.Uint16(ip[at+2:])
			k.Proto, at = ip[at], at+8
			k.L4 = MinLen + uint16(at)
			if r := fragment(k, int(field&^7), len(ip)-at, field&1 != 0); r != ReasonNone || k.Has(KeyLater) {
				return r
			}
		default:
			if at > len(ip) {
				return cut(k)
			}
			k.L4 = MinLen + uint16(at)
			return parseL4(ip[at:], k)
		}
	}
	return ReasonBadOffset
}

// fragment marks a fragment of so many bytes that begins at offset bytes of its packet. What could overwrite a TCP
// header that was judged before is not taken (RFC 3128). Nor is one that others follow and whose length is no multiple
// of 8: they cannot begin where it ends (RFC 791 2.3, RFC 8200 4.5), and what a receiver makes of it differs.
func fragment(k *Key, offset, length int, more bool) Reason {
	k.Flags |= KeyFragment
	if more && length%8 != 0 {
		return ReasonFragment
	}
	if offset == 0 {
		return ReasonNone
	}
	k.Flags |= KeyLater
	extends := k.Has(KeyIPv6) && (k.Proto == extHopByHop || k.Proto == extRouting || k.Proto == extDestination)
	if offset < 60 && (k.Proto == ProtoTCP || extends) { // behind an extension header there may be TCP
		return ReasonFragment
	}
	return ReasonNone
}

// cut is why a packet that ends within its headers is dropped. A first fragment must hold them all (RFC 1858, RFC
// 7112).
func cut(k *Key) Reason {
	if k.Has(KeyFragment) {
		return ReasonFragment
	}
	return ReasonShort
}

func parseL4(b []byte, k *Key) Reason {
	head := 0
	switch k.Proto {
	case ProtoTCP:
		if len(b) < 20 {
			return cut(k)
		}
		head = int(b[12]>>4) * 4
		if head < 20 {
			return ReasonBadOffset
		}
		if head > len(b) {
			return cut(k)
		}
		k.SrcPort, k.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		k.Seq, k.Ack = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
		k.TCPFlags, k.Window = b[13], binary.BigEndian.Uint16(b[14:])
	case ProtoUDP:
		head = 8
		if len(b) < head {
			return cut(k)
		}
		k.SrcPort, k.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		length := int(binary.BigEndian.Uint16(b[4:]))
		if length < head {
			return ReasonBadOffset
		}
		if length > len(b) && !k.Has(KeyFragment) {
			return ReasonShort
		}
		b = b[:min(length, len(b))]
	case ProtoICMP, ProtoICMPv6:
		// Each belongs to one family: in the other it is a protocol without a header that we know.
		if (k.Proto == ProtoICMP) != k.Has(KeyIPv4) {
			break
		}
		head = 8
		if len(b) < head {
			return cut(k)
		}
		k.ICMPType, k.ICMPCode = b[0], b[1]
		if echo(k) {
			k.SrcPort = binary.BigEndian.Uint16(b[4:])
			k.DstPort = k.SrcPort
		}
	}
	if head > 0 {
		k.Flags |= KeyL4
	}
	k.Payload = k.L4 + uint16(head)
	k.PayloadLen = uint32(len(b) - head)
	return ReasonNone
}

// echo says whether the ICMP message is an echo request or reply (RFC 792, RFC 4443).
func echo(k *Key) bool {
	if k.Proto == ProtoICMP {
		return k.ICMPType == ICMPEcho || k.ICMPType == ICMPEchoReply
	}
	return k.ICMPType == ICMP6Echo || k.ICMPType == ICMP6EchoReply
}

// parseARP takes only what RFC 826 says of IPv4 over Ethernet.
func parseARP(b []byte, k *Key) Reason {
	if len(b) < MinLen+28 {
		return ReasonShort
	}
	a := b[MinLen : MinLen+28]
	if binary.BigEndian.Uint64(a)>>16 != 0x000108000604 {
		return ReasonBadOffset
	}
	k.Flags |= KeyARP
	if a[6] == 0 {
		k.ARPOp = a[7]
	}
	k.L3Len = 28
	sender := binary.BigEndian.Uint32(a[14:])
	if cannotSend(sender) {
		return ReasonBadAddress // Linux answers none either (arp_process: ip_route_input)
	}
	binary.BigEndian.PutUint64(k.Src[8:], mapped|uint64(sender))
	binary.BigEndian.PutUint64(k.Dst[8:], mapped|uint64(binary.BigEndian.Uint32(a[24:])))
	return ReasonNone
}

// ARPSender is the sender's hardware address inside an ARP packet, and ARPTarget the target's. k must have KeyARP.
func ARPSender(f *Frame, k *Key) MAC { return MAC(f.Eth()[k.L3+8 : k.L3+14]) }

// ARPTarget is the target's hardware address inside an ARP packet.
func ARPTarget(f *Frame, k *Key) MAC { return MAC(f.Eth()[k.L3+18 : k.L3+24]) }
