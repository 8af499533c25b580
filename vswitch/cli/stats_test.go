package cli

import (
	"strings"
	"testing"

	"sluice/vswitch"
)

// TestOwnGatewayIsNoLoss: the counters explain what is counted as dropped and is none, where there is some.
func TestOwnGatewayIsNoLoss(t *testing.T) {
	for dropped, want := range map[string]bool{"own-gateway": true, "default": false} {
		var b strings.Builder
		writeStats(&b, &Output{}, vswitch.Stats{Dropped: map[string]uint64{dropped: 3}})
		if got := strings.Contains(b.String(), "own-gateway is no loss"); got != want {
			t.Errorf("%s dropped: explained is %v\n%s", dropped, got, b.String())
		}
	}
}

// TestStatsShowEveryLoss: what a NIC has lost before the switch saw it is in the table, too.
func TestStatsShowEveryLoss(t *testing.T) {
	var b strings.Builder
	writeStats(&b, &Output{}, vswitch.Stats{Ports: []vswitch.PortStats{{Name: "client", NICDrops: 32946}, {Name: "server"}}})
	for _, want := range []string{"MISSED", "32946  none", "missed: 32946, lost in the NICs' own queues"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
