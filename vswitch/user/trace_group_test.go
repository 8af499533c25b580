package user_test

import (
	"slices"
	"testing"

	"sluice/firewall"
	"sluice/vswitch"
)

// TestTraceGroups says that what is sent to a group, or to all, is traced as the guest sends it: to the others on its
// segment.
func TestTraceGroups(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.policy("default: allow")
	r.place(firewall.Fast)
	for _, to := range []string{"239.7.7.7", "255.255.255.255", "10.10.1.255", "ff02::1", "ff05::7"} {
		got, err := r.sw.Trace(vswitch.TraceRequest{Proto: "udp", From: "client", To: to, DstPort: 5007})
		if err != nil || got.Verdict != "pass" || !slices.Equal(got.Reaches, []string{"other"}) {
			t.Errorf("%s: %+v, %v", to, got, err)
		}
	}
}
