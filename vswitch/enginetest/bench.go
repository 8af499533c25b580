package enginetest

import (
	"runtime"
	"testing"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

// BenchmarkPipes moves 64-byte frames from one guest's pipe to another's through the engine. No more are on their way
// than the queues hold, so that none is lost.
func BenchmarkPipes(b *testing.B, engine vswitch.NewEngine) {
	const onTheWay = 512
	r := Bed{Engine: engine, Wires: Pipes{}}.rig(b)
	r.policy(referencePolicy)
	r.place(firewall.Fast)
	r.server.counting.Store(true)
	f := r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 5, dport: 5201, payload: make([]byte, 22)}).build()
	batch := make([]*frame.Frame, frame.BatchSize)
	for i := range batch {
		batch[i] = f
	}
	b.ReportAllocs()
	b.ResetTimer()
	for sent := 0; sent < b.N; {
		n := min(len(batch), b.N-sent, onTheWay-(sent-int(r.server.received.Load())))
		if n <= 0 {
			runtime.Gosched()
			continue
		}
		n, err := r.client.nic.WriteBatch(batch[:n])
		if err != nil {
			b.Fatal(err)
		}
		sent += n
		r.client.sent.Add(uint64(n))
	}
	r.balanced()
}
