package frame_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"sluice/vnic/frame"
)

// datagram is UDP from 10.10.1.10 port 40000 to 10.10.2.10 port 53, with 4 bytes of payload.
func datagram() *frame.Frame {
	src, dst := frame.AddrFrom(netip.MustParseAddr("10.10.1.10")), frame.AddrFrom(netip.MustParseAddr("10.10.2.10"))
	f := frame.New(14 + 20 + 8 + 4)
	eth := f.Eth()
	frame.PutEth(eth, frame.MAC{2, 0, 0, 0, 0, 2}, frame.MAC{2, 0, 0, 0, 0, 1}, frame.EtherIPv4)
	frame.PutIPv4(eth[14:], src, dst, frame.ProtoUDP, 64, 20+8+4)
	udp := eth[34:]
	binary.BigEndian.PutUint16(udp, 40000)
	binary.BigEndian.PutUint16(udp[2:], 53)
	binary.BigEndian.PutUint16(udp[4:], 8+4)
	frame.SetL4Checksum(udp, src, dst, frame.ProtoUDP)
	return f
}

func ExampleParse() {
	var k frame.Key
	f := datagram()
	fmt.Println(frame.Parse(f, &k), k.Proto == frame.ProtoUDP, k.SrcPort, k.DstPort, k.PayloadLen)

	f.Eth()[14+8]-- // the TTL, but not the header's checksum
	fmt.Println(frame.Parse(f, &k))

	f.Len -= 30
	fmt.Println(frame.Parse(f, &k))
	// Output:
	// none true 40000 53 4
	// bad-checksum
	// short
}
