package vswitch

import (
	"time"

	"sluice/firewall"
)

const (
	// wellFor is how long nothing must be wrong before a failure is over: three rounds of probes.
	wellFor = 2 * probeEvery
	// An overload needs longer, because an appliance that is passed by looks well: calmAtFirst, and twice as long as
	// before where it is back within relapse.
	calmAtFirst = 500 * time.Millisecond
	calmAtMost  = 32 * time.Second
	relapse     = 10 * time.Second
)

// settling keeps the appliance's state from flapping: that something is wrong is believed at once, that it is over only
// after a time.
type settling struct {
	well int64         // since when nothing is wrong, monotonic ns; 0: something is
	over int64         // when the last failure was over; 0: there was none
	calm time.Duration // how long nothing must be wrong before the present overload is over
}

// settle is the state to believe in, after what it was and what it looks like now. While the placement changes nothing
// can be seen to be over.
func (s *settling) settle(now int64, was, is firewall.Failure, changing bool) firewall.Failure {
	if is != firewall.Healthy {
		s.well = 0
		if overload(is) && !overload(was) {
			s.begin(now, was)
		}
		return is
	}
	switch {
	case was == firewall.Healthy:
		return firewall.Healthy
	case changing:
		s.well = 0
		return was
	case s.well == 0:
		s.well = now
	}
	need := wellFor
	if overload(was) {
		need = s.calm
	}
	if now-s.well < int64(need) {
		return was
	}
	s.over = now
	return firewall.Healthy
}

// begin notes an overload that is new. What comes late from one that hung was handed to it before.
func (s *settling) begin(now int64, was firewall.Failure) {
	switch {
	case was == firewall.Hung:
		s.calm = wellFor
	case s.over != 0 && now-s.over <= int64(relapse):
		s.calm = min(max(2*s.calm, calmAtFirst), calmAtMost)
	default:
		s.calm = calmAtFirst
	}
}

// overload says whether a failure comes from what the appliance is sent, and goes with it.
func overload(f firewall.Failure) bool { return f == firewall.Backlogged || f == firewall.TableFull }
