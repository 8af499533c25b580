package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Metric is one thing that is measured.
type Metric string

// The metrics. CPU is per million frames or per Gbit that arrived; "switch" is the switch's own processes, "machine" is
// everything that ran, the players included, for what the kernel forwards is done in whoever's time it finds.
const (
	Peak        Metric = "peak_fps"         // highest rate received, at whatever rate was offered
	NDR         Metric = "ndr_fps"          // highest rate offered of which no frame was lost (RFC 2544 26.1)
	NDRHalf     Metric = "ndr05_fps"        // the same with at most 0.5 % lost
	P50         Metric = "latency_p50_us"   // at half of NDRHalf, or of Peak where that was not measured
	P99         Metric = "latency_p99_us"   //
	FrameSwitch Metric = "cpu_s_per_mframe" // at half of NDRHalf, or of Peak where that was not measured
	FrameAll    Metric = "machine_s_per_mframe"
	GSORate     Metric = "gso_fps"
	GSOGbit     Metric = "gso_gbit"
	GSOSwitch   Metric = "gso_cpu_s_per_gbit"
	GSOAll      Metric = "gso_machine_s_per_gbit"
	TCPGbit     Metric = "tcp_gbit"
	TCPSwitch   Metric = "tcp_cpu_s_per_gbit"
	TCPAll      Metric = "tcp_machine_s_per_gbit"
)

const (
	ndrTrials = 5 // halvings of the range, for each of the two searches
	smallLoss = 0.005
)

// meter measures one subject on one bed.
type meter struct {
	*bed
	plan  Plan
	play  func(context.Context, Ask) (Trial, error)
	got   map[Metric]float64
	sound error // the first trial whose frames arrived twice or damaged
}

// all measures what the wiring allows.
func (m *meter) all(ctx context.Context, gso bool) error {
	for _, size := range m.plan.Sizes {
		if err := m.frames(ctx, Shape{Size: size - fcs}); err != nil {
			return fmt.Errorf("frames of %d bytes: %w", size, err)
		}
	}
	if m.wiring == TAP && gso {
		if err := m.bulk(ctx, Shape{Size: gsoFrame, GSO: tcpSegment}); err != nil {
			return fmt.Errorf("GSO frames: %w", err)
		}
	}
	if m.wiring == Veth {
		if err := m.tcp(ctx); err != nil {
			return fmt.Errorf("TCP: %w", err)
		}
	}
	return nil
}

// try plays one trial, and notes when what arrived is not what was sent.
func (m *meter) try(ctx context.Context, a Ask) (Trial, error) {
	t, _, err := m.costing(ctx, a)
	return t, err
}

// costing plays one trial and says what CPU time it took.
func (m *meter) costing(ctx context.Context, a Ask) (t Trial, c cost, err error) {
	c, err = m.spending(func() (err error) {
		t, err = m.play(ctx, a)
		return err
	})
	if err != nil {
		return t, c, err
	}
	if m.sound == nil {
		m.sound = t.Sound()
	}
	fmt.Fprintf(m.plan.Trials, "%9s: asked for %7.0f, sent %7.0f, received %7.0f frames/s, lost %6.3f %%; CPU: switch %.3f s, all %.2f s\n",
		a.Shape, a.Rate, t.Offered, t.Rate, 100*t.Loss(), c.own, c.machine)
	return t, c, nil
}

// ladder offers as much as the sender can, then less by steps, and gives the best rate received. A switch in user space
// shares the cores with its sender, and a sender that never pauses is not what it does best with.
func (m *meter) ladder(ctx context.Context, s Shape) (best Trial, err error) {
	var offered float64
	for _, step := range []float64{1, 0.85, 0.7, 0.55, 0.4} {
		t, err := m.try(ctx, Ask{Shape: s, Rate: offered * step, For: m.plan.TrialTime})
		if err != nil {
			return best, err
		}
		if offered == 0 {
			offered = t.Offered
		}
		if t.Rate > best.Rate {
			best = t
		}
	}
	return best, nil
}

// frames measures frames of one size. Only the smallest has the whole programme.
func (m *meter) frames(ctx context.Context, s Shape) error {
	best, err := m.ladder(ctx, s)
	if err != nil {
		return err
	}
	if s.Size+fcs != m.plan.Sizes[0] {
		m.got[Metric(fmt.Sprintf("%s_%d", Peak, s.Size+fcs))] = best.Rate
		return nil
	}
	m.got[Peak] = best.Rate
	steady := best.Rate / 2
	if m.plan.NDR && m.wiring == TAP {
		n, err := m.ndr(ctx, s, best.Rate)
		if err != nil {
			return err
		}
		m.got[NDR], m.got[NDRHalf] = n.none, n.some
		steady = n.some / 2
	}
	return m.steady(ctx, s, steady)
}

// steady measures what a frame costs, and latency, at a rate that the subject carries with ease.
func (m *meter) steady(ctx context.Context, s Shape, rate float64) error {
	t, cost, err := m.costing(ctx, Ask{Shape: s, Rate: rate, For: m.plan.SteadyTime})
	if err != nil {
		return err
	}
	if t.Received == 0 {
		return errNothing
	}
	m.got[FrameSwitch] = cost.own / float64(t.Received) * 1e6
	m.got[FrameAll] = cost.machine / float64(t.Received) * 1e6
	t, err = m.try(ctx, Ask{Shape: s, Rate: rate, For: m.plan.SteadyTime, Latency: true})
	if err != nil {
		return err
	}
	m.got[P50], m.got[P99] = t.P50, t.P99
	return nil
}

// bulk measures GSO frames.
func (m *meter) bulk(ctx context.Context, s Shape) error {
	best, err := m.ladder(ctx, s)
	if err != nil {
		return err
	}
	gbit := float64(s.Size) * 8 / 1e9
	m.got[GSORate], m.got[GSOGbit] = best.Rate, best.Rate*gbit
	t, cost, err := m.costing(ctx, Ask{Shape: s, Rate: best.Rate / 2, For: m.plan.SteadyTime})
	if err != nil {
		return err
	}
	if t.Received == 0 {
		return errNothing
	}
	m.got[GSOSwitch] = cost.own / float64(t.Received) / gbit
	m.got[GSOAll] = cost.machine / float64(t.Received) / gbit
	return nil
}

var errNothing = errors.New("no frame arrived")

// cost is CPU time in seconds.
type cost struct{ own, machine float64 }

// spending runs fn and says what CPU time it took: of the switch's processes, and of the whole machine.
func (m *meter) spending(fn func() error) (cost, error) {
	before, err := m.spent()
	if err != nil {
		return cost{}, err
	}
	if err := fn(); err != nil {
		return cost{}, err
	}
	after, err := m.spent()
	return cost{after.own - before.own, after.machine - before.machine}, err
}

func (m *meter) spent() (cost, error) {
	all, err := busy()
	if err != nil {
		return cost{}, err
	}
	var own time.Duration
	for _, p := range m.procs {
		d, err := p.cpu()
		if err != nil {
			return cost{}, err
		}
		own += d
	}
	return cost{own.Seconds(), all.Seconds()}, nil
}

type throughput struct{ none, some float64 }

// ndr searches for the highest rates offered with no loss and with a small loss, by halving. Both searches learn from
// every trial. It is bounded in trials, so the answer is a lower bound within 4 % of the range.
func (m *meter) ndr(ctx context.Context, s Shape, peak float64) (throughput, error) {
	low, high := throughput{}, throughput{1.2 * peak, 1.2 * peak}
	halve := func(rate float64) error {
		t, err := m.try(ctx, Ask{Shape: s, Rate: rate, For: m.plan.TrialTime})
		if err != nil {
			return err
		}
		low.none, high.none = narrow(low.none, high.none, t.Offered, t.Loss() == 0)
		low.some, high.some = narrow(low.some, high.some, t.Offered, t.Loss() <= smallLoss)
		if t.Offered < 0.97*rate { // the sender itself can do no more
			high.none, high.some = min(high.none, rate), min(high.some, rate)
		}
		return nil
	}
	for range ndrTrials {
		if err := halve((low.some + high.some) / 2); err != nil {
			return low, err
		}
	}
	high.none = min(high.none, high.some)
	for range ndrTrials {
		if err := halve((low.none + high.none) / 2); err != nil {
			return low, err
		}
	}
	return low, nil
}

// narrow moves one bound of a range to the rate that was tried. Chance alone makes some trials pass, and others fail:
// where a trial contradicts the other bound, that bound moves along.
func narrow(low, high, tried float64, passed bool) (float64, float64) {
	switch {
	case passed && tried > low:
		return tried, max(high, tried)
	case !passed && tried < high:
		return min(low, tried), tried
	}
	return low, high
}
