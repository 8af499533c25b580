package matrix

import (
	"bytes"
	"encoding/binary"

	"sluice/vnic/frame"
)

// unfinished is a packet whose sender has left work to its NIC, as the virtio_net_hdr before it says: to fill in the
// checksum, or to cut it into packets.
type unfinished struct {
	name    string
	b       base
	begun   bool // it is part of a flow that both ends have begun
	payload int  // 0 is what the base has
	size    int  // of the payload in each packet: 0 is one packet, full is what the far segment takes
	do      func(o *odd)
	lie     func(v *frame.Vnet, o *odd) // what is wrong in the header; nil is nothing
}

const (
	full   = -1
	farMTU = 1500
)

// many is a payload of more than two packets.
const many = 3000

// sumFrom says where the sum begins, counted from the header of TCP or UDP, and where it lies from there.
func sumFrom(start, offset int) func(*frame.Vnet, *odd) {
	return func(v *frame.Vnet, o *odd) { v.SetChecksum(o.head()+start, offset) }
}

func ofKind(four, six uint8) func(*frame.Vnet, *odd) {
	return func(v *frame.Vnet, o *odd) {
		v[1] = map[bool]uint8{false: four, true: six}[o.v6]
	}
}

func ofSize(size int) func(*frame.Vnet, *odd) {
	return func(v *frame.Vnet, _ *odd) { binary.LittleEndian.PutUint16(v[4:], uint16(size)) }
}

func withFlags(f uint8) func(*odd) { return func(o *odd) { o.l4[13] = f } }

func inPieces(field uint16) func(*odd) {
	return func(o *odd) {
		if o.fragment = field; o.v6 {
			o.fragment, o.chain = 0, []exthdr{{44, pad44(field&0x1fff<<3 | field>>13)}}
		}
	}
}

var (
	tcp80, tcp22, tcp25 = bases[0], bases[1], bases[2]
	udp53, udp22, udp25 = bases[3], bases[4], bases[5]
)

// leftToDo are packets that are right, and those that are wrong in one way each.
var leftToDo = []unfinished{
	{"with an open sum", tcp80, false, 0, 0, nil, nil},
	{"with an open sum", tcp22, false, 0, 0, nil, nil},
	{"with an open sum", tcp25, false, 0, 0, nil, nil},
	{"with an open sum", udp53, false, 0, 0, nil, nil},
	{"with an open sum", udp22, false, 0, 0, nil, nil},
	{"with an open sum", udp25, false, 0, 0, nil, nil},
	{"with an open sum, ttl 1", tcp22, false, 0, 0, func(o *odd) { o.ttl = 1 }, nil},
	{"with an open sum that begins beyond it", tcp80, false, 0, 0, nil, sumFrom(900, 16)},
	{"with an open sum that lies beyond it", tcp80, false, 0, 0, nil, sumFrom(0, 900)},
	{"with an open sum in the IP header", tcp80, false, 0, 0, nil, sumFrom(-20, 10)},
	{"with an open sum in its ports", tcp80, false, 0, 0, nil, sumFrom(0, 2)},
	{"for many", tcp80, true, many, full, nil, nil},
	{"for many that end the flow", tcp80, true, many, full, withFlags(frame.TCPAck | frame.TCPPsh | frame.TCPFin | 0x80), nil},
	{"for many short ones", tcp80, true, many, 1000, nil, nil},
	{"for many that are too long", tcp80, true, 2 * many, 1600, nil, nil},
	{"for many, ttl 1", tcp80, true, many, full, func(o *odd) { o.ttl = 1 }, nil},
	{"for many, of no flow", tcp80, false, many, full, withFlags(frame.TCPAck), nil},
	{"for many", tcp25, false, many, full, nil, nil},
	{"for many", tcp22, false, many, full, nil, nil},
	{"for many", udp53, false, many, 1400, nil, nil},
	{"for many short ones", udp53, false, many, 100, nil, nil},
	{"for many that are too long", udp53, false, 2 * many, 1600, nil, nil},
	{"for many", udp22, false, many, 1400, nil, nil},
	{"for many", udp25, false, many, 1400, nil, nil},
	{"for one", tcp80, true, 1000, 1400, nil, nil},
	{"for many, with an option", tcp80, true, many, full, func(o *odd) {
		o.options, o.chain = []byte{1, 1, 1, 0}, []exthdr{exthdrs[1].exthdr}
	}, nil},
	{"for many, a first piece", tcp80, true, many, full, inPieces(0x2000), nil},
	{"for many, a later piece", tcp80, true, many, full, inPieces(0x0010), nil},
	{"for many of no length", tcp80, true, many, full, nil, ofSize(0)},
	{"for many of 7 bytes", tcp80, true, many, full, nil, ofSize(7)},
	{"for many, with a sum that begins beyond it", tcp80, true, many, full, nil, sumFrom(9000, 16)},
	{"for many, with a sum that lies beyond it", tcp80, true, many, full, nil, sumFrom(0, 9000)},
	{"for many, with another's sum", tcp80, true, many, full, nil, sumFrom(0, 6)},
	{"for many, with no open sum", tcp80, true, many, full, nil, func(v *frame.Vnet, _ *odd) { v[0] = 0 }},
	{"for many of the other family", tcp80, true, many, full, nil, ofKind(frame.GSOTCPv6, frame.GSOTCPv4)},
	{"for many of another protocol", tcp80, true, many, full, nil, ofKind(frame.GSOUDPL4, frame.GSOUDPL4)},
	{"for many of another protocol", udp53, false, many, 1400, nil, ofKind(frame.GSOTCPv4, frame.GSOTCPv6)},
	{"for many of an unknown kind", tcp80, true, many, full, nil, ofKind(2, 2)},
	{"for many, with longer headers than it is", tcp80, true, many, full, nil, func(v *frame.Vnet, _ *odd) {
		binary.LittleEndian.PutUint16(v[2:], 9000)
	}},
	{"for many, padded", tcp80, true, many, full, func(o *odd) { o.trailer = 6 }, func(*frame.Vnet, *odd) {}},
}

// unfinished adds them.
func (m *maker) unfinished(v6 bool) {
	for _, u := range leftToDo {
		o := m.packet(u.b, v6)
		c := Case{Name: family(v6) + u.b.name + " " + u.name}
		if u.begun {
			c.Before = handshake(o)
		}
		o.fill(u.payload)
		if u.do != nil {
			u.do(o)
		}
		if u.b.proto == frame.ProtoUDP {
			binary.BigEndian.PutUint16(o.l4[4:], uint16(len(o.l4)))
		}
		if u.size == full {
			u.size = farMTU - (o.head() - frame.MinLen) - o.headL4()
		}
		f := Frame{Eth: o.eth()}
		copy(f.Eth[o.head()+sumAt(o.proto):], o.openSum())
		f.Vnet.SetChecksum(o.head(), sumAt(o.proto))
		if u.size > 0 {
			f.Vnet.SetGSO(o.gsoKind(), u.size, o.head()+o.headL4())
		}
		if u.lie == nil {
			c.Stands = o.packets(u.size)
		} else {
			u.lie(&f.Vnet, o)
		}
		c.Judged = []Frame{f}
		m.cases = append(m.cases, c)
	}
}

// fill makes the payload n bytes long, no two packets of it alike. It gets no shorter.
func (o *odd) fill(n int) {
	for i := len(o.l4) - o.headL4(); i < n; i++ {
		o.l4 = append(o.l4, byte(i*7))
	}
}

// handshake is how a flow begins, and o becomes what may follow.
func handshake(o *odd) []Frame {
	syn, answer := o.clone(), o.clone()
	answer.smac, answer.src, answer.dst = ServerMAC, o.dst, o.src
	copy(answer.l4, o.l4[2:4])
	copy(answer.l4[2:], o.l4[:2])
	binary.BigEndian.PutUint64(answer.l4[4:], 9000<<32|7001) // sequence number and acknowledgement
	answer.l4[13], answer.l4[14] = frame.TCPSyn|frame.TCPAck, 0xff
	binary.BigEndian.PutUint64(o.l4[4:], 7001<<32|9001)
	o.l4[13] = frame.TCPAck
	return []Frame{{Eth: syn.eth()}, {Server: true, Eth: answer.eth()}}
}

// head is how many bytes lie before what the packet carries.
func (o *odd) head() int { return frame.MinLen + len(o.ip()) - len(o.l4) }

// headL4 is how long the header of TCP or UDP is.
func (o *odd) headL4() int { return map[uint8]int{frame.ProtoTCP: 20, frame.ProtoUDP: 8}[o.proto] }

// openSum is what a sender that leaves the checksum to its NIC puts there: the sum of the pseudo-header.
func (o *odd) openSum() []byte {
	c := ^frame.L4Checksum(frame.AddrFrom(o.src), frame.AddrFrom(o.dst), o.proto, make([]byte, len(o.l4)))
	return binary.BigEndian.AppendUint16(nil, c)
}

func (o *odd) gsoKind() uint8 {
	switch {
	case o.proto == frame.ProtoUDP:
		return frame.GSOUDPL4
	case o.v6:
		return frame.GSOTCPv6
	}
	return frame.GSOTCPv4
}

// packets are what the packet stands for, size bytes of payload in each; 0 is all in one.
func (o *odd) packets(size int) (all [][]byte) {
	payload := o.l4[o.headL4():]
	if size == 0 {
		size = max(1, len(payload))
	}
	for at := 0; at == 0 || at < len(payload); at += size {
		p, end := o.clone(), min(at+size, len(payload))
		if p.l4 = append(bytes.Clone(o.l4[:o.headL4()]), payload[at:end]...); o.proto == frame.ProtoTCP {
			binary.BigEndian.PutUint32(p.l4[4:], binary.BigEndian.Uint32(o.l4[4:])+uint32(at))
			if end < len(payload) {
				p.l4[13] &^= frame.TCPFin | frame.TCPPsh
			}
			if at > 0 {
				p.l4[13] &^= 0x80 // CWR is said once
			}
		} else {
			binary.BigEndian.PutUint16(p.l4[4:], uint16(len(p.l4)))
		}
		b := p.eth()
		if ip := b[frame.MinLen:]; !o.v6 {
			binary.BigEndian.PutUint16(ip[4:], uint16(len(all))) // identifications count up
			frame.SetIPv4Checksum(ip)
		}
		all = append(all, b)
	}
	return all
}
