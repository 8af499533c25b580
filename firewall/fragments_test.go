package firewall

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"sluice/vnic/frame"
)

// datagram is a UDP packet of so many bytes of payload as its fragments for an MTU of 1,500.
func datagram(v6 bool, from, to string, id uint32, bytes int) (out [][]byte) {
	const step = 1448 // a multiple of 8 that fits with IPv6's headers
	payload := make([]byte, 8+bytes)
	binary.BigEndian.PutUint16(payload, 4000)
	binary.BigEndian.PutUint16(payload[2:], 5201)
	binary.BigEndian.PutUint16(payload[4:], uint16(len(payload)))
	for at := 0; at < len(payload); at += step {
		part, more := payload[at:min(len(payload), at+step)], at+step < len(payload)
		var b []byte
		if v6 {
			b = make([]byte, frame.MinLen+48+len(part))
			frame.PutEth(b, frame.MAC{2, 9}, ownMAC, frame.EtherIPv6)
			frame.PutIPv6(b[frame.MinLen:], addrOf(from), addrOf(to), 44, 64, 8+len(part))
			h := b[frame.MinLen+40:]
			h[0] = frame.ProtoUDP
			field := uint16(at)
			if more {
				field |= 1
			}
			binary.BigEndian.PutUint16(h[2:], field)
			binary.BigEndian.PutUint32(h[4:], id)
			copy(h[8:], part)
		} else {
			b = make([]byte, frame.MinLen+20+len(part))
			frame.PutEth(b, frame.MAC{2, 9}, ownMAC, frame.EtherIPv4)
			ip := b[frame.MinLen:]
			frame.PutIPv4(ip, addrOf(from), addrOf(to), frame.ProtoUDP, 64, 20+len(part))
			field := uint16(at / 8)
			if more {
				field |= 0x2000
			}
			binary.BigEndian.PutUint16(ip[4:], uint16(id))
			binary.BigEndian.PutUint16(ip[6:], field)
			frame.SetIPv4Checksum(ip)
			copy(ip[20:], part)
		}
		out = append(out, b)
	}
	return out
}

// fragmentRig takes fragments along their way.
type fragmentRig struct {
	t *testing.T
	g *Program
	Context
}

func newFragmentRig(t *testing.T) *fragmentRig {
	p, err := Load("p.yaml", []byte("default: allow"), lab)
	if err != nil {
		t.Fatal(err)
	}
	return &fragmentRig{t, mustCompile(t, p, Fast), Context{Now: 1e15, Flows: mustFlows(FlowsConfig{Max: 1 << 16})}}
}

// arrives says whether a fragment passes at both points.
func (r *fragmentRig) arrives(from, to frame.PortID, eth []byte) bool {
	r.t.Helper()
	var k frame.Key
	if reason := frame.Parse(frame.From(eth), &k); reason != frame.ReasonNone {
		r.t.Fatal(reason)
	}
	r.Eth, r.From = eth, from
	return r.g.Check(&r.Context, Point{from, FromGuest}, &k).Action == Pass && r.g.Check(&r.Context, Point{to, ToGuest}, &k).Action == Pass
}

// TestFragmentsInterleaved says that ordinary senders lose nothing: each of them 64 datagrams of 8 kB at once, in any
// order behind their first fragments, to one receiver, over and over.
func TestFragmentsInterleaved(t *testing.T) {
	const atOnce, rounds = 64, 50
	for _, v6 := range []bool{false, true} {
		r := newFragmentRig(t)
		number := uint32(0)
		for range rounds {
			var rest [][2]any // sender, fragment
			for _, from := range []struct {
				name string
				port frame.PortID
			}{{"client", client}, {"other", other}} {
				src, dst := from.name, "server"
				if v6 {
					src, dst = src+"6", dst+"6"
				}
				for range atOnce {
					number++
					all := datagram(v6, src, dst, number, 8192)
					if !r.arrives(from.port, server, all[0]) {
						t.Fatalf("IPv6 %v: a first fragment does not arrive", v6)
					}
					for _, f := range all[1:] {
						rest = append(rest, [2]any{from.port, f})
					}
				}
			}
			rand.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
			for _, f := range rest {
				if !r.arrives(f[0].(frame.PortID), server, f[1].([]byte)) {
					t.Fatalf("IPv6 %v: a fragment does not arrive", v6)
				}
			}
			for _, part := range r.Flows.fragments.parts {
				for _, set := range part.slots {
					for _, s := range set {
						if s.packet != 0 {
							t.Fatal("a packet that is complete is remembered")
						}
					}
				}
			}
		}
	}
}

// TestFragmentsOfOthers says that a guest which begins packets without end pushes out none of another's, and that
// memory is bounded.
func TestFragmentsOfOthers(t *testing.T) {
	r := newFragmentRig(t)
	mine := datagram(false, "other", "server", 7, 8192)
	if !r.arrives(other, server, mine[0]) {
		t.Fatal("not begun")
	}
	for id := range uint32(5_000) {
		r.arrives(client, server, datagram(false, "client", "server", id, 2000)[0])
		r.arrives(client, server, datagram(false, "other", "server", id, 2000)[0]) // in the other's name
	}
	for _, f := range mine[1:] {
		if !r.arrives(other, server, f) {
			t.Fatal("another guest has pushed it out")
		}
	}
	if n := len(r.Flows.fragments.parts); n != 2 {
		t.Errorf("%d parts for two senders", n)
	}
}

// TestFragmentsEnd says when a packet is over: with its last byte, with what is sent twice, and after its time.
func TestFragmentsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		order []int // of 6 fragments
		wait  int64
		last  bool // whether the last of them arrives
	}{
		"all in order":             {[]int{0, 1, 2, 3, 4, 5}, 0, true},
		"the last one early":       {[]int{0, 5, 4, 3, 2, 1}, 0, true},
		"one after the end":        {[]int{0, 1, 2, 3, 4, 5, 3}, 0, false},
		"one without the first":    {[]int{1}, 0, false},
		"the first one once more":  {[]int{0, 1, 2, 3, 4, 5, 0, 1}, 0, true},
		"too late":                 {[]int{0, 1}, int64(31e9), false},
		"twice, in place of a gap": {[]int{0, 1, 1, 1, 2, 5, 3}, 0, false},
	} {
		r := newFragmentRig(t)
		all := datagram(false, "client", "server", 9, 8192)
		arrived := false
		for _, i := range c.order {
			arrived = r.arrives(client, server, all[i])
			r.Now += c.wait
		}
		if arrived != c.last {
			t.Errorf("%s: the last arrives %v", name, arrived)
		}
	}
}
