package guest

import (
	"errors"
	"testing"
)

// TestAsk says when an answer is looked for again.
func TestAsk(t *testing.T) {
	cache := t.TempDir()
	broken := errors.New("broken")
	for _, c := range []struct {
		name, host string
		finds      Accel
		err        error
		asks       int
		want       Accel
	}{
		{"at first", "a", KVM, nil, 1, KVM},
		{"again", "a", TCG, nil, 0, KVM},
		{"another kernel", "b", TCG, nil, 1, TCG},
		{"again", "b", KVM, nil, 0, TCG},
		{"what could not be found out", "c", KVM, broken, 1, TCG},
		{"is asked again", "c", KVM, nil, 1, KVM},
	} {
		asks := 0
		p, err := ask(t.Context(), cache, c.host, func() (probed, error) {
			asks++
			return probed{Accel: c.finds, Why: c.name}, c.err
		})
		if p.Accel != c.want || asks != c.asks || !errors.Is(err, c.err) {
			t.Errorf("%s: %s, %v after %d probes; want %s after %d", c.name, p.Accel, err, asks, c.want, c.asks)
		}
	}
}

// TestLabProbe probes this machine: whatever it is, there is an answer with a reason, and the second time it is the
// same.
func TestLabProbe(t *testing.T) {
	img := testImage(t)
	first, err := probe(t.Context(), img)
	if err != nil || first.Why == "" || first.Accel != KVM && first.Accel != TCG {
		t.Fatalf("%+v, %v", first, err)
	}
	t.Log(first.Accel, "because", first.Why)
	accel, why, err := ProbeAccel(t.Context(), img)
	if err != nil || why == "" {
		t.Errorf("%s, %q, %v", accel, why, err)
	}
	again, whyAgain, err := ProbeAccel(t.Context(), img)
	if err != nil || again != accel || whyAgain != why {
		t.Errorf("%s, %q, %v; want %s, %q as before", again, whyAgain, err, accel, why)
	}
}
