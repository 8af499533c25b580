package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Plan is what to measure.
type Plan struct {
	Rounds     int
	Sizes      []int         // Ethernet frame sizes with checksum, RFC 2544's way; the first has the whole programme
	NDR        bool          // search for the no-drop rates
	TrialTime  time.Duration // of one trial
	SteadyTime time.Duration // of one trial for latency or CPU
	TCPSeconds int
	Wirings    []Wiring
	Subjects   []subject
	Trials     io.Writer // told of every trial
	Profile    string    // file name, to which subject and wiring are added, for the engine's CPU profile; empty is none
}

// Series is what one subject gave on one wiring.
type Series struct {
	Subject string               `json:"subject"`
	Wiring  Wiring               `json:"wiring"`
	Rounds  []map[Metric]float64 `json:"rounds"` // null where the round failed
	Failed  []string             `json:"failed,omitempty"`
	Unsound []string             `json:"unsound,omitempty"` // frames came twice or damaged
}

// run measures round by round. Each round begins with another subject, so that none always follows the same one.
// A subject that fails in a round is noted and does not end the run; a cancelled context does.
func (p Plan) run(ctx context.Context, log io.Writer) ([]*Series, error) {
	all := map[string]*Series{}
	var out []*Series
	for _, s := range p.Subjects {
		for _, w := range p.Wirings {
			series := &Series{Subject: s.name, Wiring: w, Rounds: make([]map[Metric]float64, p.Rounds)}
			all[s.name+string(w)] = series
			out = append(out, series)
		}
	}
	begun := time.Now()
	for round := range p.Rounds {
		first := round % len(p.Subjects)
		for _, s := range slices.Concat(p.Subjects[first:], p.Subjects[:first]) {
			for _, w := range p.Wirings {
				fmt.Fprintf(log, "%4.0f s  round %d of %d  %-4s  %s\n", time.Since(begun).Seconds(), round+1, p.Rounds, w, s.name)
				to := all[s.name+string(w)]
				got, unsound, err := p.measure(ctx, s, w)
				switch {
				case ctx.Err() != nil:
					return nil, errors.Join(ctx.Err(), err)
				case err != nil:
					fmt.Fprintf(log, "        %v\n", err)
					to.Failed = append(to.Failed, err.Error())
					continue
				case unsound != nil:
					to.Unsound = append(to.Unsound, unsound.Error())
				}
				to.Rounds[round] = got
			}
		}
	}
	return out, nil
}

// measure lays one bed and measures on it. unsound is what was wrong with the frames, if something was.
func (p Plan) measure(ctx context.Context, s subject, w Wiring) (got map[Metric]float64, unsound, err error) {
	b, err := s.lay(ctx, p, w)
	if err != nil {
		return nil, nil, err
	}
	m := &meter{bed: b, plan: p, play: b.player.try, got: map[Metric]float64{}}
	err = m.all(ctx, s.gso)
	return m.got, m.sound, errors.Join(err, b.close())
}
