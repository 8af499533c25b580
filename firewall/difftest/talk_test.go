package difftest

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/google/gopacket/layers"
)

// talk is one direction of a TCP connection.
type talk struct {
	src, dst         netip.Addr
	srcPort, dstPort uint16
}

func (t talk) back() talk { return talk{t.dst, t.src, t.dstPort, t.srcPort} }

// side is what one direction has sent, as its receiver would understand it.
type side struct {
	begun, ended bool
	next         uint32 // the sequence number after what it has sent
	scale        uint8
	window       uint16
}

func (g *generator) side(t talk) *side {
	s := g.talks[t]
	if s == nil {
		s = &side{}
		g.talks[t] = s
	}
	return s
}

// tcp draws a segment: mostly one that fits what was sent before, and then, often, with one of its numbers wrong in a
// way that somebody could try. length is that of its payload.
func (g *generator) tcp(src, dst netip.Addr, length int) *layers.TCP {
	t := &layers.TCP{SrcPort: layers.TCPPort(g.port()), DstPort: layers.TCPPort(g.port())}
	to := talk{src, dst, uint16(t.SrcPort), uint16(t.DstPort)}
	mine, theirs := g.side(to), g.side(to.back())
	flags := g.flags(mine, theirs)
	has := func(f string) bool { return strings.Contains(flags, f) }
	t.SYN, t.ACK, t.FIN, t.RST, t.PSH, t.URG = has("S"), has("A"), has("F"), has("R"), has("P"), has("U")
	t.Window = pick(g.Rand, mine.window, mine.window, mine.window, 0, 1, 100, 1000, 65535)
	t.Seq, t.Ack = mine.next, theirs.next
	if t.SYN && (!mine.begun || g.IntN(4) == 0) {
		t.Seq = pick(g.Rand, t.Seq, t.Seq+1000, 1000, 0xffffff00, 0x7ffffff0, g.Uint32())
	}
	if !t.ACK {
		t.Ack = pick(g.Rand, 0, 0, t.Ack)
	}
	wrong := g.IntN(5) < 2
	if wrong {
		g.spoil(t, mine, theirs)
	}
	g.options(t, mine, theirs)
	if !wrong || g.IntN(4) == 0 {
		mine.sent(t, length)
	}
	return t
}

// flags draws what the state of a connection asks for, or anything.
func (g *generator) flags(mine, theirs *side) string {
	switch {
	case g.IntN(4) == 0:
		return pick(g.Rand, "S", "S", "SA", "SA", "A", "A", "FA", "R", "RA", "", "SF", "F", "SR", "PA", "UA")
	case !mine.begun && theirs.begun:
		return "SA"
	case !mine.begun:
		return "S"
	case theirs.ended && !mine.ended:
		return pick(g.Rand, "A", "FA", "RA")
	}
	return pick(g.Rand, "A", "A", "A", "A", "A", "A", "A", "PA", "A", "A", "A", "A", "FA", "R", "RA")
}

// spoil moves a number by a distance at which something may end: a byte, a segment, a window, what an acknowledgement
// may lag behind, half of all numbers.
func (g *generator) spoil(t *layers.TCP, mine, theirs *side) {
	window := uint32(theirs.window) << min(theirs.scale, 14)
	d := pick(g.Rand, 1, 16, 100, 116, uint32(theirs.window), window, window, uint32(mine.window)<<min(mine.scale, 14), 66000, 66001, 1<<16, 1<<20, 1<<31, g.Uint32())
	d += uint32(g.IntN(5)) - 2
	if g.IntN(2) == 0 {
		d = -d
	}
	switch g.IntN(5) {
	case 0, 1:
		t.Seq += d
	case 2, 3:
		t.Ack += d
	default:
		t.Seq, t.Ack = pick(g.Rand, 0, t.Seq, t.Seq+d), pick(g.Rand, 0, t.Ack+d)
	}
}

func option(kind layers.TCPOptionKind, data ...byte) layers.TCPOption {
	return layers.TCPOption{OptionType: kind, OptionLength: uint8(2 + len(data)), OptionData: data}
}

// options draws those of a handshake, or a timestamp, or blocks of a selective acknowledgement.
func (g *generator) options(t *layers.TCP, mine, theirs *side) {
	if t.SYN {
		if scale := g.IntN(20); scale < 16 {
			t.Options = append(t.Options, option(layers.TCPOptionKindWindowScale, byte(scale)))
			mine.scale = uint8(scale)
		}
		if g.IntN(2) == 0 {
			t.Options = append(t.Options, option(layers.TCPOptionKindSACKPermitted))
		}
		return
	}
	switch g.IntN(6) {
	case 0:
		nop := layers.TCPOption{OptionType: layers.TCPOptionKindNop}
		t.Options = append(t.Options, nop, nop, option(layers.TCPOptionKindTimestamps, make([]byte, 8)...))
	case 1:
		var blocks []byte
		for range 1 + g.IntN(3) {
			right := pick(g.Rand, theirs.next, theirs.next, t.Ack+16, t.Ack+500, theirs.next+1, theirs.next-100, g.Uint32())
			blocks = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(blocks, right-10), right)
		}
		t.Options = append(t.Options, option(layers.TCPOptionKindSACK, blocks[:len(blocks)-g.IntN(12)/11]...))
	case 2:
		t.Options = append(t.Options, layers.TCPOption{OptionType: pick(g.Rand, layers.TCPOptionKind(5), 3, 254), OptionLength: uint8(g.IntN(40)), OptionData: make([]byte, g.IntN(8))})
	}
}

// sent takes a segment for having been sent.
func (s *side) sent(t *layers.TCP, length int) {
	switch {
	case t.SYN:
		s.begun, s.ended, s.next = true, false, t.Seq+1
	case !s.begun:
		return
	default:
		s.next = t.Seq
	}
	if t.FIN {
		s.ended = true
		s.next++
	}
	if t.RST {
		*s = side{next: s.next + 1000}
		return
	}
	s.next += uint32(length)
	s.window = t.Window
}
