package guest

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/labs/guest/agent"
	"sluice/vnic"
	"sluice/vnic/frame"
	"sluice/vswitch"
	"sluice/vswitch/matrix"
	"sluice/vswitch/user"
)

// TestLabMatrixTunnel sends every odd packet through the placement tunnel, with a QEMU appliance.
func TestLabMatrixTunnel(t *testing.T) { testMatrix(t, QEMU, firewall.Tunnel) }

// TestRootMatrixInspect sends every odd packet through the placement inspect, with the appliance's own inspector in a
// namespace.
func TestRootMatrixInspect(t *testing.T) { testMatrix(t, NetNS, firewall.Inspect) }

func testMatrix(t *testing.T, kind Kind, to firewall.Placement) {
	r := newMatrixRig(t, kind)
	if _, err := r.sw.Place(t.Context(), to, vswitch.PlaceOptions{}); err != nil {
		t.Fatal(err)
	}
	said, cases, met := matrix.Said(), matrix.Cases(), matrix.NewMeant()
	for _, c := range cases {
		r.ahead.Add(int64(2 * time.Millisecond)) // the gateway says 1,000 errors a second
		for i := range c.Before {
			r.exchange(c.Before[i : i+1])
		}
		router, engine := said.In(to, c.Name), c.Result(r.exchange(c.Judged))
		if engine != router && !met.Note(matrix.Difference{Name: c.Name, Placement: to, Router: router, Engine: engine}) {
			t.Errorf("%s: router %s, %s %s: no row of the table", c.Name, router, to, engine)
		}
	}
	for _, row := range met.Unmet(false, to) {
		t.Errorf("nothing differs so any more: %s", row)
	}
	t.Logf("%d cases, %d differ", len(cases), met.Of[to])
}

// matrixRig is a switch between an appliance and guests of which the test is both ends.
type matrixRig struct {
	t      *testing.T
	sw     *vswitch.Switch
	guests [3]matrixGuest // client, server, and one beside client
	rounds uint16
	ahead  atomic.Int64 // nanoseconds
}

type matrixGuest struct {
	nic  vnic.NIC
	addr frame.Addr
	mac  frame.MAC
	came chan []byte
}

// slowly is by how much the switch's clock is late: an emulated appliance on a busy machine must not seem to hang.
const slowly = 8

func newMatrixRig(t *testing.T, kind Kind) *matrixRig {
	m := bootAppliance(t, kind)
	r := &matrixRig{t: t}
	began := time.Now()
	segments := make([]vswitch.Segment, 0, 2)
	for _, s := range steeredLab.Segments {
		segments = append(segments, vswitch.Segment{Name: s.Name, Prefixes: s.Prefixes, Gateways: s.Gateways, GatewayMAC: matrix.GatewayMAC, MTU: 1500})
	}
	var err error
	r.sw, err = vswitch.New(vswitch.Config{
		Name: "matrix", Engine: user.New, Segments: segments, Outer: steerOuter, Log: slog.New(slog.DiscardHandler),
		Clock: func() int64 { return int64(time.Since(began))/slowly + r.ahead.Load() },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.sw.Close(); err != nil {
			t.Error(err)
		}
	})
	for i, p := range []vswitch.Port{
		{ID: 11, Name: "fw", Segment: 1, MAC: gateways[lan], Service: true}, {ID: 12, Name: "fw/1", Segment: 2, MAC: gateways[dmz], Service: true},
		{ID: 13, Name: "fw/steer", MAC: steerMAC, Service: true, Steer: true},
	} {
		nic, err := vnic.OpenPacket(wireName(i))
		if err != nil {
			t.Fatal(err)
		}
		r.add(p, nic)
	}
	for i, p := range []vswitch.Port{
		{ID: 1, Name: "client", Segment: 1, MAC: matrix.ClientMAC, Addrs: addresses("10.10.1.10", "fd00:10:1::10")},
		{ID: 2, Name: "server", Segment: 2, MAC: matrix.ServerMAC, Addrs: addresses("10.10.2.10", "fd00:10:2::10")},
		{ID: 3, Name: "other", Segment: 1, MAC: frame.MAC{2, 0, 0, 0, 0, 3}, Addrs: addresses("10.10.1.11", "fd00:10:1::11")},
	} {
		near, far := vnic.Pipe(p.Name, vnic.PipeOptions{Queue: 1024, Offloads: frame.OffloadAll})
		r.add(p, near)
		r.guests[i] = matrixGuest{nic: far, addr: frame.AddrFrom(p.Addrs[0]), mac: p.MAC, came: make(chan []byte, 1024)}
		go r.guests[i].read()
	}
	policy, err := firewall.Load("policy.yaml", []byte(matrix.Policy), matrix.Inventory())
	if err != nil {
		t.Fatal(err)
	}
	r.sw.SetAppliance(matrixAppliance{m.Agent()})
	if _, err := r.sw.SetPolicy(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *matrixRig) add(p vswitch.Port, nic vnic.NIC) {
	r.t.Helper()
	if err := r.sw.AddPort(r.t.Context(), p, nic); err != nil {
		r.t.Fatal(err)
	}
}

func (g *matrixGuest) read() {
	var b frame.Batch
	for g.nic.ReadBatch(&b) == nil {
		for i := range b.Frames[:b.N] {
			for _, eth := range matrix.Finished(&b.Frames[i]) {
				g.came <- eth
			}
		}
	}
}

// exchange sends frames, and gives all that came to each end of the router. Behind them go packets that the policy
// allows, which take the same way: what the appliance has made of the frames came before them. The gateway's answers
// say that what the switch has made of them came, too.
func (r *matrixRig) exchange(frames []matrix.Frame) (came [2][][]byte) {
	r.t.Helper()
	if len(frames) == 0 {
		return came
	}
	for _, f := range frames {
		from := &r.guests[0]
		if f.Server {
			from = &r.guests[1]
		}
		r.send(from, f.Made())
	}
	for range 2 { // what is said first may overtake the rest of its batch
		r.rounds++
		markers := [2][]byte{markerOf(&r.guests[1], &r.guests[0], r.rounds), markerOf(&r.guests[0], &r.guests[1], r.rounds)}
		for side, marker := range markers { // by whom it reaches
			r.send(&r.guests[1-side], frame.From(marker))
		}
		for side, marker := range markers {
			came[side] = append(came[side], r.until(&r.guests[side], func(eth []byte) bool { return string(eth[34:]) == string(marker[34:]) })...)
		}
		for i := range r.guests {
			r.send(&r.guests[i], frame.From(questionOf(&r.guests[i])))
		}
		for i := range r.guests {
			got := r.until(&r.guests[i], func(eth []byte) bool {
				return eth[12] == 8 && eth[13] == 6 && eth[21] == 2 && eth[31] == 1 && eth[41] == r.guests[i].addr[15]
			})
			if i < 2 || frames[0].Server { // whom the server's frames reach is at the same end of the router
				came[i%2] = append(came[i%2], got...)
			}
		}
	}
	return came
}

func (r *matrixRig) send(g *matrixGuest, f *frame.Frame) {
	r.t.Helper()
	if n, err := g.nic.WriteBatch([]*frame.Frame{f}); n != 1 || err != nil {
		r.t.Fatalf("sent %d, %v", n, err)
	}
}

// until gives what comes to a guest before a frame that last takes.
func (r *matrixRig) until(g *matrixGuest, last func([]byte) bool) (frames [][]byte) {
	r.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case eth := <-g.came:
			if last(eth) {
				return frames
			}
			frames = append(frames, eth)
		case <-deadline:
			r.t.Fatalf("round %d: nothing comes to %s any more; the appliance is %s", r.rounds, g.addr.IP(), r.sw.Status().ApplianceState)
		}
	}
}

// markerOf is an ICMP echo request that no case is like.
func markerOf(from, to *matrixGuest, round uint16) []byte {
	f := frame.New(frame.MinLen + 20 + 8)
	b := f.Eth()
	frame.PutEth(b, matrix.GatewayMAC, from.mac, frame.EtherIPv4)
	frame.PutIPv4(b[frame.MinLen:], from.addr, to.addr, frame.ProtoICMP, 64, 28)
	m := b[frame.MinLen+20:]
	m[0], m[4], m[5], m[6], m[7] = 8, 0, 1, byte(round>>8), byte(round)
	frame.SetL4Checksum(m, from.addr, to.addr, frame.ProtoICMP)
	return b
}

// questionOf asks for the MAC of a guest's gateway.
func questionOf(g *matrixGuest) []byte {
	f, gateway, all := frame.New(frame.MinLen+28), g.addr, frame.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	gateway[15] = 1
	frame.PutEth(f.Eth(), all, g.mac, frame.EtherARP)
	frame.PutARP(f.Eth()[frame.MinLen:], 1, g.mac, g.addr, all, gateway)
	return f.Eth()
}

// matrixAppliance is an agent as the switch sees it.
type matrixAppliance struct{ *agent.Client }

func (a matrixAppliance) Absent() bool { return false }
func (a matrixAppliance) Ready(ctx context.Context) error {
	_, err := a.Stats(ctx)
	return err
}
func (a matrixAppliance) SetPolicy(ctx context.Context, nft string, _ uint64) error {
	return a.ApplyNFT(ctx, nft)
}
func (a matrixAppliance) Administer(_ context.Context, e *firewall.Edition) error {
	if e != nil {
		return fmt.Errorf("nothing is administered here")
	}
	return nil
}
