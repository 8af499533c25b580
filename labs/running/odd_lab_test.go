package running_test

import (
	"testing"

	"sluice/vnic/roottest"
)

// TestLabOddGuests is TestRootOddGuests with machines, and with tunnel: the kernels that send what is odd are their
// own, and the appliance's drills end, stop and boot one.
func TestLabOddGuests(t *testing.T) {
	roottest.Need(t, "makes TAPs and namespaces")
	o := startOdd(t, "qemu", "200ms")
	o.everywhere(t, []string{"fast", "slow", "push", "inspect", "tunnel", "off"})
	for _, placement := range []string{"slow", "tunnel", "inspect"} {
		o.drills(t, placement)
	}
	o.end(t)
}
