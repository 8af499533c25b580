package check

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"sluice/firewall"
)

// Speed compares how fast a download is in two placements. Both are measured in turn, several times, in the same minute
// on the same machine: only their ratio means anything.
type Speed struct {
	Flow     // from a guest to a guest with the service http
	In, Of   firewall.Placement
	Is       Condition // of the ratio of the medians
	Rounds   int
	Duration time.Duration // of one download
}

// MaxSpeedShare is the highest share that a check may ask for: on a busy machine a higher one would fail now and then.
const MaxSpeedShare = 0.5

func (c *Speed) String() string {
	return fmt.Sprintf("the speed of %s in %s is %s of that in %s", c.Flow, c.In, c.Is, c.Of)
}

func (c *Speed) judge(s *scene) Finding {
	got, of, err := c.measure(s)
	look := "sluice place " + c.In.String()
	switch {
	case err != nil:
		return Finding{Reason: fmt.Sprintf("%s could not be measured: %v", c.Flow, err), Look: look, doubt: true}
	case of == 0:
		return Finding{Reason: fmt.Sprintf("%s: nothing came in %s, so there is nothing to compare with", c.Flow, c.Of), Look: c.traceIt(), doubt: true}
	case !c.Is.Holds(got / of):
		return Finding{Reason: fmt.Sprintf("%s has %.3g %% of the speed that it has in %s, not %s", c.Flow, 100*got/of, c.Of, c.Is), Look: look, doubt: true}
	}
	return passed()
}

// measure gives the medians in both placements, in bytes a second, and leaves the placement as it was.
func (c *Speed) measure(s *scene) (in, of float64, err error) {
	start, _, err := s.lab.Placement(s.ctx)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, s.move(start)) }()
	var speeds [2][]float64
	for range c.Rounds {
		for i, to := range []firewall.Placement{c.Of, c.In} {
			if err := s.move(to); err != nil {
				return 0, 0, fmt.Errorf("the placement %s: %w", to, err)
			}
			v, err := c.download(s)
			if err != nil {
				return 0, 0, fmt.Errorf("in %s: %w", to, err)
			}
			speeds[i] = append(speeds[i], v)
		}
	}
	return median(speeds[1]), median(speeds[0]), nil
}

func (c *Speed) download(s *scene) (float64, error) {
	targets := (&Reach{Flow: c.Flow}).Targets()
	if len(targets) == 0 {
		return 0, errors.New("they have no addresses of one family")
	}
	d, err := s.lab.Download(s.ctx, c.From.Name, targets[0], c.Duration)
	if err != nil {
		return 0, err
	}
	return d.Speed(), nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
