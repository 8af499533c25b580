package frame

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

var (
	testDst = MAC{2, 0, 0, 0, 0, 0xb}
	testSrc = MAC{2, 0, 0, 0, 0, 0xa}
)

// raw joins parts after an Ethernet header of the given type.
func raw(etherType uint16, parts ...[]byte) []byte {
	b := make([]byte, MinLen)
	PutEth(b, testDst, testSrc, etherType)
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func addr4(a, b, c, d byte) Addr { return Addr{10: 0xff, 11: 0xff, 12: a, 13: b, 14: c, 15: d} }

var (
	addrA = addr4(10, 10, 1, 10)
	addrB = addr4(10, 10, 2, 10)
	addrX = Addr{0: 0xfd, 7: 1, 15: 0x10}
	addrY = Addr{0: 0xfd, 7: 2, 15: 0x10}
)

// ip4 is an IPv4 header; fragment is the field with flags and offset in units of 8 bytes.
func ip4(proto uint8, fragment uint16, payload int) []byte {
	b := make([]byte, 20)
	PutIPv4(b, addrA, addrB, proto, 64, 20+payload)
	binary.BigEndian.PutUint16(b[6:], fragment)
	SetIPv4Checksum(b)
	return b
}

func ip4From(src, dst Addr) []byte {
	b := make([]byte, 28)
	PutIPv4(b, src, dst, ProtoICMP, 64, 28)
	return b
}

func ip6(next uint8, payload int) []byte { return ip6From(addrX, addrY, next, payload) }

func ip6From(src, dst Addr, next uint8, payload int) []byte {
	b := make([]byte, 40)
	PutIPv6(b, src, dst, next, 64, payload)
	return b
}

func tcp(words byte) []byte {
	return []byte{0, 80, 4, 1, 0, 0, 0, 7, 0, 0, 0, 9, words << 4, TCPSyn, 1, 2, 0, 0, 0, 0}
}
func udp(length byte) []byte    { return []byte{0x27, 0x0f, 4, 1, 0, length, 0, 0} }
func echoRequest(t byte) []byte { return []byte{t, 0, 0, 0, 0xab, 0xcd, 0, 1} }
func zeros(n int) []byte        { return make([]byte, n) }

// extension is an IPv6 extension header of 8 bytes.
func extension(next uint8) []byte { return []byte{next, 0, 0, 0, 0, 0, 0, 0} }
func extensions(n int, last uint8) []byte {
	var b []byte
	for i := range n {
		next := uint8(60)
		if i == n-1 {
			next = last
		}
		b = append(b, extension(next)...)
	}
	return b
}

func arp(first uint16) []byte {
	b := make([]byte, 28)
	PutARP(b, 1, testSrc, addrA, MAC{}, addrB)
	binary.BigEndian.PutUint16(b, first)
	return b
}

func with(b []byte, at int, v byte) []byte {
	b = append([]byte(nil), b...)
	b[at] = v
	return b
}

func TestParseReasons(t *testing.T) {
	tcp4 := raw(EtherIPv4, ip4(ProtoTCP, 0, 20), tcp(5))
	udp4 := raw(EtherIPv4, ip4(ProtoUDP, 0, 8), udp(8))
	for _, c := range []struct {
		name string
		eth  []byte
		want Reason
		has  KeyFlag
		not  KeyFlag
	}{
		{"nothing", nil, ReasonShort, 0, 0},
		{"13 bytes", zeros(13), ReasonShort, 0, 0},
		{"unknown EtherType", raw(0x88cc, zeros(46)), ReasonNone, 0, KeyL4 | KeyIPv4},
		{"VLAN 5", raw(EtherVLAN, []byte{0, 5, 8, 0}, tcp4[MinLen:]), ReasonVLAN, 0, KeyL4 | KeyIPv4},
		{"priority, and no VLAN", raw(EtherVLAN, []byte{0xe0, 0, 8, 0}, tcp4[MinLen:]), ReasonVLAN, 0, KeyL4 | KeyIPv4},
		{"two tags", raw(0x88a8, []byte{0, 5, 0x81, 0, 0, 6, 8, 0}, tcp4[MinLen:]), ReasonVLAN, 0, KeyL4 | KeyIPv4},
		{"a tag of old", raw(0x9100, []byte{0, 5, 8, 0}, tcp4[MinLen:]), ReasonVLAN, 0, KeyL4 | KeyIPv4},
		{"a tag cut short", raw(EtherVLAN), ReasonVLAN, 0, KeyL4 | KeyIPv4},
		{"group destination", with(tcp4, 0, 1), ReasonNone, KeyGroup | KeyL4, 0},
		{"group source", with(tcp4, 6, 1), ReasonBadAddress, 0, 0},
		{"zero source", with(with(tcp4, 6, 0), 11, 0), ReasonBadAddress, 0, 0},
		{"tcp", tcp4, ReasonNone, KeyIPv4 | KeyL4, KeyGSO | KeyFragment},
		{"tcp padded", append(tcp4[:len(tcp4):len(tcp4)], zeros(6)...), ReasonNone, KeyL4, 0},
		{"ip version 5", with(tcp4, 14, 0x55), ReasonBadOffset, 0, 0},
		{"ip header of 16 bytes", with(tcp4, 14, 0x44), ReasonBadOffset, 0, 0},
		{"ip options beyond the packet", with(tcp4, 14, 0x4f), ReasonBadOffset, 0, 0},
		{"ip longer than the frame", with(tcp4, 17, 41), ReasonShort, 0, 0},
		{"ip cut", tcp4[:33], ReasonShort, 0, 0},
		{"tcp header cut", raw(EtherIPv4, ip4(ProtoTCP, 0, 19), tcp(5)), ReasonShort, 0, 0},
		{"tcp offset 4", raw(EtherIPv4, ip4(ProtoTCP, 0, 20), tcp(4)), ReasonBadOffset, 0, 0},
		{"tcp offset beyond", raw(EtherIPv4, ip4(ProtoTCP, 0, 20), tcp(6)), ReasonShort, 0, 0},
		{"udp", udp4, ReasonNone, KeyL4, 0},
		{"udp length 7", raw(EtherIPv4, ip4(ProtoUDP, 0, 8), udp(7)), ReasonBadOffset, 0, 0},
		{"udp length beyond", raw(EtherIPv4, ip4(ProtoUDP, 0, 8), udp(9)), ReasonShort, 0, 0},
		{"icmp cut", raw(EtherIPv4, ip4(ProtoICMP, 0, 7), zeros(7)), ReasonShort, 0, 0},
		{"icmp in ipv6 is unknown", raw(EtherIPv6, ip6(ProtoICMP, 4), zeros(4)), ReasonNone, KeyIPv6, KeyL4},
		{"icmpv6 in ipv4 is unknown", raw(EtherIPv4, ip4(ProtoICMPv6, 0, 4), zeros(4)), ReasonNone, KeyIPv4, KeyL4},
		{"gre", raw(EtherIPv4, ip4(47, 0, 4), zeros(4)), ReasonNone, KeyIPv4, KeyL4},

		{"first fragment", raw(EtherIPv4, ip4(ProtoUDP, 0x2000, 16), udp(100), zeros(8)), ReasonNone, KeyFragment | KeyL4, KeyLater},
		{"later fragment", raw(EtherIPv4, ip4(ProtoUDP, 100, 8), zeros(8)), ReasonNone, KeyFragment | KeyLater, KeyL4},
		{"first fragment of 15 bytes", raw(EtherIPv4, ip4(ProtoUDP, 0x2000, 15), udp(100), zeros(7)), ReasonFragment, 0, 0},
		{"fragment in the middle of 12 bytes", raw(EtherIPv4, ip4(ProtoUDP, 0x2000|100, 12), zeros(12)), ReasonFragment, 0, 0},
		{"fragment in the middle, padded",
			raw(EtherIPv4, ip4(ProtoUDP, 0x2000|100, 16), zeros(16+5)), ReasonNone, KeyFragment | KeyLater, KeyL4},
		{"last fragment of 12 bytes", raw(EtherIPv4, ip4(ProtoUDP, 100, 12), zeros(12)), ReasonNone, KeyFragment | KeyLater, KeyL4},
		{"tiny first fragment", raw(EtherIPv4, ip4(ProtoTCP, 0x2000, 8), zeros(8)), ReasonFragment, 0, 0},
		{"overlap of the TCP header", raw(EtherIPv4, ip4(ProtoTCP, 1, 40), zeros(40)), ReasonFragment, 0, 0},
		{"don't fragment is no fragment", raw(EtherIPv4, ip4(ProtoTCP, 0x4000, 20), tcp(5)), ReasonNone, KeyL4, KeyFragment},

		{"loopback source", raw(EtherIPv4, ip4From(addr4(127, 0, 0, 1), addrB)), ReasonBadAddress, 0, 0},
		{"loopback destination", raw(EtherIPv4, ip4From(addrA, addr4(127, 0, 0, 1))), ReasonBadAddress, 0, 0},
		{"destination on no network", raw(EtherIPv4, ip4From(addrA, addr4(0, 0, 0, 9))), ReasonBadAddress, 0, 0},
		{"source on no network", raw(EtherIPv4, ip4From(addr4(0, 1, 2, 3), addrB)), ReasonBadAddress, 0, 0},
		{"ipv6 loopback destination", raw(EtherIPv6, ip6From(addrX, Addr{15: 1}, ProtoTCP, 20), tcp(5)), ReasonBadAddress, 0, 0},
		{"multicast source", raw(EtherIPv4, ip4From(addr4(224, 0, 0, 1), addrB)), ReasonBadAddress, 0, 0},
		{"broadcast source", raw(EtherIPv4, ip4From(addr4(255, 255, 255, 255), addrB)), ReasonBadAddress, 0, 0},
		{"unspecified to one", raw(EtherIPv4, ip4From(addr4(0, 0, 0, 0), addrB)), ReasonBadAddress, 0, 0},
		{"unspecified to all (DHCP)", raw(EtherIPv4, ip4From(addr4(0, 0, 0, 0), addr4(255, 255, 255, 255))), ReasonNone, KeyL4, 0},

		{"ipv6 tcp", raw(EtherIPv6, ip6(ProtoTCP, 20), tcp(5)), ReasonNone, KeyIPv6 | KeyL4, 0},
		{"ipv6 cut", raw(EtherIPv6, ip6(ProtoTCP, 20), tcp(5)[:19]), ReasonShort, 0, 0},
		{"ipv6 version 4", with(raw(EtherIPv6, ip6(ProtoTCP, 20), tcp(5)), 14, 0x45), ReasonBadOffset, 0, 0},
		{"ipv6 chain of 8", raw(EtherIPv6, ip6(60, 8*8+20), extensions(8, ProtoTCP), tcp(5)), ReasonNone, KeyL4, 0},
		{"ipv6 chain of 9", raw(EtherIPv6, ip6(60, 9*8+20), extensions(9, ProtoTCP), tcp(5)), ReasonBadOffset, 0, 0},
		{"ipv6 chain cut", raw(EtherIPv6, ip6(60, 7), zeros(7)), ReasonShort, 0, 0},
		{"ipv6 option beyond the packet", raw(EtherIPv6, ip6(60, 8), with(extension(ProtoTCP), 1, 9)), ReasonShort, 0, 0},
		{"ipv6 later fragment over what an extension leads to", raw(EtherIPv6, ip6(44, 16), with(extension(60), 3, 8), zeros(8)), ReasonFragment, 0, 0},
		{"ipv6 first fragment",
			raw(EtherIPv6, ip6(44, 32), with(extension(ProtoTCP), 3, 1), tcp(5), zeros(4)), ReasonNone, KeyFragment | KeyL4, KeyLater},
		{"ipv6 first fragment without its header", raw(EtherIPv6, ip6(44, 16), with(extension(ProtoTCP), 3, 1), zeros(8)), ReasonFragment, 0, 0},
		{"ipv6 first fragment cut in its chain", raw(EtherIPv6, ip6(44, 12), with(extension(60), 3, 1), zeros(4)), ReasonFragment, 0, 0},
		{"ipv6 later fragment", raw(EtherIPv6, ip6(44, 16), with(extension(ProtoUDP), 2, 9), zeros(8)), ReasonNone, KeyFragment | KeyLater, KeyL4},
		{"ipv6 first fragment of 20 bytes", raw(EtherIPv6, ip6(44, 28), with(extension(ProtoTCP), 3, 1), tcp(5)), ReasonFragment, 0, 0},
		{"ipv6 fragment in the middle of 9 bytes",
			raw(EtherIPv6, ip6(44, 17), with(with(extension(ProtoUDP), 2, 9), 3, 1), zeros(9)), ReasonFragment, 0, 0},
		{"ipv6 last fragment of 9 bytes",
			raw(EtherIPv6, ip6(44, 17), with(extension(ProtoUDP), 2, 9), zeros(9)), ReasonNone, KeyFragment | KeyLater, KeyL4},
		{"ipv6 fragment in fragment", raw(EtherIPv6, ip6(44, 36), extension(44), extension(ProtoTCP), tcp(5)), ReasonFragment, 0, 0},
		{"ipv6 nothing more", raw(EtherIPv6, ip6(59, 0)), ReasonNone, KeyIPv6, KeyL4},
		{"ipv6 mapped source", raw(EtherIPv6, ip6From(addrA, addrY, ProtoTCP, 20), tcp(5)), ReasonBadAddress, 0, 0},
		{"ipv6 mapped destination", raw(EtherIPv6, ip6From(addrX, addrB, ProtoTCP, 20), tcp(5)), ReasonBadAddress, 0, 0},
		{"ipv6 loopback source", raw(EtherIPv6, ip6From(Addr{15: 1}, addrY, ProtoTCP, 20), tcp(5)), ReasonBadAddress, 0, 0},
		{"ipv6 multicast source", raw(EtherIPv6, ip6From(Addr{0: 0xff, 15: 1}, addrY, ProtoTCP, 20), tcp(5)), ReasonBadAddress, 0, 0},
		{"ipv6 unspecified to one", raw(EtherIPv6, ip6From(Addr{}, addrY, ProtoICMPv6, 8), echoRequest(128)), ReasonBadAddress, 0, 0},
		{"ipv6 unspecified to a group (DAD)", raw(EtherIPv6, ip6From(Addr{}, Addr{0: 0xff, 1: 2, 15: 1}, ProtoICMPv6, 8), echoRequest(135)), ReasonNone, KeyL4, 0},

		{"arp", raw(EtherARP, arp(1)), ReasonNone, KeyARP, KeyIPv4},
		{"arp cut", raw(EtherARP, arp(1)[:27]), ReasonShort, 0, 0},
		{"arp of another network", raw(EtherARP, arp(6)), ReasonBadOffset, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var k Key
			if got := Parse(From(c.eth), &k); got != c.want {
				t.Fatalf("reason %v, want %v", got, c.want)
			}
			if !k.Has(c.has) || k.Flags&c.not != 0 {
				t.Fatalf("flags %b, want %b and not %b", k.Flags, c.has, c.not)
			}
		})
	}
}

// What is no extension header ends the chain, as it does for nftables: what is behind it is nobody's port.
func TestChainEnds(t *testing.T) {
	ah := with(append(extension(ProtoTCP), zeros(16)...), 1, 4)
	for _, c := range []struct {
		name  string
		eth   []byte
		proto uint8
		l4    uint16
	}{
		{"ah", raw(EtherIPv6, ip6(51, 44), ah, tcp(5)), 51, 54},
		{"ah cut", raw(EtherIPv6, ip6(51, 4), zeros(4)), 51, 54},
		{"ah in ipv4", raw(EtherIPv4, ip4(51, 0, 44), ah, tcp(5)), 51, 34},
		{"mobility", raw(EtherIPv6, ip6(135, 28), extension(ProtoTCP), tcp(5)), 135, 54},
		{"hip", raw(EtherIPv6, ip6(139, 28), extension(ProtoTCP), tcp(5)), 139, 54},
		{"shim6", raw(EtherIPv6, ip6(140, 28), extension(ProtoTCP), tcp(5)), 140, 54},
		{"ah behind options", raw(EtherIPv6, ip6(0, 60), extension(60), extension(51), ah, tcp(5)), 51, 70},
		{"hip behind a fragment header",
			raw(EtherIPv6, ip6(44, 40), with(extension(139), 3, 1), extension(ProtoTCP), tcp(5), zeros(4)), 139, 62},
		{"nothing", raw(EtherIPv6, ip6(59, 20), tcp(5)), 59, 54},
		{"tcp behind all others", raw(EtherIPv6, ip6(0, 52), extension(43), extension(60), extension(44), extension(ProtoTCP), tcp(5)), ProtoTCP, 86},
	} {
		var k Key
		if r := Parse(From(c.eth), &k); r != ReasonNone || k.Proto != c.proto || k.L4 != c.l4 || k.Has(KeyL4) != (c.proto == ProtoTCP) {
			t.Errorf("%s: %v, protocol %d at %d, flags %b; want %d at %d", c.name, r, k.Proto, k.L4, k.Flags, c.proto, c.l4)
		}
		if proto, at, ok := LastHeader(c.eth[MinLen:]); k.Has(KeyIPv6) && (!ok || proto != c.proto || uint16(at)+MinLen != c.l4) {
			t.Errorf("%s: LastHeader says %d at %d, %v", c.name, proto, at, ok)
		}
	}
}

func TestParseFields(t *testing.T) {
	var k Key
	tcp4 := raw(EtherIPv4, ip4(ProtoTCP, 0, 23), tcp(5), zeros(3), zeros(9))
	if r := Parse(From(tcp4), &k); r != ReasonNone {
		t.Fatal(r)
	}
	want := Key{
		Src: addrA, Dst: addrB, SrcMAC: testSrc, DstMAC: testDst, EtherType: EtherIPv4, SrcPort: 80, DstPort: 1025,
		Proto: ProtoTCP, TTL: 64, TCPFlags: TCPSyn, Flags: KeyIPv4 | KeyL4, L3: 14, L4: 34, Payload: 54, L3Len: 43,
		PayloadLen: 3, Seq: 7, Ack: 9, Window: 0x0102,
	}
	if k != want {
		t.Errorf("TCP over IPv4:\n got %+v\nwant %+v", k, want)
	}

	Parse(From(raw(EtherIPv6, ip6(60, 16), extension(ProtoICMPv6), echoRequest(128))), &k)
	want = Key{
		Src: addrX, Dst: addrY, SrcMAC: testSrc, DstMAC: testDst, EtherType: EtherIPv6, SrcPort: 0xabcd, DstPort: 0xabcd,
		Proto: ProtoICMPv6, TTL: 64, ICMPType: 128, Flags: KeyIPv6 | KeyL4, L3: 14, L4: 62, Payload: 70, L3Len: 56,
	}
	if k != want {
		t.Errorf("ICMPv6 echo:\n got %+v\nwant %+v", k, want)
	}

	f := From(raw(EtherARP, arp(1)))
	Parse(f, &k)
	want = Key{
		Src: addrA, Dst: addrB, SrcMAC: testSrc, DstMAC: testDst, EtherType: EtherARP, ARPOp: 1, Flags: KeyARP, L3: 14,
		L3Len: 28,
	}
	if k != want {
		t.Errorf("ARP:\n got %+v\nwant %+v", k, want)
	}
	if ARPSender(f, &k) != testSrc || ARPTarget(f, &k) != (MAC{}) {
		t.Error("ARP: hardware addresses")
	}
}

func TestParseVnet(t *testing.T) {
	tcp4 := raw(EtherIPv4, ip4(ProtoTCP, 0, 3020), tcp(5), zeros(3000))
	tcp6 := raw(EtherIPv6, ip6(ProtoTCP, 3020), tcp(5), zeros(3000))
	fragment := raw(EtherIPv4, ip4(ProtoTCP, 0x2000, 3024), tcp(5), zeros(3004))
	long := []byte{0, 53, 4, 1, 0x0b, 0xc0, 0, 0}
	udp4 := raw(EtherIPv4, ip4(ProtoUDP, 0, 3008), long, zeros(3000))
	many := raw(EtherIPv4, ip4(ProtoTCP, 0, 20020), tcp(5), zeros(20000))
	padded := append(tcp4[:len(tcp4):len(tcp4)], 0)
	for _, c := range []struct {
		name                string
		eth                 []byte
		flags, gso          uint8
		hdr, size, at, from uint16
		want                Reason
		has                 KeyFlag
	}{
		{"finished", tcp4, 0, 0, 0, 0, 0, 0, ReasonNone, 0},
		{"offsets mean nothing without a flag", tcp4, 0, 0, 9, 9, 9999, 9999, ReasonNone, 0},
		{"checksum open", tcp4, 1, 0, 0, 0, 34, 16, ReasonNone, 0},
		{"checksum over a port", tcp4, 1, 0, 0, 0, 34, 2, ReasonBadVnet, 0},
		{"checksum over an address", tcp4, 1, 0, 0, 0, 14, 12, ReasonBadVnet, 0},
		{"checksum in the payload (tunnel)", udp4, 1, 0, 0, 0, 50, 16, ReasonNone, 0},
		{"checksum in a stream", tcp4, 1, 0, 0, 0, 54, 16, ReasonBadVnet, 0},
		{"checksum at the end", udp4, 1, 0, 0, 0, 3040, 0, ReasonNone, 0},
		{"checksum past the end", udp4, 1, 0, 0, 0, 3040, 1, ReasonBadVnet, 0},
		{"checksum far away", tcp4, 1, 0, 0, 0, 65535, 65535, ReasonBadVnet, 0},
		{"checksum in ARP", raw(EtherARP, arp(1)), 1, 0, 0, 0, 14, 16, ReasonBadVnet, 0},
		{"gso", tcp4, 1, GSOTCPv4, 54, 1448, 34, 16, ReasonNone, KeyGSO},
		{"gso with ECN", tcp4, 1, GSOTCPv4 | GSOECN, 54, 1448, 34, 16, ReasonNone, KeyGSO},
		{"gso of one packet", tcp4, 1, GSOTCPv4, 54, 3000, 34, 16, ReasonNone, 0},
		{"gso without checksum", tcp4, 0, GSOTCPv4, 54, 1448, 34, 16, ReasonBadVnet, 0},
		{"gso of 0", tcp4, 1, GSOTCPv4, 54, 0, 34, 16, ReasonBadVnet, 0},
		{"gso of 7", tcp4, 1, GSOTCPv4, 54, 7, 34, 16, ReasonBadVnet, 0},
		{"gso of 2,500 packets", many, 1, GSOTCPv4, 54, 8, 34, 16, ReasonBadVnet, 0},
		{"gso of 2,000 packets", many, 1, GSOTCPv4, 54, 10, 34, 16, ReasonNone, KeyGSO},
		{"gso header too long", tcp4, 1, GSOTCPv4, 4000, 1448, 34, 16, ReasonBadVnet, 0},
		{"gso of the other family", tcp4, 1, GSOTCPv6, 54, 1448, 34, 16, ReasonBadVnet, 0},
		{"gso over ipv6", tcp6, 1, GSOTCPv6, 74, 1428, 54, 16, ReasonNone, KeyGSO},
		{"gso of udp", udp4, 1, GSOUDPL4, 42, 1400, 34, 6, ReasonNone, KeyGSO},
		{"gso of udp as tcp", udp4, 1, GSOTCPv4, 42, 1400, 34, 6, ReasonBadVnet, 0},
		{"gso of a fragment", fragment, 1, GSOTCPv4, 54, 1448, 34, 16, ReasonBadVnet, 0},
		{"gso with bytes after the packet", padded, 1, GSOTCPv4, 54, 1448, 34, 16, ReasonBadVnet, 0},
		{"gso of an unknown kind", tcp4, 1, 3, 54, 1448, 34, 16, ReasonBadVnet, 0},
		{"only ECN", tcp4, 0, GSOECN, 0, 0, 0, 0, ReasonBadVnet, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := From(c.eth)
			v := f.Vnet()
			v[0], v[1] = c.flags, c.gso
			for i, w := range []uint16{c.hdr, c.size, c.at, c.from} {
				binary.LittleEndian.PutUint16(v[2+2*i:], w)
			}
			var k Key
			if got := Parse(f, &k); got != c.want {
				t.Fatalf("reason %v, want %v", got, c.want)
			}
			if k.Flags&KeyGSO != c.has {
				t.Fatalf("flags %b, want %b", k.Flags, c.has)
			}
		})
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	f := From(raw(EtherIPv6, ip6(60, 8+20), extension(ProtoTCP), tcp(5)))
	var k Key
	if n := testing.AllocsPerRun(100, func() { Parse(f, &k) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct {
		name string
		eth  []byte
	}{
		{"tcp4", raw(EtherIPv4, ip4(ProtoTCP, 0, 20), tcp(5))},
		{"tcp6", raw(EtherIPv6, ip6(ProtoTCP, 20), tcp(5))},
		{"udp4", raw(EtherIPv4, ip4(ProtoUDP, 0, 8), udp(8))},
	} {
		b.Run(c.name, func(b *testing.B) {
			f := From(c.eth)
			var k Key
			for b.Loop() {
				if Parse(f, &k) != ReasonNone {
					b.Fatal("refused")
				}
			}
		})
	}
	b.Run("tcp4-gso", func(b *testing.B) {
		f := From(raw(EtherIPv4, ip4(ProtoTCP, 0, 3020), tcp(5), zeros(3000)))
		f.Vnet().SetChecksum(34, 16)
		f.Vnet().SetGSO(GSOTCPv4, 1448, 54)
		var k Key
		for b.Loop() {
			if Parse(f, &k) != ReasonNone {
				b.Fatal("refused")
			}
		}
	})
}

func BenchmarkHash(b *testing.B) {
	var k Key
	Parse(From(raw(EtherIPv4, ip4(ProtoTCP, 0, 20), tcp(5))), &k)
	var h uint64
	b.Run("one way", func(b *testing.B) {
		for b.Loop() {
			h += k.Hash()
		}
	})
	b.Run("both ways", func(b *testing.B) {
		for b.Loop() {
			h += k.SymHash()
		}
	})
	_ = h
}

// Ports that follow each other are spread, whatever the seeds are; a mask or a shift may take the buckets from either
// end of a hash.
func TestHashSpreadsPorts(t *testing.T) {
	a, b, c := seedA, seedB, seedC
	defer func() { seedA, seedB, seedC = a, b, c }()
	r := rand.New(rand.NewPCG(1, 2))
	var k Key
	Parse(From(raw(EtherIPv4, ip4(ProtoTCP, 0, 20), tcp(5))), &k)
	const ports, tries, buckets = 1024, 1000, 64
	for range tries {
		seedA, seedB, seedC = r.Uint64()|1, r.Uint64()|1, r.Uint64()|1
		var n [4][buckets]int
		for i := range ports {
			k.SrcPort = uint16(40000 + i)
			n[0][k.Hash()>>58]++
			n[1][k.Hash()%buckets]++
			n[2][k.SymHash()>>58]++
			n[3][k.SymHash()%buckets]++
		}
		for what, n := range n {
			if most := slices.Max(n[:]); most > 4*ports/buckets {
				t.Fatalf("%d: %d of %d flows in one of %d buckets, with seeds %x %x %x", what, most, ports, buckets, seedA, seedB, seedC)
			}
		}
	}
}

func TestSymHash(t *testing.T) {
	var there, back Key
	Parse(From(raw(EtherIPv4, ip4(ProtoTCP, 0, 20), tcp(5))), &there)
	back = there
	back.Src, back.Dst, back.SrcPort, back.DstPort = there.Dst, there.Src, there.DstPort, there.SrcPort
	if there.SymHash() != back.SymHash() {
		t.Error("the two directions differ")
	}
	if there.Hash() == back.Hash() {
		t.Error("Hash does not tell the directions apart")
	}
	other := there
	other.SrcPort++
	if there.SymHash() == other.SymHash() || there.Hash() == other.Hash() {
		t.Error("another port has the same hash")
	}
}
