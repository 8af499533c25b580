package vnic

import (
	"errors"
	"net/netip"
	"os"

	"sluice/vnic/frame"
)

// HostOptions says how the far end of a host port looks.
type HostOptions struct {
	Address netip.Prefix // of the device; the zero Prefix leaves it without
	MAC     frame.MAC    // the zero MAC lets the kernel choose
	MTU     int          // bytes of IP packet; 0 leaves the kernel's 1500
	NetNS   *os.File     // where the device goes: an open /proc/PID/ns/net or /run/netns/NAME; nil leaves it here
}

// OpenHost makes a TAP whose far end is a kernel's own stack (kind host), and is its near end.
func OpenHost(name string, o HostOptions) (NIC, error) { return nil, errors.ErrUnsupported }
