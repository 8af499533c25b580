package enginetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"sluice/firewall"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

const noWebPolicy = `
services:
  speed: {udp: 5201}
default: drop
rules:
  - {name: speed, from: client, to: server, service: speed, action: allow}
`

// pushText pushes a policy, as the appliance would.
func (r *rig) pushText(src string, base uint64) (vswitch.PolicyResult, error) {
	return r.sw.Push(context.Background(), vswitch.Pushed{By: "fw", Base: base, Load: func() (*firewall.Policy, error) {
		return firewall.Load("fw:policy.yaml", []byte(src), r.inv)
	}})
}

// onDesk is the edition on the appliance's desk; nil where it is closed.
func (a *fakeAppliance) onDesk() *firewall.Edition {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.edition
}

// passes says whether a datagram to a port that referencePolicy allows or denies arrives, once everything sent before
// has.
func (r *rig) passes(proto uint8, sport, dport uint16, flags uint8) bool {
	r.t.Helper()
	r.client.send(r.client.to(r.server, false, packet{proto: proto, sport: sport, dport: dport, flags: flags, seq: 1, payload: []byte("x")}).build())
	r.client.send(r.client.to(r.server, false, packet{proto: frame.ProtoUDP, sport: 8, dport: 5201, payload: []byte("end")}).build())
	got := false
	r.server.next("end", func(k *frame.Key) bool {
		got = got || k.SrcPort == sport
		return k.SrcPort == 8
	})
	return got
}

// testPush: what is pushed is in force at every vNIC at once, and cuts what it denies. No frame goes to the appliance.
func testPush(t *testing.T, bed Bed) {
	r := bed.rig(t)
	first := r.policy(referencePolicy)
	r.place(firewall.Push)
	if e := r.fw.onDesk(); e == nil || e.Generation != 1 || e.File != first.File || string(e.Source) != referencePolicy {
		t.Fatalf("on the desk lies %+v", e)
	}
	if !r.passes(frame.ProtoTCP, 4000, 80, frame.TCPSyn) || r.passes(frame.ProtoTCP, 4001, 23, frame.TCPSyn) {
		t.Error("the first policy is not enforced")
	}
	res, err := r.pushText(noWebPolicy, 1)
	if err != nil || res.Generation != 2 || res.Rules != 1 || res.FlowsCut != 1 || res.Placement != firewall.Push {
		t.Errorf("pushed: %+v, %v", res, err)
	}
	if r.passes(frame.ProtoTCP, 4000, 80, frame.TCPAck) || r.passes(frame.ProtoTCP, 4002, 80, frame.TCPSyn) {
		t.Error("what the new policy denies passes")
	}
	want := []vswitch.Realized{{VNIC: "client", Generation: 2}, {VNIC: "server", Generation: 2}, {VNIC: "other", Generation: 2}}
	if got := r.sw.Realized(); !slices.Equal(got, want) {
		t.Errorf("realized %v, want %v", got, want)
	}
	for _, p := range r.balanced().Ports {
		if p.Name == "fw" && p.InFrames+p.OutFrames > 0 {
			t.Errorf("the appliance met frames: %+v", p)
		}
	}
	r.place(firewall.Fast)
	if p, generation := r.sw.Policy(); generation != 2 || string(p.Source) != noWebPolicy {
		t.Errorf("after push, generation %d is in force:\n%s", generation, p.Source)
	}
	if e := r.fw.onDesk(); e != nil {
		t.Errorf("the desk is open, with %+v", e)
	}
	if r.passes(frame.ProtoTCP, 4003, 80, frame.TCPSyn) {
		t.Error("what the pushed policy denies passes")
	}
}

// testPushesAtOnce has many push at once from the same generation: one wins, each of the others is told.
func testPushesAtOnce(t *testing.T, bed Bed) {
	const pushers = 8
	r := bed.rig(t)
	r.policy(referencePolicy)
	r.place(firewall.Push)
	var all sync.WaitGroup
	errs := make([]error, pushers)
	for i := range pushers {
		all.Go(func() { _, errs[i] = r.pushText(fmt.Sprintf("# number %d\n%s", i, noWebPolicy), 1) })
	}
	all.Wait()
	won := -1
	for i, err := range errs {
		switch {
		case err == nil && won < 0:
			won = i
		case err == nil:
			t.Errorf("%d and %d have both won", won, i)
		case !strings.Contains(err.Error(), "conflict: generation 2 was pushed meanwhile, yours began from 1"):
			t.Errorf("%d: %v", i, err)
		}
	}
	p, generation := r.sw.Policy()
	if won < 0 || generation != 2 || !strings.HasPrefix(string(p.Source), fmt.Sprintf("# number %d\n", won)) {
		t.Errorf("%d has won, but generation %d is\n%s", won, generation, p.Source)
	}
	if res, err := r.pushText(referencePolicy, 0); err != nil || res.Generation != 3 {
		t.Errorf("forced: %+v, %v", res, err)
	}
}

// testPushWithoutAppliance: an appliance that is not there cannot take the policy, and one that dies takes nothing with
// it.
func testPushWithoutAppliance(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(referencePolicy)
	r.place(firewall.Fast)
	dead := errors.New("dead")
	r.fw.fail(dead)
	if _, err := r.sw.Place(context.Background(), firewall.Push, vswitch.PlaceOptions{}); !errors.Is(err, dead) {
		t.Errorf("placed at a dead appliance: %v", err)
	}
	r.fw.fail(nil)
	r.place(firewall.Push)
	s := r.startStream()
	r.fw.fail(dead)
	if err := r.sw.Readminister(context.Background()); !errors.Is(err, dead) {
		t.Errorf("gave the policy to a dead appliance: %v", err)
	}
	r.place(firewall.Fast) // must not need it
	r.fw.fail(nil)
	r.place(firewall.Push)
	if _, err := r.pushText(referencePolicy, 1); err != nil {
		t.Fatal(err)
	}
	if err := r.sw.Readminister(context.Background()); err != nil {
		t.Error(err)
	}
	if e := r.fw.onDesk(); e == nil || e.Generation != 2 {
		t.Errorf("on the desk lies %+v, want what is in force", e)
	}
	if o := s.end(); o != (outcome{}) {
		t.Errorf("%+v", o)
	}
	r.place(firewall.Fast)
	if err := r.sw.Readminister(context.Background()); err != nil || r.fw.onDesk() != nil {
		t.Errorf("outside of push, the appliance got %+v, %v", r.fw.onDesk(), err)
	}
}
