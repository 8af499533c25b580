package inspect

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"sluice/vnic/frame"
)

var (
	clientAddr = frame.AddrFrom(netip.MustParseAddr("10.10.1.10"))
	serverAddr = frame.AddrFrom(netip.MustParseAddr("10.10.2.10"))
	client6    = frame.AddrFrom(netip.MustParseAddr("fd00:10:1::10"))
	server6    = frame.AddrFrom(netip.MustParseAddr("fd00:10:2::10"))
	epoch      = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	virus      = EICAR()
)

// end is one end of a flow.
type end struct {
	addr frame.Addr
	port uint16
}

var (
	client = end{clientAddr, 40000}
	server = end{serverAddr, 80}
)

// ip is an Ethernet frame with an IP packet around l4.
func ip(src, dst frame.Addr, proto uint8, l4 []byte) *frame.Frame {
	head := 20
	if !src.IP().Is4() {
		head = 40
	}
	f := frame.New(frame.MinLen + head + len(l4))
	eth := f.Eth()
	if head == 20 {
		frame.PutEth(eth, frame.MAC{2, 2}, frame.MAC{2, 1}, frame.EtherIPv4)
		frame.PutIPv4(eth[frame.MinLen:], src, dst, proto, 64, head+len(l4))
	} else {
		frame.PutEth(eth, frame.MAC{2, 2}, frame.MAC{2, 1}, frame.EtherIPv6)
		frame.PutIPv6(eth[frame.MinLen:], src, dst, proto, 64, len(l4))
	}
	copy(eth[frame.MinLen+head:], l4)
	return f
}

// tcp is a frame with a TCP segment.
func tcp(from, to end, flags uint8, seq, ack uint32, payload []byte) *frame.Frame {
	b := make([]byte, 20+len(payload))
	binary.BigEndian.PutUint16(b, from.port)
	binary.BigEndian.PutUint16(b[2:], to.port)
	binary.BigEndian.PutUint32(b[4:], seq)
	binary.BigEndian.PutUint32(b[8:], ack)
	b[12], b[13] = 5<<4, flags
	binary.BigEndian.PutUint16(b[14:], 65535)
	copy(b[20:], payload)
	binary.BigEndian.PutUint16(b[16:], frame.L4Checksum(from.addr, to.addr, frame.ProtoTCP, b))
	return ip(from.addr, to.addr, frame.ProtoTCP, b)
}

func udp(from, to end, payload []byte) *frame.Frame {
	b := make([]byte, 8+len(payload))
	binary.BigEndian.PutUint16(b, from.port)
	binary.BigEndian.PutUint16(b[2:], to.port)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	copy(b[8:], payload)
	return ip(from.addr, to.addr, frame.ProtoUDP, b)
}

// rig is an inspector with a clock that a test turns.
type rig struct {
	t *testing.T
	*Inspector
	now time.Time
}

func newRig(t *testing.T, file string) *rig {
	t.Helper()
	c, fault := Load("s.yaml", []byte(file))
	if fault != nil {
		t.Fatal(fault)
	}
	return &rig{t, New(c, epoch), epoch}
}

func (r *rig) judge(f *frame.Frame) frame.Verdict { return r.Judge(r.now, f) }

func (r *rig) expect(what string, f *frame.Frame, want frame.Verdict) {
	r.t.Helper()
	if got := r.judge(f); got != want {
		r.t.Errorf("%s: %s, want %s", what, verdictName(got), verdictName(want))
	}
}

const (
	clientISN, serverISN = 1000, 5000
	ackFlag              = frame.TCPAck
)

// shake is how a conversation begins.
func (r *rig) shake(a, b end) {
	r.t.Helper()
	r.expect("SYN", tcp(a, b, frame.TCPSyn, clientISN, 0, nil), frame.VerdictPass)
	r.expect("SYN-ACK", tcp(b, a, frame.TCPSyn|ackFlag, serverISN, clientISN+1, nil), frame.VerdictPass)
	r.expect("ACK", tcp(a, b, ackFlag, clientISN+1, serverISN+1, nil), frame.VerdictPass)
}

// anomaly is how often one was met.
func (r *rig) anomaly(name string) uint64 {
	for _, c := range r.Report().Anomalies {
		if c.Name == name {
			return c.Count
		}
	}
	r.t.Fatalf("no anomaly %q", name)
	return 0
}
