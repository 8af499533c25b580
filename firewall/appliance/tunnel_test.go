package appliance

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"

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

// TestRootSessionsEndApart: a session ends with all of its devices, at once, and with no other's.
func TestRootSessionsEndApart(t *testing.T) {
	inside(t)
	for _, b := range []bump{{7, 0}, {7, 1}, {7, 2}, {8, 1}} {
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: b.attrs(firewall.SteerBridge)}); err != nil {
			t.Fatal(err)
		}
	}
	a := new(Appliance)
	for _, session := range []uint8{7, 7, 9} {
		if err := a.EndSteer(session); err != nil {
			t.Errorf("session %d: %v", session, err)
		}
	}
	links, err := netlink.LinkList()
	if err != nil || len(links) != 2 || links[1].Attrs().Name != "br8-1" {
		t.Errorf("%d devices are left, %v", len(links), err)
	}
}
