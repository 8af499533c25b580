package kernel_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"sluice/vnic/frame"
)

// drawer plays guests that talk, and sometimes do something odd.
type drawer struct {
	r     *rand.Rand
	talks []*talk
}

// talk is one flow: of who began, and the other.
type talk struct {
	ends  [2]int
	v6    bool
	proto uint8
	ports [2]uint16
	seq   [2]uint32
	step  int // of TCP's handshake
}

// drawn is a frame, and what is odd about it.
type drawn struct {
	frame *frame.Frame
	odd   string
	talk  *talk
}

func (d drawn) String() string {
	return fmt.Sprintf("proto %d, v6 %v, %d to %d: %s\n%x", d.talk.proto, d.talk.v6, d.talk.ends[0], d.talk.ends[1], d.odd, d.frame.Wire()[:min(120, d.frame.Len)])
}

func newDrawer(seed uint64) *drawer {
	d := &drawer{r: rand.New(rand.NewPCG(seed, 0))}
	for i := range 12 {
		d.talks = append(d.talks, d.newTalk(i))
	}
	return d
}

func (d *drawer) newTalk(i int) *talk {
	t := &talk{ends: [][2]int{{0, 1}, {0, 2}, {2, 1}}[i%3], v6: i/3%2 == 1, proto: frame.ProtoUDP, ports: [2]uint16{uint16(20000 + d.r.IntN(40000)), 53}}
	if i >= 6 {
		t.proto, t.ports[1] = frame.ProtoTCP, 80
		t.seq = [2]uint32{d.r.Uint32(), d.r.Uint32()}
	}
	return t
}

// draw gives a frame, and which guest sends it.
func (d *drawer) draw() (from int, f drawn) {
	i := d.r.IntN(len(d.talks))
	if d.r.IntN(200) == 0 {
		d.talks[i] = d.newTalk(i)
	}
	t := d.talks[i]
	side := d.r.IntN(2)
	if t.proto == frame.ProtoTCP && t.step < 3 {
		side = t.step % 2
	}
	f = d.frame(t, side)
	return t.ends[side], f
}

// frame makes the next frame of one side.
func (d *drawer) frame(t *talk, side int) drawn {
	flags, payload := uint8(frame.TCPAck), d.r.IntN(400)
	seq, ack := t.seq[side], t.seq[1-side]
	if t.proto == frame.ProtoTCP && t.step < 3 {
		payload = 0
		flags = []uint8{frame.TCPSyn, frame.TCPSyn | frame.TCPAck, frame.TCPAck}[t.step]
		if t.step++; t.step < 3 {
			t.seq[side]++
		}
		if flags == frame.TCPSyn {
			ack = 0
		}
	}
	gso := t.proto == frame.ProtoTCP && t.step == 3 && payload > 0 && d.r.IntN(6) == 0
	if gso {
		payload = 2000 + d.r.IntN(8000)
	}
	head, l3 := 8, 20
	if t.proto == frame.ProtoTCP {
		head = 20 + 12*d.r.IntN(2)
	}
	if t.v6 {
		l3 = 40
	}
	f := frame.New(14 + l3 + head + payload)
	b := f.Eth()
	d.headers(t, side, b, l3, head+payload)
	l4 := b[14+l3:]
	binary.BigEndian.PutUint16(l4, t.ports[side])
	binary.BigEndian.PutUint16(l4[2:], t.ports[1-side])
	if t.proto == frame.ProtoUDP {
		binary.BigEndian.PutUint16(l4[4:], uint16(head+payload))
	} else {
		binary.BigEndian.PutUint32(l4[4:], seq)
		binary.BigEndian.PutUint32(l4[8:], ack)
		l4[12], l4[13] = uint8(head/4)<<4, flags
		binary.BigEndian.PutUint16(l4[14:], 60000)
		if head == 32 {
			binary.BigEndian.PutUint32(l4[20:], 0x0101080a)
		}
		t.seq[side] += uint32(payload)
	}
	odd := d.spoil(t, side, f, l3, head)
	src, dst := addrs(t, side)
	frame.SetL4Checksum(l4, src, dst, t.proto)
	if gso || d.r.IntN(3) == 0 {
		d.leaveOpen(t, f, l3, head, gso)
	}
	if d.r.IntN(300) == 0 {
		odd += " vnet" + fmt.Sprint(d.spoilVnet(f))
	}
	return drawn{f, odd, t}
}

func addrs(t *talk, side int) (src, dst frame.Addr) {
	of := sameAddrs
	if t.v6 {
		of = sameAddrs6
	}
	return frame.AddrFrom(netip.MustParseAddr(of[t.ends[side]])), frame.AddrFrom(netip.MustParseAddr(of[t.ends[1-side]]))
}

// headers writes what is before a segment of some length.
func (d *drawer) headers(t *talk, side int, b []byte, l3, length int) {
	from, to := t.ends[side], t.ends[1-side]
	dst := guestMAC(to)
	if from/2 != to/2 {
		dst = gatewayMAC(from / 2)
	}
	kind := uint16(frame.EtherIPv4)
	if t.v6 {
		kind = frame.EtherIPv6
	}
	frame.PutEth(b, dst, guestMAC(from), kind)
	src, to16 := addrs(t, side)
	if t.v6 {
		frame.PutIPv6(b[14:], src, to16, t.proto, 64, length)
	} else {
		frame.PutIPv4(b[14:], src, to16, t.proto, 64, l3+length)
	}
}

// leaveOpen leaves the checksum to others, as guests do, and for a GSO frame the cutting, too.
func (d *drawer) leaveOpen(t *talk, f *frame.Frame, l3, head int, gso bool) {
	at := 6
	if t.proto == frame.ProtoTCP {
		at = 16
	}
	v := f.Vnet()
	v[0] = frame.VnetNeedsCsum
	binary.LittleEndian.PutUint16(v[6:], uint16(14+l3))
	binary.LittleEndian.PutUint16(v[8:], uint16(at))
	if gso {
		kind := uint8(frame.GSOTCPv4)
		if t.v6 {
			kind = frame.GSOTCPv6
		}
		v.SetGSO(kind, 1000, 14+l3+head)
	}
}

// spoil makes one frame in eight odd in one way, and says how.
func (d *drawer) spoil(t *talk, side int, f *frame.Frame, l3, head int) string {
	if t.step < 3 && t.proto == frame.ProtoTCP || d.r.IntN(8) != 0 {
		return ""
	}
	b := f.Eth()
	ip, l4 := b[14:], b[14+l3:]
	type odd struct {
		name string
		do   func()
	}
	odds := []odd{
		{"ttl 2", func() { ip[ttlAt(t)] = 2 }},
		{"group", func() { b[0] |= 1 }},
		{"other source MAC", func() { b[11] = 0x77 }},
		{"unknown destination", func() { b[5] = 0x55 }},
		{"source port", func() { l4[1] ^= 1 }},
		{"destination port", func() { l4[3] ^= 1 }},
		{"ethertype", func() { b[13] ^= 0x10 }},
		{"length", func() { ip[lengthAt(t)+1] += byte(1 + d.r.IntN(3)) }},
		{"short length", func() { ip[lengthAt(t)+1] -= byte(1 + d.r.IntN(3)) }},
		{"cut", func() { f.Len -= d.r.IntN(f.Len - 20) }},
	}
	if t.proto == frame.ProtoTCP {
		odds = append(odds, odd{"flags", func() { l4[13] = byte(d.r.IntN(64)) }}, odd{"seq", func() { l4[4+d.r.IntN(4)] ^= 1 << d.r.IntN(8) }},
			odd{"ack", func() { l4[8+d.r.IntN(4)] ^= 1 << d.r.IntN(8) }}, odd{"window", func() { l4[14] = 0 }},
			odd{"offset", func() { l4[12] = byte(d.r.IntN(16)) << 4 }})
	} else {
		odds = append(odds, odd{"udp length", func() { l4[5] += byte(d.r.IntN(9)) - 4 }})
	}
	if !t.v6 {
		odds = append(odds, odd{"fragment", func() { ip[6] = 0x20 }}, odd{"don't", func() { ip[6] = 0x40 }}, odd{"reserved", func() { ip[6] = 0x80 }},
			odd{"version", func() { ip[0] = byte(d.r.IntN(256)) }}, odd{"tos", func() { ip[1] = byte(d.r.IntN(256)) }},
			odd{"source", func() { ip[15]++ }})
	} else {
		odds = append(odds, odd{"next header", func() { ip[6] = byte(d.r.IntN(64)) }}, odd{"label", func() { ip[3]++ }}, odd{"source", func() { ip[23]++ }})
	}
	o := odds[d.r.IntN(len(odds))]
	o.do()
	if !t.v6 && f.Len >= 34 && ip[0]&15 >= 5 && f.Len >= 14+int(ip[0]&15)*4 {
		frame.SetIPv4Checksum(ip[:int(ip[0]&15)*4])
		if d.r.IntN(20) == 0 {
			ip[10]++
			o.name += ", wrong sum"
		}
	}
	return o.name
}

func ttlAt(t *talk) int {
	if t.v6 {
		return 7
	}
	return 8
}

func lengthAt(t *talk) int {
	if t.v6 {
		return 4
	}
	return 2
}

// spoilVnet changes one byte of the header before the frame.
func (d *drawer) spoilVnet(f *frame.Frame) int {
	at := []int{0, 1, 4, 6, 8}[d.r.IntN(5)]
	f.Vnet()[at] ^= 1 << d.r.IntN(6)
	return at
}
