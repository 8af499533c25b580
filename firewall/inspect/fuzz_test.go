package inspect

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"sluice/firewall/fault"
	"sluice/vnic/frame"
)

// inconsistent says what contradicts itself in an inspector's memory; empty is nothing.
func (i *Inspector) inconsistent() string {
	memory, used := 0, 0
	for n := range i.table.flows {
		fl := &i.table.flows[n]
		if !fl.used {
			continue
		}
		used++
		if at, ok := i.table.byKey[fl.key]; !ok || int(at) != n {
			return fmt.Sprintf("flow %d is not found", n)
		}
		for d := range fl.ways {
			memory += len(fl.ways[d].ring)
			if fault := fl.ways[d].inconsistent(); fault != "" {
				return fault
			}
		}
	}
	if memory != i.table.memory || memory > maxMemory || used != len(i.table.byKey) || used+len(i.table.free) != len(i.table.flows) {
		return fmt.Sprintf("%d bytes, counted %d; %d flows, %d by key, %d free, of %d", memory, i.table.memory, used, len(i.table.byKey),
			len(i.table.free), len(i.table.flows))
	}
	return ""
}

func (w *window) inconsistent() string {
	at := w.lo
	for n, s := range w.spans {
		gap, size := after(s.from, at), after(s.to, s.from)
		if gap < 0 || n > 0 && gap == 0 || size < 0 || size == 0 && s.from != w.lo {
			return fmt.Sprintf("spans %v, from %d", w.spans, w.lo)
		}
		at = s.to
	}
	if len(w.spans) == 0 {
		return ""
	}
	if size := after(w.hi(), w.spans[0].from); size > maxWindow || size > 0 && size > len(w.ring) || int(w.tail) > len(w.ring) {
		return fmt.Sprintf("%d bytes, and %d before, in a ring of %d", size, w.tail, len(w.ring))
	}
	return ""
}

// FuzzJudge gives an inspector frames out of arbitrary bytes: each a length, seconds that pass before it, and a
// virtio_net_hdr with the frame.
func FuzzJudge(f *testing.F) {
	add := func(frames ...*frame.Frame) {
		var b []byte
		for n, fr := range frames {
			b = binary.BigEndian.AppendUint16(b, uint16(len(fr.Wire())))
			b = append(append(b, byte(n)), fr.Wire()...)
		}
		f.Add(b)
	}
	add(tcp(client, server, frame.TCPSyn, 1000, 0, nil), tcp(server, client, frame.TCPSyn|ackFlag, 5000, 1001, nil),
		tcp(client, server, ackFlag, 1001, 5001, []byte("GET / HTTP/1.0")), tcp(server, client, ackFlag|frame.TCPFin, 5001, 1015, virus))
	add(tcp(client, server, ackFlag, 10, 1, virus[:30]), tcp(client, server, ackFlag, 60, 1, virus[50:]), tcp(client, server, ackFlag, 30, 1, virus[20:60]))
	add(tcp(end{client6, 1}, end{server6, 2}, ackFlag, 10, 1, []byte("user=bob&")), udp(end{client6, 1}, end{server6, 2}, virus))
	add(ip(clientAddr, serverAddr, frame.ProtoICMP, append(make([]byte, 8), virus...)), ip(clientAddr, serverAddr, 47, virus))
	config, fault := Load("s.yaml", []byte("signatures: [{name: x, regex: 'user=[a-z]+&', action: drop}, {name: y, text: virus, action: quarantine, port: 80}]"))
	if fault != nil {
		f.Fatal(fault)
	}
	config.BypassAfter = 500
	f.Fuzz(func(t *testing.T, b []byte) {
		i := New(config, epoch)
		now := epoch
		for len(b) >= 3 {
			n := min(int(binary.BigEndian.Uint16(b)), len(b)-3)
			now = now.Add(time.Duration(b[2]) * time.Second)
			wire := b[3 : 3+n]
			b = b[3+n:]
			if n < frame.VnetLen {
				continue
			}
			fr := frame.New(n - frame.VnetLen)
			copy(fr.Wire(), wire)
			judgeOne(t, i, now, fr, wire)
		}
	})
}

func judgeOne(t *testing.T, i *Inspector, now time.Time, f *frame.Frame, wire []byte) {
	verdict := i.Judge(now, f)
	var k frame.Key
	switch {
	case verdict == frame.VerdictPass || verdict == frame.VerdictClean:
		if !bytes.Equal(f.Wire(), wire) {
			t.Fatal("a frame that passes was changed")
		}
	case verdict != frame.VerdictDrop && verdict != frame.VerdictReset && verdict != frame.VerdictQuarantine:
		t.Fatalf("verdict %d", verdict)
	case f.Len > len(wire)-frame.VnetLen:
		t.Fatal("a cut frame is longer")
	case f.Len > frame.MinLen && frame.Parse(f, &k) != frame.ReasonNone:
		t.Fatalf("what is left of a frame is none: %x, of %x", f.Wire(), wire)
	case k.PayloadLen != 0 && k.Has(frame.KeyL4):
		t.Fatalf("%d bytes of payload are left", k.PayloadLen)
	}
	if fault := i.inconsistent(); fault != "" {
		t.Fatal(fault)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte("signatures:\n  - {name: a, text: abc, action: drop, protocol: tcp, port: [80, 1-3]}\n  - {name: b, hex: 'de ad be ef'}\n  - {name: c, regex: 'a[0-9]{2,9}b'}\nanomalies: {flags: pass, fragment: quarantine}\n"))
	f.Add([]byte("signatures: []"))
	f.Add([]byte("? - - -\n: {[}"))
	f.Fuzz(func(t *testing.T, src []byte) {
		c, err := Load("s.yaml", src)
		if err != nil {
			var list fault.List
			if !errors.As(err, &list) || list[0].Line < 1 || list[0].Col < 1 || list[0].Msg == "" {
				t.Fatalf("a fault without a place: %v", err)
			}
			return
		}
		i := New(c, epoch)
		i.Judge(epoch, udp(client, server, virus))
		for _, s := range c.signatures {
			if s.regex == nil {
				u := udp(end{clientAddr, 9}, end{serverAddr, 9}, s.bytes)
				if len(s.ports) == 0 && s.proto == 0 && i.Judge(epoch, u) == frame.VerdictPass {
					t.Fatalf("signature %s is not found in itself", s.name)
				}
			}
		}
	})
}
