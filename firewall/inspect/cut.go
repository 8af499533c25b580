package inspect

import (
	"encoding/binary"

	"sluice/vnic/frame"
)

// Cut leaves of a frame what tells its flow: the Ethernet and IP header, with extensions, and that of TCP, UDP or ICMP,
// as a well-formed packet without payload. The lengths say so, IPv4's checksum is right, the L4 checksum is not, and
// the virtio_net_hdr is empty. Of what is no IP packet only the Ethernet header is left, if there is one. k is what was
// read from it; an empty one is for what could not be read.
func Cut(f *frame.Frame, k *frame.Key) {
	*f.Vnet() = frame.Vnet{}
	eth := f.Eth()
	n := int(k.L4)
	if k.Has(frame.KeyL4) {
		n = int(k.Payload)
	}
	if n < frame.MinLen+20 || n > len(eth) {
		f.Len = min(f.Len, frame.MinLen)
		return
	}
	f.Len = n
	ip := eth[frame.MinLen:n]
	if k.Has(frame.KeyIPv6) {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-40))
	} else {
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		frame.SetIPv4Checksum(ip)
	}
	if k.Proto == frame.ProtoUDP && k.Has(frame.KeyL4) {
		binary.BigEndian.PutUint16(eth[k.L4+4:], 8)
	}
}
