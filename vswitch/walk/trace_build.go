package walk

import (
	"cmp"
	"encoding/binary"
	"fmt"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch/measure"
)

// traceSrcPort stands for "some port": it lies beyond those that Linux guests take by themselves (ip_local_port_range).
const traceSrcPort = 61000

// build makes the frame as the guest would send it: to the neighbour on its own segment, else to the gateway.
func (t *tracer) build(r TraceRequest, src, dst end) (*frame.Frame, error) {
	v6 := !src.addr.IsIPv4()
	proto, l4, err := firstPacket(r, src.addr, dst.addr)
	if err != nil {
		return nil, err
	}
	l3, etherType := 20, uint16(frame.EtherIPv4)
	if v6 {
		l3, etherType = 40, frame.EtherIPv6
	}
	f := frame.New(frame.MinLen + l3 + len(l4))
	b := f.Eth()
	to := t.plan.Segments[src.Segment].GatewayMAC
	switch {
	case dst.addr.IsGroup():
		to = groupMAC(dst.addr)
	case t.plan.aside(src.Segment, dst.addr):
		to = broadcast
	case dst.Segment == src.Segment && dst.Port != 0:
		to = dst.MAC
	}
	frame.PutEth(b, to, src.MAC, etherType)
	putIP(b[frame.MinLen:], src.addr, dst.addr, proto, len(l4))
	copy(b[frame.MinLen+l3:], l4)
	frame.SetL4Checksum(b[frame.MinLen+l3:], src.addr, dst.addr, proto)
	return f, nil
}

// putIP writes the header of either family.
func putIP(b []byte, src, dst frame.Addr, proto uint8, l4 int) {
	if src.IsIPv4() {
		frame.PutIPv4(b, src, dst, proto, ourTTL, 20+l4)
		return
	}
	frame.PutIPv6(b, src, dst, proto, ourTTL, l4)
}

// groupMAC is the MAC that a group's packets are sent to (RFC 1112 6.4, RFC 2464 7).
func groupMAC(a frame.Addr) frame.MAC {
	switch {
	case !a.IsIPv4():
		return frame.MAC{0x33, 0x33, a[12], a[13], a[14], a[15]}
	case a[12] == 255:
		return broadcast
	}
	return frame.MAC{1, 0, 0x5e, a[13] & 0x7f, a[14], a[15]}
}

// firstPacket is what comes behind the IP header, but for the checksum, and its protocol.
func firstPacket(r TraceRequest, src, dst frame.Addr) (proto uint8, l4 []byte, err error) {
	l4 = make([]byte, 20) // TCP's header; for the others some of it is payload
	if r.SrcPort == 0 {
		r.SrcPort = traceSrcPort
	}
	switch r.Proto {
	case "icmp":
		return icmpPacket(r, src, dst, l4)
	case "tcp":
		flags, known := firewall.TCPFlags(r.Flags)
		if !known {
			flags = frame.TCPSyn
		}
		putPorts(l4, r.SrcPort, r.DstPort)
		l4[12], l4[13] = 5<<4, flags
		return frame.ProtoTCP, l4, nil
	case "udp":
		putPorts(l4, r.SrcPort, r.DstPort)
		binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
		return frame.ProtoUDP, l4, nil
	}
	proto, _ = firewall.ProtocolNumber(r.Proto)
	return proto, l4, nil
}

func putPorts(l4 []byte, src, dst uint16) {
	binary.BigEndian.PutUint16(l4, src)
	binary.BigEndian.PutUint16(l4[2:], dst)
}

// icmpPacket is a message of ICMP or ICMPv6. An error tells of a UDP packet that nobody sent, from the one whom the
// error goes to.
func icmpPacket(r TraceRequest, src, dst frame.Addr, m []byte) (proto uint8, l4 []byte, err error) {
	v6 := !src.IsIPv4()
	word := cmp.Or(r.ICMP, "echo")
	icmpType, code, ok := firewall.ICMPMessage(word, v6)
	if !ok {
		return 0, nil, fmt.Errorf("%s has no type %q", map[bool]string{false: "ICMP", true: "ICMPv6"}[v6], word)
	}
	proto, head := uint8(frame.ProtoICMP), 20
	if v6 {
		proto, head = frame.ProtoICMPv6, 40
	}
	if (measure.Flow{Proto: proto, ICMPType: icmpType}).IsError() {
		inner := make([]byte, head+8)
		putIP(inner, dst, src, frame.ProtoUDP, 8)
		putPorts(inner[head:], traceSrcPort, traceSrcPort)
		binary.BigEndian.PutUint16(inner[head+4:], 8)
		m = append(m[:8], inner...)
	}
	m[0], m[1] = icmpType, code
	return proto, m, nil
}
