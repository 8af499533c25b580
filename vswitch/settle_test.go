package vswitch

import (
	"testing"
	"time"

	"sluice/firewall"
)

// TestSettle plays an appliance by a clock of its own, one tick after the other, and counts how often its state
// changes.
func TestSettle(t *testing.T) {
	const minute = int64(time.Minute)
	overloadedUnless := func(passedBy bool) firewall.Failure {
		if passedBy {
			return firewall.Healthy
		}
		return firewall.Backlogged
	}
	for _, c := range []struct {
		name  string
		looks func(at int64, state firewall.Failure) firewall.Failure
		most  int // changes in ten minutes
		least int
		ends  firewall.Failure
	}{
		{"well", func(int64, firewall.Failure) firewall.Failure { return firewall.Healthy }, 0, 0, firewall.Healthy},
		{"overloaded unless it is passed by", func(_ int64, s firewall.Failure) firewall.Failure {
			return overloadedUnless(s != firewall.Healthy)
		}, 60, 10, firewall.Backlogged},
		{"overloaded for a minute", func(at int64, s firewall.Failure) firewall.Failure {
			return overloadedUnless(at > minute || s != firewall.Healthy)
		}, 16, 4, firewall.Healthy},
		{"late now and then", func(at int64, _ firewall.Failure) firewall.Failure {
			if at/int64(probeEvery)%5 == 0 {
				return firewall.Backlogged
			}
			return firewall.Healthy
		}, 1, 1, firewall.Backlogged},
		{"hung for a second, each minute", func(at int64, _ firewall.Failure) firewall.Failure {
			if at%minute < int64(time.Second) {
				return firewall.Hung
			}
			return firewall.Healthy
		}, 20, 20, firewall.Healthy},
	} {
		var s settling
		changes, state := 0, firewall.Healthy
		for at := int64(1); at < 10*minute; at += int64(probeEvery) {
			next := s.settle(at, state, c.looks(at, state), false)
			if next != state {
				changes++
			}
			state = next
		}
		if changes > c.most || changes < c.least || state != c.ends {
			t.Errorf("%s: %d changes, and %s in the end; want %d to %d, and %s", c.name, changes, state, c.least, c.most, c.ends)
		}
	}
}

// TestSettleSoon says how long it takes until something is over.
func TestSettleSoon(t *testing.T) {
	const tick = int64(probeEvery)
	for _, c := range []struct {
		name string
		was  []firewall.Failure // one after the other, for a tick each
		want time.Duration
	}{
		{"hung", []firewall.Failure{firewall.Hung}, wellFor},
		{"absent", []firewall.Failure{firewall.Absent}, wellFor},
		{"backlogged", []firewall.Failure{firewall.Backlogged}, calmAtFirst},
		{"full", []firewall.Failure{firewall.TableFull, firewall.Backlogged}, calmAtFirst},
		{"late after it hung", []firewall.Failure{firewall.Hung, firewall.Backlogged}, wellFor},
		{"backlogged again", []firewall.Failure{firewall.Backlogged, firewall.Healthy, firewall.Backlogged}, 2 * calmAtFirst},
	} {
		var s settling
		at, state := tick, firewall.Healthy
		for _, f := range c.was {
			for state != f {
				state = s.settle(at, state, f, false)
				at += tick
			}
		}
		if got := s.settle(at, state, firewall.Healthy, true); got != state {
			t.Errorf("%s: over while the placement changes", c.name)
		}
		begun := at
		for ; state != firewall.Healthy; at += tick {
			state = s.settle(at, state, firewall.Healthy, false)
		}
		if took := time.Duration(at - tick - begun); took != c.want {
			t.Errorf("%s: over after %v, want %v", c.name, took, c.want)
		}
	}
}
