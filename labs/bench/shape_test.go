package bench

import (
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"sluice/vnic/frame"
)

// TestShapes holds the frames that are sent against gopacket and against the switch's own parser: a frame that a
// stateful firewall refuses would measure how fast it drops.
func TestShapes(t *testing.T) {
	for _, s := range []Shape{{Size: 60}, {Size: 1514}, {Size: gsoFrame, GSO: tcpSegment}} {
		t.Run(s.String(), func(t *testing.T) {
			wire := s.data()
			if got := len(wire) - vnetLen; got != s.Size {
				t.Errorf("%d bytes, want %d", got, s.Size)
			}
			if !s.kept(wire) {
				t.Error("the segments' size is not what was asked for")
			}
			for i, w := range append(s.opening(), wire) {
				p := gopacket.NewPacket(w[vnetLen:], layers.LayerTypeEthernet, gopacket.Default)
				if p.ErrorLayer() != nil || p.TransportLayer() == nil {
					t.Errorf("frame %d: gopacket says %v", i, p)
				}
				var key frame.Key
				f := frame.Frame{Buf: w, Off: vnetLen, Len: len(w) - vnetLen}
				if reason := frame.Parse(&f, &key); reason != frame.ReasonNone || !key.Has(frame.KeyL4) {
					t.Errorf("frame %d: the parser says %v", i, reason)
				}
				if port := key.DstPort; (i == 1) != (port == senderPort) || (i != 1) != (port == guestPort) {
					t.Errorf("frame %d goes to port %d", i, port)
				}
			}
		})
	}
}

func TestStamp(t *testing.T) {
	b := make([]byte, stampLen)
	stamp(b, 7, 1<<20, 1<<40)
	if seq, sent, ok := readStamp(b, 7); !ok || seq != 1<<20 || sent != 1<<40 {
		t.Errorf("read back %d, %d, %t", seq, sent, ok)
	}
	if _, _, ok := readStamp(b, 8); ok {
		t.Error("a frame of another run was taken")
	}
	if _, _, ok := readStamp(b[1:], 7); ok {
		t.Error("a short stamp was taken")
	}
}

// TestCheck is what the receiver makes of frames that do not arrive as they were sent.
func TestCheck(t *testing.T) {
	gso := Shape{Size: gsoFrame, GSO: tcpSegment}
	for _, c := range []struct {
		name  string
		shape Shape
		seqs  []uint32
		spoil func(f []byte) []byte
		want  Trial
	}{
		{"in order", Shape{Size: 60}, []uint32{0, 1, 2}, nil, Trial{Received: 3}},
		{"one missing", Shape{Size: 60}, []uint32{0, 2}, nil, Trial{Received: 2}},
		{"twice", Shape{Size: 60}, []uint32{0, 1, 1, 0}, nil, Trial{Received: 2, Duplicated: 2}},
		{"out of order", Shape{Size: 60}, []uint32{0, 2, 1, 3}, nil, Trial{Received: 4, Reordered: 1}},
		{"cut", Shape{Size: 100}, []uint32{0}, func(f []byte) []byte { return f[:len(f)-1] }, Trial{Damaged: 1}},
		{"segmented", gso, []uint32{0}, func(f []byte) []byte { return f[:vnetLen+tcpStampOff+tcpSegment] }, Trial{Damaged: 1}},
		{"other segments", gso, []uint32{0}, func(f []byte) []byte { f[4]--; return f }, Trial{Received: 1, Resized: 1}},
		{"far away", Shape{Size: 60}, []uint32{seqLimit}, nil, Trial{Damaged: 1}},
		{"a stranger's", Shape{Size: 60}, []uint32{0}, func(f []byte) []byte { f[vnetLen+udpStampOff]++; return f }, Trial{}},
		{"tiny", Shape{Size: 60}, []uint32{0}, func(f []byte) []byte { return f[:5] }, Trial{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := newTrial(Ask{Shape: c.shape}, 3, nil, nil)
			for _, seq := range c.seqs {
				f := c.shape.data()
				stamp(f[c.shape.stampOff():], 3, seq, 0)
				if c.spoil != nil {
					f = c.spoil(f)
				}
				tr.check(f, 1)
			}
			if tr.result != c.want {
				t.Errorf("got %+v, want %+v", tr.result, c.want)
			}
		})
	}
}
