package enginetest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/vswitch"
)

// testRestartBesidePlace sets the appliance while the placement changes, as a restart does, and asks for all that can
// be asked. The race detector says what is read or written by the wrong one.
func testRestartBesidePlace(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(referencePolicy)
	done := make(chan struct{})
	var others sync.WaitGroup
	for _, work := range []func(){
		func() { r.sw.SetAppliance(r.fw) },
		func() { r.sw.SetMeter(func() vswitch.Usage { return vswitch.Usage{} }) },
		func() {
			r.sw.Stats()
			r.sw.Status()
			r.sw.FDB()
			r.sw.Realized()
			r.sw.History()
			r.sw.Policy()
		},
	} {
		others.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					work()
				}
			}
		})
	}
	for _, to := range []firewall.Placement{firewall.Tunnel, firewall.Fast, firewall.Slow, firewall.Off} {
		r.place(to)
	}
	close(done)
	others.Wait()
}

// slowToEnd is an appliance that ends a session only when it is told to give up.
type slowToEnd struct {
	vswitch.Appliance
	asked chan struct{}
	ended atomic.Bool
}

func (a *slowToEnd) EndSteer(ctx context.Context, _ uint8) error {
	close(a.asked)
	<-ctx.Done()
	a.ended.Store(true)
	return ctx.Err()
}

// testCloseWaits says that nothing which the switch has begun goes on once it is closed.
func testCloseWaits(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(referencePolicy)
	a := &slowToEnd{Appliance: r.fw, asked: make(chan struct{})}
	r.sw.SetAppliance(a)
	r.place(firewall.Tunnel)
	r.place(firewall.Fast)
	<-a.asked
	if err := r.sw.Close(); err != nil {
		t.Error(err)
	}
	if !a.ended.Load() {
		t.Error("a question to the appliance goes on")
	}
}

// lateToEnd is an appliance that takes its time to end a session: until it is overtaken by rules, which must not be.
type lateToEnd struct {
	vswitch.Appliance
	policy chan struct{} // closed when rules come
	ended  atomic.Bool
	early  atomic.Bool // rules came before the session had ended
}

// overtaking is how long an end waits for rules that come too early. Right rules wait for the end.
const overtaking = 200 * time.Millisecond

func (a *lateToEnd) EndSteer(ctx context.Context, session uint8) error {
	select {
	case <-a.policy:
	case <-time.After(overtaking):
	}
	err := a.Appliance.EndSteer(ctx, session)
	a.ended.Store(true)
	return err
}

func (a *lateToEnd) SetPolicy(ctx context.Context, nft string, generation uint64) error {
	if !a.ended.Load() {
		a.early.Store(true)
	}
	close(a.policy)
	return a.Appliance.SetPolicy(ctx, nft, generation)
}

// testPolicyWaitsForEnd says that the appliance gets no rules before it has ended the sessions that are over: it would
// refuse those that have no table for one.
func testPolicyWaitsForEnd(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy(referencePolicy)
	r.place(firewall.Tunnel)
	a := &lateToEnd{Appliance: r.fw, policy: make(chan struct{})}
	r.sw.SetAppliance(a)
	r.place(firewall.Fast)
	_, err := r.sw.Place(context.Background(), firewall.Slow, vswitch.PlaceOptions{})
	if err != nil || a.early.Load() {
		t.Errorf("rules before the end: %v; %v", a.early.Load(), err)
	}
}
