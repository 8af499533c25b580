package enginetest

import (
	"net/netip"
	"sync"
	"testing"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch/matrix"
)

// testMatrixSlow sends every case through the placement slow, with a real router as the appliance.
func testMatrixSlow(t *testing.T, bed Bed) {
	said, met := matrix.Said(), matrix.NewMeant()
	r := newMatrixRig(t, bed, firewall.Off)
	policy, _ := r.sw.Policy()
	r.routedBy(matrix.NewKernel(t, policy))
	r.place(firewall.Slow)
	cases := matrix.Cases()
	for _, c := range cases {
		for i := range c.Before {
			r.through(c.Before[i : i+1])
		}
		noteDifference(t, met, firewall.Slow, c.Name, said.In(firewall.Slow, c.Name), c.Result(r.through(c.Judged)))
	}
	t.Logf("%d cases, %d differ", len(cases), met.Of[firewall.Slow])
}

// routedBy makes a router the appliance: what comes to its ports goes out by the wires, and back.
func (r *matrixRig) routedBy(k *matrix.Kernel) {
	var pinned [2]sync.Once
	r.fw.wire = func(seg frame.SegmentID, f *frame.Frame) {
		pinned[seg-1].Do(matrix.Pin) // each is called by a goroutine of its own
		k.Write(int(seg)-1, f)
	}
	k.Serve(func(side int, eth []byte) {
		_, _ = r.fw.nics[frame.SegmentID(side+1)].WriteBatch([]*frame.Frame{frame.From(eth)})
	})
}

// through is exchange by way of the appliance, whose answers to pings say when it has dealt with what came before.
func (r *matrixRig) through(frames []matrix.Frame) (came [2][][]byte) {
	r.t.Helper()
	for _, f := range frames {
		from := r.client
		if f.Server {
			from = r.server
		}
		from.try(f.Made())
	}
	const id = 1 // no case has it
	for range 2 {
		for i, g := range []*guest{r.client, r.server} {
			p := g.to(r.server, false, packet{proto: frame.ProtoICMP, icmp: 8, sport: id})
			p.dst, p.dmac = frame.AddrFrom([]netip.Addr{lan4, dmz4}[i]), matrix.GatewayMAC
			g.send(p.build())
			mine := func(k *frame.Key) bool { return k.Proto == frame.ProtoICMP && k.ICMPType == 0 && k.SrcPort == id }
			got, _, _ := g.until("answer of the gateway", mine)
			came[i] = append(came[i], matrix.Finished(got...)...)
		}
	}
	r.exchange(nil) // and what the switch itself has said to others
	return came
}
