package frame

import (
	"bytes"
	"testing"
)

// withOptions is a UDP packet whose IPv4 header has options, padded to whole words.
func withOptions(o ...byte) []byte {
	for len(o)%4 != 0 {
		o = append(o, 0)
	}
	head := append(ip4(ProtoUDP, 0, 8+len(o)), o...)
	head[0] = 0x40 | byte(len(head)/4)
	SetIPv4Checksum(head)
	return raw(EtherIPv4, head, udp(8))
}

func TestOptionsIPv4(t *testing.T) {
	for _, c := range []struct {
		name string
		o    []byte
		want Reason
	}{
		{"nothing but padding", []byte{1, 1, 1, 0}, ReasonNone},
		{"router alert", []byte{148, 4, 0, 0}, ReasonNone},
		{"record route", []byte{7, 7, 4, 0, 0, 0, 0}, ReasonNone},
		{"record route, full", []byte{7, 7, 8, 1, 2, 3, 4}, ReasonNone},
		{"timestamps", []byte{68, 8, 5, 0, 0, 0, 0, 0}, ReasonNone},
		{"timestamps with addresses", []byte{68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0}, ReasonNone},
		{"an option that nobody knows", []byte{222, 4, 0, 0}, ReasonNone},
		{"behind the end anything goes", []byte{0, 131, 1, 1}, ReasonNone},
		{"loose source route", []byte{131, 7, 4, 10, 10, 2, 10}, ReasonOptions},
		{"strict source route", []byte{137, 7, 4, 10, 10, 2, 10}, ReasonOptions},
		{"source route that is used up", []byte{131, 7, 8, 10, 10, 2, 10}, ReasonOptions},
		{"source route behind another option", []byte{1, 148, 4, 0, 0, 137, 3, 4}, ReasonOptions},
		{"length 0", []byte{7, 0, 4, 0}, ReasonOptions},
		{"length 1", []byte{222, 1, 0, 0}, ReasonOptions},
		{"length beyond the header", []byte{222, 9, 0, 0}, ReasonOptions},
		{"kind without a length", []byte{1, 1, 1, 222}, ReasonOptions},
		{"record route, pointer before its place", []byte{7, 7, 3, 0, 0, 0, 0}, ReasonOptions},
		{"record route, pointer across its end", []byte{7, 7, 6, 0, 0, 0, 0}, ReasonOptions},
		{"record route twice", []byte{7, 3, 4, 7, 3, 4}, ReasonOptions},
		{"timestamps, no room for one", []byte{68, 6, 5, 0, 0, 0}, ReasonOptions},
		{"timestamps, too many", []byte{68, 4, 5, 0xf0}, ReasonOptions},
		{"router alert cut", []byte{148, 2, 0, 0}, ReasonOptions},
	} {
		var k Key
		if got := Parse(From(withOptions(c.o...)), &k); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestOptionsHopByHop(t *testing.T) {
	options := func(o ...byte) []byte {
		h := append([]byte{ProtoUDP, 0}, o...)
		for len(h)%8 != 0 {
			h = append(h, 0)
		}
		h[1] = byte(len(h)/8 - 1)
		return raw(EtherIPv6, ip6(0, len(h)+8), h, udp(8))
	}
	for _, c := range []struct {
		name string
		eth  []byte
		want Reason
	}{
		{"padding", options(1, 4, 0, 0, 0, 0), ReasonNone},
		{"router alert", options(5, 2, 0, 0, 1, 0), ReasonNone},
		{"unknown, to be passed over", options(0x1e, 4, 1, 2, 3, 4), ReasonNone},
		{"unknown, to be dropped", options(0x5e, 4, 1, 2, 3, 4), ReasonOptions},
		{"unknown, to be answered", options(0x9e, 4, 1, 2, 3, 4), ReasonOptions},
		{"unknown, to be answered but to a group", options(0xde, 4, 1, 2, 3, 4), ReasonOptions},
		{"jumbogram", options(0xc2, 4, 0, 1, 0, 0), ReasonOptions},
		{"router alert of another length", options(5, 1, 0, 1, 1, 0), ReasonOptions},
		{"option beyond the header", options(0x1e, 9, 1, 2, 3, 4), ReasonOptions},
		{"padding that says something", options(1, 4, 0, 1, 0, 0), ReasonOptions},
		{"padding of more than seven", options(1, 6, 0, 0, 0, 0, 0, 0, 5, 2, 0, 0, 1, 0), ReasonOptions},
		{"nine options", options(bytes.Repeat([]byte{0x1e, 0}, 9)...), ReasonOptions},
		{"longer than the packet", with(options(1, 4, 0, 0, 0, 0), 55, 4), ReasonShort},
	} {
		var k Key
		if got := Parse(From(c.eth), &k); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestHeaderChecksum(t *testing.T) {
	for _, eth := range [][]byte{raw(EtherIPv4, ip4(ProtoUDP, 0, 8), udp(8)), withOptions(148, 4, 0, 0, 1, 1, 1, 0)} {
		var k Key
		for at := MinLen + 10; at < MinLen+20; at++ { // the sum itself and the addresses
			for bit := range 8 {
				if r := Parse(From(with(eth, at, eth[at]^1<<bit)), &k); r != ReasonChecksum {
					t.Errorf("bit %d of byte %d changed: %v", bit, at, r)
				}
			}
		}
	}
}

func TestL4Holds(t *testing.T) {
	sums := func(proto uint8, v6 bool, l4 ...byte) []byte {
		src, dst, ip, kind := addrA, addrB, ip4(proto, 0, len(l4)), uint16(EtherIPv4)
		if v6 {
			src, dst, ip, kind = addrX, addrY, ip6(proto, len(l4)), EtherIPv6
		}
		SetL4Checksum(l4, src, dst, proto)
		return raw(kind, ip, l4)
	}
	for _, v6 := range []bool{false, true} {
		icmp, l4 := uint8(ProtoICMP), 34
		if v6 {
			icmp, l4 = ProtoICMPv6, 54
		}
		for proto, eth := range map[uint8][]byte{
			ProtoTCP: sums(ProtoTCP, v6, tcp(5)...), ProtoUDP: sums(ProtoUDP, v6, udp(8)...), icmp: sums(icmp, v6, echoRequest(8)...),
		} {
			wrong := with(eth, l4+1, eth[l4+1]^1)
			for _, c := range []struct {
				name string
				eth  []byte
				vnet uint8
				want bool
			}{
				{"right", eth, 0, true},
				{"wrong", wrong, 0, false},
				{"padded", append(bytes.Clone(eth), 1, 2, 3), 0, true},
				{"verified by the host", wrong, VnetDataValid, true},
				{"still to be made", wrong, VnetNeedsCsum, true},
			} {
				f := From(c.eth)
				if f.Vnet()[0] = c.vnet; c.vnet == VnetNeedsCsum {
					f.Vnet().SetChecksum(l4, checksumOffset(proto))
				}
				var k Key
				if r := Parse(f, &k); r != ReasonNone || L4Holds(f.Eth(), &k) != c.want {
					t.Errorf("protocol %d, IPv6 %v, %s: %v, holds %v", proto, v6, c.name, r, L4Holds(f.Eth(), &k))
				}
			}
		}
	}
	var k Key
	f := From(raw(EtherIPv4, ip4(ProtoUDP, 0, 8), udp(8)))
	if Parse(f, &k); !L4Holds(f.Eth(), &k) {
		t.Error("UDP without a checksum")
	}
	first := raw(EtherIPv4, ip4(ProtoUDP, 0x2000, 8), with(udp(8), 7, 1))
	if f := From(first); Parse(f, &k) != ReasonNone || !L4Holds(f.Eth(), &k) {
		t.Error("the sum of a fragment is in all of them")
	}
}
