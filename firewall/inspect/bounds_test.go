package inspect

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"sluice/vnic/frame"
)

func TestTableIsBounded(t *testing.T) {
	r := newRig(t, "")
	for n := range maxFlows {
		r.judge(udp(end{clientAddr, uint16(n)}, server, []byte("x")))
	}
	r.expect("one too many", udp(client, end{serverAddr, 81}, []byte("x")), frame.VerdictDrop)
	r.expect("one that is known", udp(client, server, []byte("x")), frame.VerdictPass)
	if rep := r.Report(); rep.Flows != maxFlows || rep.NoMemory != 1 {
		t.Errorf("%d flows, %d without memory", rep.Flows, rep.NoMemory)
	}
	r.now = r.now.Add((shortTime + 1) * time.Second)
	for range maxFlows/2 + 2 {
		r.judge(udp(client, server, []byte("x")))
	}
	if n := r.Report().Flows; n > 1 {
		t.Errorf("%d flows after they have all aged", n)
	}
	r.expect("room again", udp(client, end{serverAddr, 81}, []byte("x")), frame.VerdictPass)
}

// TestMemoryIsBounded sends on many flows what nobody acknowledges.
func TestMemoryIsBounded(t *testing.T) {
	r := newRig(t, "")
	big := make([]byte, 60000)
	refused := 0
	for n := range 100 {
		a := end{clientAddr, uint16(1000 + n)}
		for s := range 20 {
			if r.judge(tcp(a, server, ackFlag, uint32(s*len(big)), 1, big)) != frame.VerdictPass {
				refused++
			}
			if m := r.Report().Memory; m > maxMemory {
				t.Fatalf("%d bytes", m)
			}
		}
	}
	if refused == 0 || r.Report().NoMemory == 0 {
		t.Error("nothing was refused")
	}
	r.now = r.now.Add((longTime + 1) * time.Second)
	for range 200 {
		r.judge(udp(client, server, []byte("x")))
	}
	if m := r.Report().Memory; m != 0 {
		t.Errorf("%d bytes after all have aged", m)
	}
}

func TestIslandsAreBounded(t *testing.T) {
	r := newRig(t, "")
	r.shake(client, server)
	for n := range uint32(maxSpans) {
		r.expect("an island", tcp(client, server, ackFlag, clientISN+10+2*n, serverISN+1, []byte("x")), frame.VerdictPass)
	}
	r.expect("one too many", tcp(client, server, ackFlag, clientISN+10+2*maxSpans, serverISN+1, []byte("x")), frame.VerdictDrop)
	r.expect("a bridge", tcp(client, server, ackFlag, clientISN+11, serverISN+1, []byte("x")), frame.VerdictPass)
}

// TestNoGarbage: nothing is allocated for a frame of a flow that runs, and its answers.
func TestNoGarbage(t *testing.T) {
	for _, file := range []string{"", "signatures: [{name: x, regex: 'a[0-9]{30}b'}]"} {
		r := newRig(t, file)
		r.shake(client, server)
		payload := bytes.Repeat([]byte("clean "), 240)
		data := tcp(server, client, ackFlag, serverISN+1, clientISN+1, payload)
		ack := tcp(client, server, ackFlag, clientISN+1, serverISN+1, nil)
		u := udp(client, server, payload)
		seq := uint32(serverISN + 1)
		step := func() {
			setSeq(data, seq)
			seq += uint32(len(payload))
			setAck(ack, seq)
			for _, f := range []*frame.Frame{data, ack, u} {
				if w := r.judge(f); w != frame.VerdictPass {
					t.Fatal(verdictName(w))
				}
			}
		}
		for range 1000 {
			step()
		}
		if n := testing.AllocsPerRun(1000, step); n != 0 {
			t.Errorf("%q: %v allocations", file, n)
		}
	}
}

func setSeq(f *frame.Frame, seq uint32) { put32(f.Eth()[38:], seq) }
func setAck(f *frame.Frame, ack uint32) { put32(f.Eth()[42:], ack) }

func put32(b []byte, v uint32) {
	b[0], b[1], b[2], b[3] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
}

func BenchmarkJudge(b *testing.B) {
	var file strings.Builder
	file.WriteString("signatures:\n")
	for n := range 200 {
		file.WriteString("  - {name: s" + strings.Repeat("x", n%40) + string(rune('a'+n%26)) + string(rune('a'+n/26)) + ", text: '" + string(rune('a'+n%26)) + "ignature " + strings.Repeat("y", n%7) + string(rune('a'+n/26)) + "'}\n")
	}
	for _, c := range []struct{ name, file string }{
		{"eicar", ""},
		{"200 strings", file.String()},
		{"regex", "signatures: [{name: x, regex: 'user=[a-z]{1,30}&'}]"},
	} {
		config, fault := Load("s.yaml", []byte(c.file))
		if fault != nil {
			b.Fatal(fault)
		}
		for _, size := range []int{1448, 60000} {
			b.Run(c.name+"/"+map[int]string{1448: "1448", 60000: "60000"}[size], func(b *testing.B) {
				i := New(config, epoch)
				payload := make([]byte, size)
				for n := range payload {
					payload[n] = byte(n * 7919 >> 3)
				}
				data := tcp(server, client, ackFlag, 0, 1, payload)
				ack := tcp(client, server, ackFlag, 1, 0, nil)
				seq := uint32(0)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					setSeq(data, seq)
					seq += uint32(size)
					setAck(ack, seq)
					if i.Judge(epoch, data) != frame.VerdictPass || i.Judge(epoch, ack) != frame.VerdictPass {
						b.Fatal("not passed")
					}
				}
			})
		}
	}
}
