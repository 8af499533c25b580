package enginetest

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

// fakeAppliance is a router in memory: two NICs, a set of known flows for a conntrack, and the policy's own evaluation
// for nftables. It stands for the firewall VM.
type fakeAppliance struct {
	nics map[frame.SegmentID]*tally
	macs map[frame.Addr]frame.MAC
	segs map[frame.Addr]frame.SegmentID

	mu       sync.Mutex
	coming   *firewall.Policy // what the next nft text stands for
	policy   *firewall.Policy
	flows    map[fakeFlow]bool
	related  map[fakeFlow]bool // of them those that a helper has known of
	sick     error             // what every call says
	forwards int
	calls    int // how often it was asked whether it is ready, or about flows
	sessions map[uint8]firewall.SteerSpec
	heard    *guest                         // what it is told of neighbours, where a test listens
	judge    func(eth []byte) frame.Verdict // what the inspector says; nil passes everything
	steer    *tally
	wire     func(frame.SegmentID, *frame.Frame) // a real router's, instead of route's own work; may be nil
	returned func(*frame.Frame)                  // sees what is about to go back to the switch, outer headers and all, but for probes; may be nil
	edition  *firewall.Edition                   // on its desk

	failPut atomic.Bool                    // PutFlows says errFull
	takes   func(firewall.FlowRecord) bool // which flows it can be told of; nil is all
	full    bool                           // those that it does not take find no room

	absent, hung, tableFull atomic.Bool
	stalled                 atomic.Bool  // it stands still: what comes in waits in its queues
	mute                    atomic.Bool  // who asks it something gets no answer
	delay                   atomic.Int64 // ns: how late it is
	onPut                   func()       // called by PutFlows, after it has done its work
	onPolicy                func()       // called by SetPolicy, before its work
}

type fakeFlow struct {
	proto    uint8
	src, dst netip.AddrPort
}

func (r *rig) addAppliance() *fakeAppliance {
	a := &fakeAppliance{
		nics: map[frame.SegmentID]*tally{}, macs: map[frame.Addr]frame.MAC{}, segs: map[frame.Addr]frame.SegmentID{},
		flows: map[fakeFlow]bool{}, related: map[fakeFlow]bool{}, sessions: map[uint8]firewall.SteerSpec{},
	}
	for _, g := range []*guest{r.client, r.server, r.other} {
		for _, x := range g.port.Addrs {
			a.macs[frame.AddrFrom(x)], a.segs[frame.AddrFrom(x)] = g.port.MAC, g.port.Segment
		}
	}
	for seg, id := range map[frame.SegmentID]frame.PortID{1: portLAN, 2: portDMZ} {
		a.nics[seg] = r.addTally(vswitch.Port{ID: id, Name: "fw", Segment: seg, MAC: gatewayMAC, Service: true})
	}
	a.steer = r.addTally(vswitch.Port{ID: portSteer, Name: "fw/steer", MAC: frame.MAC{2, 1}, Service: true, Steer: true})
	var running sync.WaitGroup
	running.Go(a.serveSteered)
	for seg, nic := range a.nics {
		running.Go(func() { a.route(seg, nic) })
	}
	r.t.Cleanup(func() {
		a.stalled.Store(false)
		for _, nic := range a.nics {
			nic.Close()
		}
		a.steer.Close()
		running.Wait()
	})
	r.sw.SetAppliance(a)
	return a
}

func (a *fakeAppliance) next(p *firewall.Policy) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.coming = p
}

// route forwards what its policy allows, as the VM would.
func (a *fakeAppliance) route(seg frame.SegmentID, nic *tally) {
	var b frame.Batch
	for nic.ReadBatch(&b) == nil {
		for i := range b.N {
			a.standStill()
			if !nic.marks(&b.Frames[i]) {
				a.routeFrame(seg, &b.Frames[i])
			}
		}
	}
}

func (a *fakeAppliance) routeFrame(seg frame.SegmentID, f *frame.Frame) {
	var k frame.Key
	r := frame.Parse(f, &k)
	switch {
	case a.wire != nil && k.Dst != switchOuter.Local:
		a.wire(seg, f)
	case a.hung.Load() || r != frame.ReasonNone:
	case k.Dst == switchOuter.Local: // a probe
		if k.SrcPort == 1 || !a.tableFull.Load() {
			a.steer.NIC.WriteBatch([]*frame.Frame{f})
		}
	case k.Has(frame.KeyARP) || k.Proto == frame.ProtoICMPv6 && k.ICMPType >= 133:
		a.hear(f, &k)
	case k.TTL > 1 && a.lets(&k):
		a.mu.Lock()
		to, out := a.macs[k.Dst], a.segs[k.Dst]
		a.mu.Unlock()
		frame.DecTTL(f, &k)
		frame.PutEth(f.Eth(), to, gatewayMAC, k.EtherType)
		a.nics[out].WriteBatch([]*frame.Frame{f})
	}
}

// hear takes what it is told of who has an address, as a kernel does for one that it knows.
func (a *fakeAppliance) hear(f *frame.Frame, k *frame.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.macs[k.Src]; known && (k.Has(frame.KeyARP) || k.ICMPType == 133) {
		a.macs[k.Src] = k.SrcMAC
	}
	if a.heard != nil {
		c := &frame.Frame{}
		c.CopyFrom(f)
		a.heard.got <- c
	}
}

// hears begins to listen to what it is told of neighbours.
func (r *rig) hears() *guest {
	r.fw.mu.Lock()
	defer r.fw.mu.Unlock()
	r.fw.heard = &guest{t: r.t, port: vswitch.Port{Name: "fw"}, got: make(chan *frame.Frame, 1<<10)}
	return r.fw.heard
}

// knows makes it have an address in its table.
func (a *fakeAppliance) knows(x frame.Addr, seg frame.SegmentID, mac frame.MAC) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.macs[x], a.segs[x] = mac, seg
}

func (a *fakeAppliance) standStill() {
	for a.stalled.Load() {
		time.Sleep(time.Millisecond) // a poll: the test ends it
	}
}

func (a *fakeAppliance) lets(k *frame.Key) bool {
	forth := fakeFlow{k.Proto, netip.AddrPortFrom(k.Src.IP(), k.SrcPort), netip.AddrPortFrom(k.Dst.IP(), k.DstPort)}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.segs[k.Dst] == 0 || a.policy == nil {
		return false
	}
	if a.flows[forth] || a.flows[fakeFlow{forth.proto, forth.dst, forth.src}] {
		a.forwards++
		return true
	}
	// Like conntrack without pick-up: only a SYN begins a TCP flow.
	if k.Proto == frame.ProtoTCP && k.TCPFlags&(frame.TCPSyn|frame.TCPAck) != frame.TCPSyn {
		return false
	}
	t := firewall.Tuple{Proto: k.Proto, Src: forth.src, Dst: forth.dst, ICMPType: k.ICMPType}
	if a.policy.Evaluate(t).Action != firewall.RuleAllow {
		return false
	}
	a.flows[forth] = true
	a.forwards++
	return true
}

func (a *fakeAppliance) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sick = err
}

// answer is what every call begins with: where the appliance is mute, it waits until nobody does so any more.
func (a *fakeAppliance) answer(ctx context.Context) error {
	if a.mute.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	return a.sick
}

func (a *fakeAppliance) Ready(ctx context.Context) error { return a.answer(ctx) }

func (a *fakeAppliance) SetPolicy(_ context.Context, nft string, _ uint64) error {
	if a.onPolicy != nil {
		a.onPolicy()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if nft == "" {
		return errors.New("an empty ruleset")
	}
	for _, s := range a.sessions { // as the real one does
		if !s.Inspect && !strings.Contains(nft, "table bridge sluice") {
			return errors.New("frames are steered, and the ruleset has no table for them")
		}
	}
	a.policy = a.coming
	return a.sick
}

func (a *fakeAppliance) PutFlows(_ context.Context, recs []firewall.FlowRecord) (c firewall.Carried, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sick != nil {
		return c, a.sick
	}
	if a.failPut.Load() {
		return c, errFull
	}
	for i, r := range recs {
		if a.takes != nil && !a.takes(r) {
			c.Left, c.Why = append(c.Left, i), "not taken"
			continue
		}
		a.flows[fakeFlow{r.Proto, r.Src, r.Dst}] = true
	}
	c.Full = a.full && len(c.Left) > 0
	if a.onPut != nil {
		a.onPut()
	}
	return c, nil
}

func (a *fakeAppliance) FlushFlows(ctx context.Context) error {
	if err := a.answer(ctx); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.flows)
	return nil
}

func (a *fakeAppliance) Flows(ctx context.Context) (recs []firewall.FlowRecord, err error) {
	if err := a.answer(ctx); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for f := range a.flows {
		recs = append(recs, firewall.FlowRecord{
			Proto: f.proto, Src: f.src, Dst: f.dst, State: "established", Replied: true, Related: a.related[f], Timeout: 60,
		})
	}
	return recs, a.sick
}

func (a *fakeAppliance) DeleteFlows(_ context.Context, recs []firewall.FlowRecord) (n int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range recs {
		f := fakeFlow{r.Proto, r.Src, r.Dst}
		if a.flows[f] {
			delete(a.flows, f)
			n++
		}
	}
	return n, a.sick
}

func (a *fakeAppliance) Steer(_ context.Context, s firewall.SteerSpec) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions[s.Session] = s
	return a.sick
}

func (a *fakeAppliance) EndSteer(_ context.Context, session uint8) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.sessions, session)
	return a.sick
}

func (a *fakeAppliance) Absent() bool { return a.absent.Load() }
func (a *fakeAppliance) Administer(_ context.Context, e *firewall.Edition) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.edition = e
	return a.sick
}

// seen is how many guests' frames it has let through or looked into.
func (a *fakeAppliance) seen() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.forwards
}
