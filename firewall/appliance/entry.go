package appliance

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// tcpStates are conntrack's names of its TCP states (enum tcp_conntrack,
// include/uapi/linux/netfilter/nf_conntrack_tcp.h), in order.
var tcpStates = []string{
	"none", "syn-sent", "syn-recv", "established", "fin-wait", "close-wait", "last-ack", "time-wait", "close", "syn-sent2",
}

const tcpEstablished = 3

// Flags of one side of a TCP entry (include/uapi/linux/netfilter/nf_conntrack_tcp.h).
const (
	flagScaled, flagSACK, flagLiberal = 0x01, 0x02, 0x08
	flagMask                          = flagScaled | flagSACK | flagLiberal
)

// tcpInfo is what conntrack is told of a TCP flow. ctnetlink takes window scales, but no sequence numbers: so the
// windows of such an entry may not be held against it, and it alone says so (struct nf_ct_tcp_flags: flags, and a mask
// of those that are meant).
func tcpInfo(state uint8, sides [2]firewall.TCPSide) *conntrack.ProtoInfoTCP {
	flags := func(s firewall.TCPSide) uint16 {
		f := uint16(flagLiberal)
		if s.Scaled {
			f |= flagScaled
		}
		if s.SACK {
			f |= flagSACK
		}
		return f<<8 | flagMask
	}
	return &conntrack.ProtoInfoTCP{
		State: state, OriginalWindowScale: sides[0].Scale, ReplyWindowScale: sides[1].Scale,
		OriginalFlags: flags(sides[0]), ReplyFlags: flags(sides[1]),
	}
}

// tcpSides is the way back.
func tcpSides(t *conntrack.ProtoInfoTCP) (sides [2]firewall.TCPSide) {
	if t == nil {
		return sides
	}
	for i, flags := range []uint16{t.OriginalFlags, t.ReplyFlags} {
		f := flags >> 8
		sides[i] = firewall.TCPSide{Scaled: f&flagScaled != 0, SACK: f&flagSACK != 0, Liberal: f&flagLiberal != 0}
	}
	sides[0].Scale, sides[1].Scale = t.OriginalWindowScale, t.ReplyWindowScale
	return sides
}

// The ICMP types of an echo (RFC 792, RFC 4443).
// minTimeout, in seconds, is for flows that are carried in their last moment: conntrack takes no entry without a time.
const minTimeout = 1

// toEntry makes of a flow what conntrack would hold had it seen the flow itself.
func toEntry(r *firewall.FlowRecord) (conntrack.Flow, error) {
	src, dst := r.Src.Addr().Unmap(), r.Dst.Addr().Unmap()
	if !src.IsValid() || src.Is4() != dst.Is4() {
		return conntrack.Flow{}, errors.New("source and destination are of two kinds")
	}
	status := conntrack.StatusConfirmed
	if r.Replied {
		status |= conntrack.StatusSeenReply
	}
	f := conntrack.NewFlow(r.Proto, status, src, dst, r.Src.Port(), r.Dst.Port(), uint32(max(r.Timeout, minTimeout)), 0)
	kind, code, asks := r.Request()
	switch {
	case r.Proto == unix.IPPROTO_TCP:
		state := tcpState(r)
		f.ProtoInfo.TCP = tcpInfo(state, r.TCP)
		if r.Replied && state >= tcpEstablished {
			f.Status |= conntrack.StatusAssured // or a full table would throw it out first
		}
	case asks:
		return f, setRequest(&f, r.Src.Port(), kind, code)
	case r.Proto == unix.IPPROTO_ICMP || r.Proto == unix.IPPROTO_ICMPV6:
		return f, errors.New("ICMP of the other family, of which conntrack keeps nothing")
	case r.Replied:
		f.Status |= conntrack.StatusAssured
	}
	return f, nil
}

// tcpState is the state that a record names. One that is not known to conntrack is told from what has been seen.
func tcpState(r *firewall.FlowRecord) uint8 {
	switch i := slices.Index(tcpStates, r.State); {
	case i > 0:
		return uint8(i)
	case r.Replied:
		return tcpEstablished
	default:
		return uint8(slices.Index(tcpStates, "syn-sent"))
	}
}

// replies are the types that answer the requests that conntrack keeps (RFC 792, RFC 950, RFC 4443, RFC 4620).
var replies = map[uint8]map[uint8]uint8{
	unix.IPPROTO_ICMP: {
		frame.ICMPEcho: frame.ICMPEchoReply, frame.ICMPTimestamp: frame.ICMPTimestampReply,
		frame.ICMPInfo: frame.ICMPInfoReply, frame.ICMPMask: frame.ICMPMaskReply,
	},
	unix.IPPROTO_ICMPV6: {frame.ICMP6Echo: frame.ICMP6EchoReply, frame.ICMP6NodeQuery: frame.ICMP6NodeReply},
}

func setRequest(f *conntrack.Flow, id uint16, kind, code uint8) error {
	proto := f.TupleOrig.Proto.Protocol
	answer, known := replies[proto][kind]
	if !known {
		return fmt.Errorf("ICMP type %d asks nothing", kind)
	}
	f.TupleOrig.Proto = conntrack.ProtoTuple{Protocol: proto, ICMPID: id, ICMPType: kind, ICMPCode: code}
	f.TupleReply.Proto = conntrack.ProtoTuple{Protocol: proto, ICMPID: id, ICMPType: answer, ICMPCode: code}
	return nil
}

// toRecord is the way back.
func toRecord(f *conntrack.Flow) firewall.FlowRecord {
	t := &f.TupleOrig
	srcPort, dstPort := t.Proto.SourcePort, t.Proto.DestinationPort
	if p := t.Proto.Protocol; p == unix.IPPROTO_ICMP || p == unix.IPPROTO_ICMPV6 {
		srcPort, dstPort = t.Proto.ICMPID, t.Proto.ICMPID
	}
	return firewall.FlowRecord{
		Proto:    t.Proto.Protocol,
		Src:      netip.AddrPortFrom(t.IP.SourceAddress, srcPort),
		Dst:      netip.AddrPortFrom(t.IP.DestinationAddress, dstPort),
		ICMPType: t.Proto.ICMPType,
		ICMPCode: t.Proto.ICMPCode,
		State:    stateName(f),
		Replied:  f.Status.SeenReply(),
		Related:  f.Status.Expected(),
		Timeout:  int(f.Timeout),
		Frames:   [2]uint64{f.CountersOrig.Packets, f.CountersReply.Packets},
		Bytes:    [2]uint64{f.CountersOrig.Bytes, f.CountersReply.Bytes},
		TCP:      tcpSides(f.ProtoInfo.TCP),
	}
}

func stateName(f *conntrack.Flow) string {
	switch tcp := f.ProtoInfo.TCP; {
	case tcp != nil && int(tcp.State) < len(tcpStates):
		return tcpStates[tcp.State]
	case f.Status.SeenReply():
		return "replied"
	default:
		return "unreplied"
	}
}
