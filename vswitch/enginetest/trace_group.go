package enginetest

import (
	"slices"
	"testing"

	"sluice/firewall"
	"sluice/vswitch"
)

// testTraceGroups says that what is sent to a group, or to all, is traced as the guest sends it: to the others on its
// segment.
func testTraceGroups(t *testing.T, bed Bed) {
	r := bed.rig(t)
	r.policy("default: allow")
	r.place(firewall.Fast)
	for _, to := range []string{"239.7.7.7", "255.255.255.255", "10.10.1.255", "ff02::1", "ff05::7"} {
		got, err := r.sw.Trace(vswitch.TraceRequest{Proto: "udp", From: "client", To: to, DstPort: 5007})
		if err != nil || got.Verdict != "pass" || !slices.Equal(got.Reaches, []string{"other"}) {
			t.Errorf("%s: %+v, %v", to, got, err)
		}
	}
}
