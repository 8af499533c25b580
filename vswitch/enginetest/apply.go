package enginetest

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
)

const (
	stayPort = 5201 // what every policy of this test allows
	goPort   = 5202 // what the later ones deny
	idle     = 50   // flows to each of them that rest meanwhile
)

// longPolicy has so many rules that match nothing that is sent, and then one that matters. Flows rest for longer than
// any machine takes for the rules.
func longPolicy(rules int, ports string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "services:\n  web: {tcp: 80}\n  speed: {udp: [%s]}\ntimeouts: {udp-first: 1h, udp-single: 1h}\ndefault: drop\nrules:\n", ports)
	for i := range rules - 1 {
		fmt.Fprintf(&b, "  - {name: r%d, from: [10.%d.%d.%d, 10.9.0.0/16], to: 10.10.2.0/24, service: web, action: allow}\n", i, 20+i>>16, i>>8&255, i&255)
	}
	b.WriteString("  - {name: speed, from: client, to: server, service: speed, action: allow}\n")
	return b.String()
}

// numbered sends numbered frames of a flow to each port, without pause, until it is stopped, and collects what the
// server gets.
type numbered struct {
	r       *rig
	mu      sync.Mutex
	sent    uint32
	got     map[uint16][]uint32 // by port
	stop    chan struct{}
	stopped sync.WaitGroup
}

func (r *rig) startNumbered() *numbered {
	n := &numbered{r: r, got: map[uint16][]uint32{}, stop: make(chan struct{})}
	n.stopped.Go(n.send)
	n.stopped.Go(n.collect)
	return n
}

func (n *numbered) send() {
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for {
		select {
		case <-n.stop:
			n.r.client.send(n.r.client.to(n.r.server, false, packet{proto: frame.ProtoUDP, sport: 9, dport: stayPort}).build())
			return
		case <-tick.C:
		}
		n.mu.Lock()
		v6, number := n.sent%2 == 1, binary.BigEndian.AppendUint32(nil, n.sent)
		n.sent++
		n.mu.Unlock()
		for _, port := range []uint16{stayPort, goPort} {
			n.r.client.send(n.r.client.to(n.r.server, v6, packet{proto: frame.ProtoUDP, sport: 7, dport: port, payload: number}).build())
		}
	}
}

func (n *numbered) collect() {
	for {
		f, k := n.r.server.next("frame of the stream", func(k *frame.Key) bool { return k.SrcPort == 7 || k.SrcPort == 9 })
		if k.SrcPort == 9 {
			return
		}
		n.mu.Lock()
		n.got[k.DstPort] = append(n.got[k.DstPort], binary.BigEndian.Uint32(f.Eth()[k.Payload:]))
		n.mu.Unlock()
	}
}

// now is how many numbers were sent, and how many of them the server has got at a port.
func (n *numbered) now(port uint16) (sent, got uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sent, uint32(len(n.got[port]))
}

// whole says whether the numbers at a port are the first ones, each once and in order, and how many.
func (n *numbered) whole(port uint16) uint32 {
	for i, number := range n.got[port] {
		if number != uint32(i) {
			n.r.t.Fatalf("port %d: number %d came in place of %d", port, number, i)
		}
	}
	return uint32(len(n.got[port]))
}

// testApplyUnderLoad says that applying large policies while frames flow loses none; flows that a new one denies are
// cut at once, others live on.
func testApplyUnderLoad(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(longPolicy(10, "5201-5202"))
	r.place(firewall.Fast)
	for i := range idle {
		for _, port := range []uint16{stayPort, goPort} {
			r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 1000 + uint16(i), dport: port}).build())
			r.server.next("first frame", isProto(frame.ProtoUDP, port))
		}
	}
	n := r.startNumbered()
	for _, rules := range []int{10_000, 100_000} {
		r.policy(longPolicy(rules, "5201-5202"))
	}
	_, before := n.now(goPort)
	r.policy(longPolicy(10_000, "5201"))
	after, _ := n.now(goPort)
	flows := r.sw.Stats().Flows
	for later := after; later < after+100; later, _ = n.now(stayPort) {
		time.Sleep(time.Millisecond) // a poll; frames flow until the end
	}
	close(n.stop)
	n.stopped.Wait()
	r.balanced()

	if got := n.whole(stayPort); got != n.sent {
		t.Errorf("of %d frames that every policy allows %d came", n.sent, got)
	}
	if got := n.whole(goPort); got < before || got > after {
		t.Errorf("of the flow that was denied %d frames came; %d had come before, and %d were sent when it was denied", got, before, after)
	}
	if flows != idle+2 { // the stream is of both families
		t.Errorf("%d flows are left, of %d", flows, idle+2)
	}
	for i := range idle {
		for _, port := range []uint16{goPort, stayPort} {
			r.server.send(r.server.to(r.client, false, packet{proto: frame.ProtoUDP, sport: port, dport: 1000 + uint16(i)}).build())
		}
		if _, k := r.client.next("reply", func(k *frame.Key) bool { return k.Proto == frame.ProtoUDP }); k.SrcPort != stayPort {
			t.Fatalf("the reply of a flow that was cut came")
		}
	}
}
