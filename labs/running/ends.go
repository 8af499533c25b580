package running

import (
	"fmt"
	"os"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"sluice/vnic"
)

// The switch's ends of a namespace guest's vNICs lie in a network namespace of their own, where nothing else is. The
// kernel tells the guest a number of the namespace in which its cables end (IFLA_LINK_NETNSID, IFLA_TARGET_NETNSID of
// rtnetlink(7)). By that number a guest with CAP_NET_ADMIN of the host's user namespace, as the appliance has, may
// make, delete and borrow devices there. If that were the lab's own namespace, these would be the other guests' cables,
// behind the firewall. The packet sockets on the ends keep the namespace; it has no name.

// makeEnds makes such a namespace and calls f on a thread that is in it.
func makeEnds(f func() error) (ends *os.File, err error) {
	err = vnic.OnOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a namespace for the ends of cables: %w", err)
		}
		if ends, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		if err := noIPv6(); err != nil {
			return err
		}
		return f()
	})
	if err != nil && ends != nil {
		ends.Close()
	}
	return ends, err
}

// openEnd takes the switch's end of a vNIC in a namespace that makeEnds has made.
func openEnd(ends *os.File, device string) (nic vnic.NIC, err error) {
	err = vnic.OnOwnThread(func() error {
		if err := netns.Set(netns.NsHandle(ends.Fd())); err != nil {
			return fmt.Errorf("enter the namespace of its end: %w", err)
		}
		nic, err = vnic.OpenPacket(device)
		return err
	})
	return nic, err
}
