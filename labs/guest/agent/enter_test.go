package agent

import "testing"

// TestAtLeast: a bound that would be the whole machine's on an older kernel is not set there.
func TestAtLeast(t *testing.T) {
	for release, want := range map[string]bool{
		"6.14.0": true, "6.18.44-fc-v782": true, "7.0-rc1": true, "6.13.9": false, "6.1.0-28-amd64": false, "5.99": false, "6": false, "": false, "x.y": false,
	} {
		if got := atLeast(release, 6, 14); got != want {
			t.Errorf("%q: %v, want %v", release, got, want)
		}
	}
}
