package appliance

import (
	"errors"
	"testing"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// TestTunnelRefuses: what no switch asks for touches no device.
func TestTunnelRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		spec firewall.SteerSpec
		want error
	}{
		{"no session", firewall.SteerSpec{Ports: []frame.PortID{1}}, errSession},
		{"the probe's port", firewall.SteerSpec{Session: 1, Ports: []frame.PortID{1, 0}}, errPort},
		{"a port that no VNI can say", firewall.SteerSpec{Session: 1, Ports: []frame.PortID{frame.MaxSteerPort + 1}}, errPort},
		{"more ports than it holds", firewall.SteerSpec{Session: 1, Ports: make([]frame.PortID, MaxBumps)}, errBumps},
	} {
		if err := new(Appliance).Steer(c.spec); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
