package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"sluice/firewall"
	"sluice/firewall/fault"
)

// Flows travel packed, not as JSON: a change of placement waits for them, and a guest without KVM takes longer to read
// one flow in JSON than its kernel takes to make the entry. What is packed is what conntrack can know; numbers are
// big-endian:
//
//	proto 1, replied and related 1, source 16, port 2, destination 16, port 2, timeout 4,
//	frames 8 8, bytes 8 8, TCP's options 1 1, ICMP's type and code 1 1, length of state 1, state
const (
	flowFixed    = 1 + 1 + 16 + 2 + 16 + 2 + 4 + 4*8 + 2 + 2 + 1
	maxFlowState = 32

	seenReplied, seenRelated = 1, 2
)

var errBadFlow = errors.New("bad flow")

// packFlows is the form of flows on the line.
func packFlows(flows []firewall.FlowRecord) []byte {
	b := make([]byte, 0, len(flows)*(flowFixed+len("established")))
	for i := range flows {
		b = packFlow(b, &flows[i])
	}
	return b
}

func packFlow(b []byte, f *firewall.FlowRecord) []byte {
	seen := byte(0)
	if f.Replied {
		seen |= seenReplied
	}
	if f.Related {
		seen |= seenRelated
	}
	b = append(b, f.Proto, seen)
	for _, ap := range []netip.AddrPort{f.Src, f.Dst} {
		a := [16]byte{} // the zero Addr has no 16 bytes of its own
		if ap.Addr().IsValid() {
			a = ap.Addr().As16()
		}
		b = append(b, a[:]...)
		b = binary.BigEndian.AppendUint16(b, ap.Port())
	}
	b = binary.BigEndian.AppendUint32(b, uint32(max(0, min(f.Timeout, 1<<31-1))))
	for _, n := range []uint64{f.Frames[0], f.Frames[1], f.Bytes[0], f.Bytes[1]} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = append(b, packSide(f.TCP[0]), packSide(f.TCP[1]), f.ICMPType, f.ICMPCode)
	state := f.State[:min(len(f.State), maxFlowState)]
	return append(append(b, byte(len(state))), state...)
}

// unpackFlows reads what packFlows wrote, or anything else that a guest may send.
func unpackFlows(b []byte) ([]firewall.FlowRecord, error) {
	flows := make([]firewall.FlowRecord, 0, len(b)/flowFixed)
	for len(b) > 0 {
		f, rest, err := unpackFlow(b)
		if err != nil {
			return nil, fmt.Errorf("flow %d: %w", len(flows), err)
		}
		flows, b = append(flows, f), rest
	}
	return flows, nil
}

func unpackFlow(b []byte) (f firewall.FlowRecord, rest []byte, err error) {
	if len(b) < flowFixed {
		return f, nil, fmt.Errorf("%d bytes: %w", len(b), errBadFlow)
	}
	state := int(b[flowFixed-1])
	if b[1] > seenReplied|seenRelated || state > maxFlowState || len(b) < flowFixed+state {
		return f, nil, errBadFlow
	}
	f.Proto, f.Replied, f.Related = b[0], b[1]&seenReplied != 0, b[1]&seenRelated != 0
	f.Src, f.Dst = unpackAddrPort(b[2:]), unpackAddrPort(b[20:])
	f.Timeout = int(binary.BigEndian.Uint32(b[38:]) & (1<<31 - 1))
	f.Frames = [2]uint64{binary.BigEndian.Uint64(b[42:]), binary.BigEndian.Uint64(b[50:])}
	f.Bytes = [2]uint64{binary.BigEndian.Uint64(b[58:]), binary.BigEndian.Uint64(b[66:])}
	f.TCP = [2]firewall.TCPSide{unpackSide(b[74]), unpackSide(b[75])}
	f.ICMPType, f.ICMPCode = b[76], b[77]
	f.State = fault.Line(string(b[flowFixed:flowFixed+state]), maxFlowState)
	return f, b[flowFixed+state:], nil
}

// The form of one side of a TCP flow: its window scale in 4 bits, and flags.
const sideScaled, sideSACK, sideLiberal = 1 << 4, 1 << 5, 1 << 6

func packSide(s firewall.TCPSide) (b byte) {
	b = min(s.Scale, 15)
	for _, f := range []struct {
		is   bool
		flag byte
	}{{s.Scaled, sideScaled}, {s.SACK, sideSACK}, {s.Liberal, sideLiberal}} {
		if f.is {
			b |= f.flag
		}
	}
	return b
}

func unpackSide(b byte) firewall.TCPSide {
	return firewall.TCPSide{Scale: b & 15, Scaled: b&sideScaled != 0, SACK: b&sideSACK != 0, Liberal: b&sideLiberal != 0}
}

func unpackAddrPort(b []byte) netip.AddrPort {
	a := netip.AddrFrom16([16]byte(b[:16])).Unmap()
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[16:]))
}
