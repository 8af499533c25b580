package vswitch_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/vswitch"
)

// tired is an appliance that answers nothing, and whose patience has ended once it is asked for.
type tired struct {
	vswitch.Appliance
	asked []time.Duration
}

var errTired = errors.New("it has worked for long enough")

func (a *tired) Absent() bool { return false }

func (a *tired) Ready(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func (a *tired) Patience(ctx context.Context, most time.Duration) (context.Context, context.CancelFunc) {
	a.asked = append(a.asked, most)
	ctx, end := context.WithCancelCause(ctx)
	end(errTired)
	return ctx, func() { end(nil) }
}

// TestPatienceIsTheAppliances: a change waits for an appliance by the appliance's own measure, not by the clock, and
// fails where that is used up.
func TestPatienceIsTheAppliances(t *testing.T) {
	sw, err := vswitch.New(vswitch.Config{Name: "tired", Engine: newBlackHole, Segments: []vswitch.Segment{{Name: "lan"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sw.Close(); err != nil {
			t.Error(err)
		}
	})
	policy, err := firewall.Load("policy.yaml", []byte("default: drop\n"), &firewall.Inventory{})
	if err == nil {
		_, err = sw.SetPolicy(t.Context(), policy)
	}
	if err != nil {
		t.Fatal(err)
	}
	a := &tired{}
	sw.SetAppliance(a)
	if _, err := sw.Place(t.Context(), firewall.Slow, vswitch.PlaceOptions{}); !errors.Is(err, errTired) {
		t.Errorf("the change ended by %v", err)
	}
	if len(a.asked) == 0 || a.asked[0] <= 0 {
		t.Errorf("its patience was asked for: %v", a.asked)
	}
}
