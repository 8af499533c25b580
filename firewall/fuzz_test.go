package firewall

import (
	"encoding/binary"
	"errors"
	"testing"

	"sluice/firewall/fault"
	"sluice/vnic/frame"
)

// FuzzCheck sends whatever frames through every program, and the table must stay in order. The input is frames, each
// after two bytes: its length, and the insertion point that it comes to.
func FuzzCheck(f *testing.F) {
	for _, session := range [][]string{
		{"client > server tcp 4000 80 S", "server > client tcp 80 4000 SA", "client > server tcp 4000 80 A"},
		{"client6 > server6 udp 1 5201 first", "client6 > server6 udp 1 5201 later"},
		{"client > server echo 7", "server > client unreachable client > server echo 7"},
		{"client6 > server6 ns", "client > server proto 47"},
	} {
		var in []byte
		for i, s := range session {
			fr, _ := parsePacket(s).frame(f)
			in = append(append(in, byte(fr.Len), byte(i)), fr.Eth()...)
		}
		f.Add(in)
	}
	text := reference + "limits: {flows: 100}\nmidstream: true\n"
	f.Fuzz(func(t *testing.T, in []byte) {
		p := mustLoad(t, text)
		cx := Context{Now: 1e15, Flows: mustFlows(FlowsConfig{Max: 4096})}
		programs := []*Program{mustCompile(t, p, Fast), mustCompile(t, p, Off)}
		for n := 0; len(in) >= 2; n++ {
			length, point := min(int(in[0]), len(in)-2), in[1]
			fr := frame.From(in[2 : 2+length])
			in = in[2+length:]
			var k frame.Key
			if frame.Parse(fr, &k) != frame.ReasonNone {
				continue
			}
			cx.Eth, cx.Now = fr.Eth(), cx.Now+int64(point)*1e8
			g := programs[point>>7]
			pt := Point{frame.PortID(point & 3), Dir(point >> 2 & 1)}
			if v := g.Check(&cx, pt, &k); v.Action != Pass && v.Action != Drop || (v.Action == Drop) == (v.Reason == frame.ReasonNone) {
				t.Fatalf("verdict %+v", v)
			}
			g.policy.EvaluateAt(pt, tupleOf(&k))
		}
		checkTable(t, cx.Flows)
		for _, r := range cx.Flows.Export(cx.Now, programs[0], 0) {
			if !r.Src.IsValid() || !r.Dst.IsValid() {
				t.Fatalf("record %+v", r)
			}
		}
	})
}

// FuzzImport gives the table whatever records; what it takes must be found and exported again.
func FuzzImport(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdef"), uint8(6), "established", 10, true)
	f.Add([]byte("0123456789abcdef0123456789abcdef"), uint8(1), "", -1, false)
	f.Fuzz(func(t *testing.T, in []byte, proto uint8, state string, timeout int, replied bool) {
		if len(in) < 36 {
			return
		}
		r := FlowRecord{Proto: proto, State: state, Timeout: timeout, Replied: replied}
		r.Src = addrPort(frame.Addr(in), binary.BigEndian.Uint16(in[32:]))
		r.Dst = addrPort(frame.Addr(in[16:]), binary.BigEndian.Uint16(in[34:]))
		table := mustFlows(FlowsConfig{Max: 4096})
		if n, _ := table.Import(1e15, []FlowRecord{r, r}); n != 1 {
			t.Fatalf("imported %d", n)
		}
		checkTable(t, table)
	})
}

// FuzzExpect reads whatever files of expected verdicts.
func FuzzExpect(f *testing.F) {
	f.Add([]byte("- {from: client, to: server, tcp: 80, expect: allow, rule: http}\n- {from: server6, to: \"fd00::1\", icmp: echo, expect: drop}\n"))
	f.Add([]byte("- from: client\n  to: 10.0.0.1\n  protocol: [gre, 6]\n  udp: 1-3\n  expect: reject\n"))
	p := mustLoad(f, reference)
	f.Fuzz(func(t *testing.T, src []byte) {
		results, err := p.Expect("t.yaml", src)
		if err != nil {
			var list fault.List
			if !errors.As(err, &list) || len(list) == 0 || list[0].Line < 1 || list[0].Col < 1 {
				t.Fatalf("an error without a place: %v", err)
			}
			return
		}
		for _, r := range results {
			if r.Line < 1 || r.What == "" || r.Rule == "" || r.Passed && r.Got != r.Expect {
				t.Fatalf("%+v", r)
			}
		}
	})
}
