package frame

import "encoding/binary"

// GENEVE (RFC 8926) is how a frame is steered: whole, as the guest sent it, behind an outer Ethernet, IPv4, UDP and
// GENEVE header that fit into the frame's headroom. The VNI says whose frame it is; where our own agent holds the far
// end, an option says more (Ticket), and comes back with the frame.

// GenevePort is GENEVE's UDP port.
const GenevePort = 6081

const (
	geneveLen      = 8
	geneveEthernet = 0x6558 // Trans Ether Bridging: the payload is an Ethernet frame
	geneveControl  = 0x80   // O bit, in the second byte
	geneveCritical = 0x40   // C bit: there is an option that must be understood

	ticketClass = 0xff53 // RFC 8926 7: 0xff00 to 0xffff are for experiments
	ticketType  = 0x81   // the highest bit: critical
	optionLen   = 4
	ticketLen   = 32

	outerLen = MinLen + 20 + 8 + geneveLen
	// SteerMTU is the MTU in bytes of the vNIC that steered frames go to: the longest that a TAP takes.
	SteerMTU = 65521
	// MaxSteered is the longest Ethernet frame in bytes that can be steered in one piece.
	MaxSteered = SteerMTU - (outerLen - MinLen) - optionLen - ticketLen
)

// VNI is a GENEVE virtual network identifier of 24 bits: session (8) | back (1) | port (15). A session is one stay in a
// placement that steers, so that what comes late from an earlier one is known. Port 0 is a probe.
type VNI uint32

// MaxSteerPort is the highest port whose frames can be steered.
const MaxSteerPort = 1<<15 - 1

// NewVNI puts a VNI together. back says that the frame was let through; without it, what comes from the appliance is
// its own answer to the guest.
func NewVNI(session uint8, port PortID, back bool) VNI {
	v := VNI(session)<<16 | VNI(port&MaxSteerPort)
	if back {
		v |= 1 << 15
	}
	return v
}

// Session is the number of the stay.
func (v VNI) Session() uint8 { return uint8(v >> 16) }

// Back says that the appliance has let the frame through.
func (v VNI) Back() bool { return v>>15&1 == 1 }

// Port is whose frame it is.
func (v VNI) Port() PortID { return PortID(v & MaxSteerPort) }

// Verdict is what an inspector says of a frame. The zero Verdict is none: a frame on its way to the inspector.
type Verdict uint8

// The verdicts of an inspector.
const (
	VerdictNone       Verdict = iota
	VerdictPass               // let it go on
	VerdictClean              // and the rest of its flow need not be steered any more
	VerdictDrop               // this frame goes nowhere
	VerdictReset              // nor any other of its flow, whose ends are told by a TCP reset
	VerdictQuarantine         // nor any other of its flow; nobody is told
	verdicts
)

// Ticket goes with a steered frame where the far end is our own, and must come back as it was, but for Verdict.
type Ticket struct {
	Seq     uint64 // counts the frames of one port in one session, from 1: none comes back twice
	Cookie  uint64 // of the flow: the same in both directions
	Port    PortID // the insertion point at which it was steered
	Dir     uint8
	Verdict Verdict
	Vnet    Vnet // the frame's own virtio_net_hdr
}

func (t *Ticket) put(b []byte) {
	binary.BigEndian.PutUint16(b, ticketClass)
	b[2], b[3] = ticketType, ticketLen/4
	b = b[optionLen:]
	binary.BigEndian.PutUint64(b, t.Seq)
	binary.BigEndian.PutUint64(b[8:], t.Cookie)
	binary.BigEndian.PutUint16(b[16:], uint16(t.Port))
	b[18], b[19] = t.Dir, byte(t.Verdict)
	copy(b[20:30], t.Vnet[:])
	b[30], b[31] = 0, 0
}

func (t *Ticket) get(b []byte) {
	t.Seq, t.Cookie = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	t.Port, t.Dir, t.Verdict = PortID(binary.BigEndian.Uint16(b[16:])), b[18], Verdict(b[19])
	copy(t.Vnet[:], b[20:30])
}

// PutGeneve writes a GENEVE header for an Ethernet frame, with a ticket where t is not nil, and returns its length. b
// has GeneveRoom bytes.
func PutGeneve(b []byte, vni VNI, t *Ticket) int {
	b[0], b[1] = 0, 0
	binary.BigEndian.PutUint16(b[2:], geneveEthernet)
	binary.BigEndian.PutUint32(b[4:], uint32(vni)<<8)
	if t == nil {
		return geneveLen
	}
	b[0], b[1] = (optionLen+ticketLen)/4, geneveCritical
	t.put(b[geneveLen:])
	return GeneveRoom
}

// GeneveRoom is the length in bytes of the longest GENEVE header that PutGeneve writes.
const GeneveRoom = geneveLen + optionLen + ticketLen

// ParseGeneve reads the GENEVE header at the beginning of b, and says how long it is. t is filled in where there is a
// ticket, and has says so. It is not ok where the payload is no Ethernet frame, or where an option must be understood
// and is not.
func ParseGeneve(b []byte, t *Ticket) (vni VNI, n int, has, ok bool) {
	if len(b) < geneveLen || b[0]>>6 != 0 || b[1]&geneveControl != 0 || binary.BigEndian.Uint16(b[2:]) != geneveEthernet {
		return 0, 0, false, false
	}
	n = geneveLen + int(b[0]&0x3f)*4
	if n > len(b) {
		return 0, 0, false, false
	}
	for at := geneveLen; at < n; {
		if n-at < optionLen {
			return 0, 0, false, false
		}
		size := int(b[at+3]&0x1f) * 4
		if size > n-at-optionLen {
			return 0, 0, false, false
		}
		switch known := binary.BigEndian.Uint16(b[at:]) == ticketClass && b[at+2] == ticketType; {
		case known && (has || size != ticketLen):
			return 0, 0, false, false
		case known:
			t.get(b[at+optionLen:])
			has = t.Verdict < verdicts
			if !has {
				return 0, 0, false, false
			}
		case b[at+2]&0x80 != 0:
			return 0, 0, false, false
		}
		at += optionLen + size
	}
	return VNI(binary.BigEndian.Uint32(b[4:]) >> 8), n, has, true
}

// Outer is the two ends of the tunnel, as the switch sees them.
type Outer struct {
	Local, Peer       Addr // IPv4
	LocalMAC, PeerMAC MAC
}

// Wrap puts the outer headers before a frame, in its headroom. What the virtio_net_hdr asks for goes with the ticket;
// without one, a checksum that is open stays open, and GSO is for whoever unwraps to restore. sport tells flows apart
// (RFC 8926 3.3).
func (f *Frame) Wrap(o *Outer, vni VNI, t *Ticket, sport uint16) {
	v := *f.Vnet()
	n := outerLen
	if t != nil {
		t.Vnet = v
		n += optionLen + ticketLen
	}
	f.Off -= n
	f.Len += n
	b := f.Eth()
	PutGeneve(b[outerLen-geneveLen:], vni, t)
	PutEth(b, o.PeerMAC, o.LocalMAC, EtherIPv4)
	PutIPv4(b[MinLen:], o.Local, o.Peer, ProtoUDP, 64, f.Len-MinLen)
	udp := b[MinLen+20:]
	binary.BigEndian.PutUint16(udp, sport)
	binary.BigEndian.PutUint16(udp[2:], GenevePort)
	binary.BigEndian.PutUint16(udp[4:], uint16(f.Len-MinLen-20))
	binary.BigEndian.PutUint16(udp[6:], 0) // no checksum: the inner frame has its own (RFC 8926 3.3)
	out := f.Vnet()
	out.Clear()
	if t == nil && v.Flags()&VnetNeedsCsum != 0 {
		out.SetChecksum(int(v.CsumStart())+n, int(v.CsumOffset()))
	}
}

// Unwrap takes the outer headers from a frame that came from the peer. t is filled in where there is a ticket, and has
// says so; the ticket's virtio_net_hdr is not put back, since it is the far end that says it. Where it is not ok, the
// frame is as it was.
func (f *Frame) Unwrap(o *Outer, t *Ticket) (vni VNI, has, ok bool) {
	b := f.Eth()
	if len(b) < outerLen || binary.BigEndian.Uint16(b[12:]) != EtherIPv4 || b[MinLen]>>4 != 4 || b[MinLen+9] != ProtoUDP {
		return 0, false, false
	}
	ip := b[MinLen:]
	head, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
	if head < 20 || total > len(ip) || total < head+8+geneveLen || binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 ||
		[4]byte(ip[12:16]) != [4]byte(o.Peer[12:]) || [4]byte(ip[16:20]) != [4]byte(o.Local[12:]) {
		return 0, false, false
	}
	udp := ip[head:total]
	if binary.BigEndian.Uint16(udp[2:]) != GenevePort || int(binary.BigEndian.Uint16(udp[4:])) != len(udp) {
		return 0, false, false
	}
	vni, n, has, ok := ParseGeneve(udp[8:], t)
	if !ok || len(udp)-8-n < MinLen {
		return 0, false, false
	}
	v, n := *f.Vnet(), MinLen+head+8+n
	f.Off += n
	f.Len = MinLen + total - n
	f.Vnet().Clear()
	if start := int(v.CsumStart()) - n; v.Flags()&VnetNeedsCsum != 0 && start >= 0 {
		f.Vnet().SetChecksum(start, int(v.CsumOffset()))
	}
	return vni, has, true
}
