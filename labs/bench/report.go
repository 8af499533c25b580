package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"sluice/firewall/fault"
	"sluice/vswitch/cli"
)

// Report is one run: where, when, of what, and what came of it.
type Report struct {
	Date    time.Time         `json:"date"`
	Command string            `json:"command"`
	Minutes float64           `json:"minutes"`
	Machine Machine           `json:"machine"`
	Series  []*Series         `json:"series"`
	Targets []Target          `json:"targets"`
	Skipped map[string]string `json:"skipped,omitempty"` // subject, why
	plan    Plan
}

// newReport notes the machine, and takes subjects that it lacks out of the plan.
func newReport(ctx context.Context, p Plan, command string) (*Report, error) {
	r := &Report{Date: time.Now().UTC().Truncate(time.Second), Command: command, Skipped: map[string]string{}}
	p.Subjects = slices.DeleteFunc(slices.Clone(p.Subjects), func(s subject) bool {
		program := s.missing()
		if program != "" {
			r.Skipped[s.name] = program + " is not installed"
		}
		return program != ""
	})
	if len(p.Subjects) == 0 {
		return nil, fault.Errorf(fault.Lacks, "nothing that was asked for can be measured here: %v", r.Skipped)
	}
	r.plan = p
	var err error
	r.Machine, err = thisMachine(ctx)
	return r, err
}

// measure runs the plan. Progress goes to log.
func (r *Report) measure(ctx context.Context, log io.Writer) error {
	begun := time.Now()
	var err error
	if r.Series, err = r.plan.run(ctx, log); err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	r.Minutes = time.Since(begun).Minutes()
	r.Targets = r.targets()
	return nil
}

// series finds what a subject gave on a wiring; nil where it was not measured.
func (r *Report) series(subject string, w Wiring) *Series {
	for _, s := range r.Series {
		if s.Subject == subject && s.Wiring == w {
			return s
		}
	}
	return nil
}

// median of the rounds that have the metric; ok is false where none has.
func (s *Series) median(m Metric) (v float64, ok bool) {
	if s == nil {
		return 0, false
	}
	var all []float64
	for _, round := range s.Rounds {
		if v, ok := round[m]; ok {
			all = append(all, v)
		}
	}
	return median(all), len(all) > 0
}

// ratios are one subject's values over another's, each from one round; rounds in which one has none are left out.
func ratios(a, b *Series, m Metric) (out []float64) {
	if a == nil || b == nil {
		return nil
	}
	for i := range a.Rounds {
		x, xok := a.Rounds[i][m]
		y, yok := b.Rounds[i][m]
		if xok && yok && y > 0 {
			out = append(out, x/y)
		}
	}
	return out
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// print writes the report to the user.
func (r *Report) print(w io.Writer, format string) error {
	switch format {
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	case "yaml":
		return cli.WriteYAML(w, r)
	case "md":
		_, err := io.WriteString(w, r.markdown())
		return err
	default:
		_, err := fmt.Fprint(w, r.text())
		return err
	}
}
