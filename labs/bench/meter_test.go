package bench

import (
	"context"
	"io"
	"math"
	"testing"
	"time"
)

// fake is a switch that carries a rate, and in overload less.
func fake(carries, overloaded, most float64) func(context.Context, Ask) (Trial, error) {
	return func(_ context.Context, a Ask) (Trial, error) {
		t := Trial{Offered: a.Rate, Seconds: 1}
		if a.Rate == 0 || a.Rate > most {
			t.Offered = most
		}
		t.Rate = t.Offered
		if t.Offered > carries {
			t.Rate = overloaded
		}
		t.Sent, t.Received = uint64(t.Offered), uint64(t.Rate)
		return t, nil
	}
}

func near(got, want, share float64) bool { return math.Abs(got-want) <= share*want }

func TestSearch(t *testing.T) {
	for _, c := range []struct {
		name                      string
		carries, overloaded, most float64
		peak                      float64 // of the ladder
		ndr                       float64
	}{
		{"never overloaded", 2e6, 0, 1e6, 1e6, 1e6},
		{"levels off", 5e5, 5e5, 1e6, 5e5, 5e5},
		{"collapses", 6e5, 1e5, 1e6, 5.5e5, 6e5},
		{"carries little", 1e4, 1e4, 1e6, 1e4, 1e4},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &meter{bed: &bed{}, play: fake(c.carries, c.overloaded, c.most), plan: Plan{Trials: io.Discard, TrialTime: time.Second}}
			best, err := m.ladder(t.Context(), Shape{Size: 60})
			if err != nil || !near(best.Rate, c.peak, 0.001) {
				t.Errorf("ladder: %.0f, %v; want %.0f", best.Rate, err, c.peak)
			}
			got, err := m.ndr(t.Context(), Shape{Size: 60}, best.Rate)
			if err != nil || !near(got.none, c.ndr, 0.05) || !near(got.some, c.ndr, 0.05) {
				t.Errorf("no loss at %.0f, little at %.0f, %v; want %.0f", got.none, got.some, err, c.ndr)
			}
		})
	}
}

func TestRatios(t *testing.T) {
	rounds := func(v ...float64) *Series {
		s := &Series{}
		for _, x := range v {
			if x == 0 {
				s.Rounds = append(s.Rounds, nil) // it failed
			} else {
				s.Rounds = append(s.Rounds, map[Metric]float64{Peak: x})
			}
		}
		return s
	}
	for _, c := range []struct {
		name   string
		a, b   *Series
		want   float64
		rounds int
	}{
		{"odd", rounds(2, 30, 4), rounds(1, 3, 2), 2, 3},
		{"even", rounds(2, 4), rounds(1, 1), 3, 2},
		{"a failed round is left out", rounds(2, 0, 3), rounds(1, 1, 1), 2.5, 2},
		{"no round in common", rounds(1, 0), rounds(0, 1), 0, 0},
		{"not measured", rounds(1), nil, 0, 0},
	} {
		if got := ratios(c.a, c.b, Peak); median(got) != c.want || len(got) != c.rounds {
			t.Errorf("%s: median of %v, want %v of %d rounds", c.name, got, c.want, c.rounds)
		}
	}
}
