package enginetest

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

// guest plays a machine at the far end of a wire.
type guest struct {
	t        testing.TB
	nic      vnic.NIC
	port     vswitch.Port
	got      chan *frame.Frame
	done     chan struct{}
	sent     atomic.Uint64
	received atomic.Uint64
	counting atomic.Bool // frames are only counted, as a benchmark needs it
}

func newGuest(t testing.TB, nic vnic.NIC, p vswitch.Port) *guest {
	g := &guest{t: t, nic: nic, port: p, got: make(chan *frame.Frame, 1<<16), done: make(chan struct{})}
	go g.read()
	t.Cleanup(func() { g.nic.Close(); <-g.done })
	return g
}

func (g *guest) read() {
	defer close(g.done)
	var b frame.Batch
	for g.nic.ReadBatch(&b) == nil {
		g.received.Add(uint64(b.N))
		for i := 0; i < b.N && !g.counting.Load(); i++ {
			f := &frame.Frame{}
			f.CopyFrom(&b.Frames[i])
			g.got <- f
		}
	}
}

func (g *guest) addr(v6 bool) frame.Addr {
	for _, a := range g.port.Addrs {
		if a.Is6() == v6 {
			return frame.AddrFrom(a)
		}
	}
	return frame.Addr{}
}

// send hands a frame to the switch, and tries again where the queue is full.
func (g *guest) send(f *frame.Frame) {
	g.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		n, err := g.nic.WriteBatch([]*frame.Frame{f})
		if err != nil {
			g.t.Fatal(err)
		}
		if n == 1 {
			g.sent.Add(1)
			return
		}
		if time.Now().After(deadline) {
			g.t.Fatal("the switch does not read")
		}
		time.Sleep(100 * time.Microsecond) // a poll with a deadline
	}
}

// try sends a frame that the guest's kernel may refuse, as it does where it does not believe the virtio_net_hdr.
func (g *guest) try(f *frame.Frame) {
	g.t.Helper()
	n, err := g.nic.WriteBatch([]*frame.Frame{f})
	if err != nil && !errors.Is(err, syscall.EINVAL) {
		g.t.Fatal(err)
	}
	g.sent.Add(uint64(n))
}

// next waits for a frame that want takes; others are put aside.
func (g *guest) next(what string, want func(*frame.Key) bool) (*frame.Frame, frame.Key) {
	g.t.Helper()
	_, f, k := g.until(what, want)
	return f, k
}

// until waits for a frame that want takes, and gives what has come before it, too.
func (g *guest) until(what string, want func(*frame.Key) bool) (before []*frame.Frame, f *frame.Frame, k frame.Key) {
	g.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case f = <-g.got:
			if frame.Parse(f, &k); want(&k) {
				return before, f, k
			}
			before = append(before, f)
		case <-deadline:
			g.t.Fatalf("%s: no %s came", g.port.Name, what)
		}
	}
}

// none says that nothing that bad takes has come, once everything that was sent before has been dealt with.
func (g *guest) none(what string, bad func(*frame.Key) bool) {
	g.t.Helper()
	for {
		select {
		case f := <-g.got:
			var k frame.Key
			if frame.Parse(f, &k); bad(&k) {
				g.t.Fatalf("%s got %s: %x", g.port.Name, what, f.Eth())
			}
		default:
			return
		}
	}
}

// packet describes a frame to build.
type packet struct {
	src, dst     frame.Addr
	smac, dmac   frame.MAC
	proto        uint8
	sport, dport uint16
	flags        uint8 // TCP
	icmp         uint8
	seq, ack     uint32
	ttl          uint8
	payload      []byte
}

// to fills in the addresses from one guest to another, through the gateway where they are on different segments.
func (g *guest) to(o *guest, v6 bool, p packet) packet {
	p.src, p.dst, p.smac, p.dmac = g.addr(v6), o.addr(v6), g.port.MAC, gatewayMAC
	if g.port.Segment == o.port.Segment {
		p.dmac = o.port.MAC
	}
	return p
}

func (p packet) build() *frame.Frame {
	v4 := p.src.IP().Is4()
	if p.ttl == 0 {
		p.ttl = 64
	}
	head := map[uint8]int{frame.ProtoTCP: 20}[p.proto]
	if head == 0 {
		head = 8
	}
	l3 := 40
	if v4 {
		l3 = 20
	}
	f := frame.New(frame.MinLen + l3 + head + len(p.payload))
	b := f.Eth()
	m := b[frame.MinLen+l3:]
	copy(m[head:], p.payload)
	binary.BigEndian.PutUint16(m, p.sport)
	binary.BigEndian.PutUint16(m[2:], p.dport)
	sum := 0
	switch p.proto {
	case frame.ProtoTCP:
		binary.BigEndian.PutUint32(m[4:], p.seq)
		binary.BigEndian.PutUint32(m[8:], p.ack)
		m[12], m[13], sum = 5<<4, p.flags, 16
	case frame.ProtoUDP:
		binary.BigEndian.PutUint16(m[4:], uint16(len(m)))
		sum = 6
	case frame.ProtoICMP, frame.ProtoICMPv6:
		m[0], m[1], m[2], m[3] = p.icmp, 0, 0, 0
		binary.BigEndian.PutUint16(m[4:], p.sport)
		sum = 2
	}
	if v4 {
		frame.PutEth(b, p.dmac, p.smac, frame.EtherIPv4)
		frame.PutIPv4(b[frame.MinLen:], p.src, p.dst, p.proto, p.ttl, l3+len(m))
	} else {
		frame.PutEth(b, p.dmac, p.smac, frame.EtherIPv6)
		frame.PutIPv6(b[frame.MinLen:], p.src, p.dst, p.proto, p.ttl, len(m))
	}
	c := frame.L4Checksum(p.src, p.dst, p.proto, m)
	if p.proto == frame.ProtoICMP {
		c = frame.Checksum(m)
	}
	binary.BigEndian.PutUint16(m[sum:], c)
	return f
}

func isProto(proto uint8, dport uint16) func(*frame.Key) bool {
	return func(k *frame.Key) bool { return k.Has(frame.KeyL4) && k.Proto == proto && k.DstPort == dport }
}

func addr(s string) frame.Addr { return frame.AddrFrom(netip.MustParseAddr(s)) }
