package bench

import (
	"fmt"
	"slices"
)

// Target is a ratio that the project set itself, and what this run found.
type Target struct {
	What   string  `json:"what"`
	Wiring Wiring  `json:"wiring"`
	Metric Metric  `json:"metric"`
	Of     string  `json:"of"`
	To     string  `json:"to"`
	Want   float64 `json:"want"`
	Got    float64 `json:"got"`  // median of the rounds
	Low    float64 `json:"low"`  // worst round
	High   float64 `json:"high"` // best round
	Met    bool    `json:"met"`
}

// engine is the subject that the targets are about: the reference policy, stateful, placement fast.
const engine = "user-fast"

// targets compares what was measured with what is wanted. What was not measured is left out.
func (r *Report) targets() []Target {
	var out []Target
	for _, t := range []Target{
		{What: "frames/s", Metric: Peak, Wiring: TAP, To: "ovs", Want: 1.5},
		{What: "frames/s", Metric: Peak, Wiring: Veth, To: "ovs", Want: 1.5},
		{What: "frames/s", Metric: Peak, Wiring: TAP, To: "vde", Want: 3},
		{What: "frames/s", Metric: Peak, Wiring: Veth, To: "vde", Want: 3},
		{What: "TCP", Metric: TCPGbit, Wiring: Veth, To: "ovs", Want: 6},
		{What: "TCP", Metric: TCPGbit, Wiring: Veth, To: "vde", Want: 6},
		{What: "TCP", Metric: TCPGbit, Wiring: Veth, To: "bridge", Want: 0.7},
	} {
		t.Of = engine
		got := ratios(r.series(t.Of, t.Wiring), r.series(t.To, t.Wiring), t.Metric)
		if len(got) == 0 {
			continue
		}
		t.Got, t.Low, t.High = median(got), slices.Min(got), slices.Max(got)
		t.Met = t.Got >= t.Want
		out = append(out, t)
	}
	return out
}

func (t Target) verdict() string {
	if t.Met {
		return "met"
	}
	return fmt.Sprintf("not met (%.0f %% of it)", 100*t.Got/t.Want)
}
