package confine

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Capabilities are numbers of capabilities(7).
type Capabilities []int

// Keep drops every other capability from the bounding set of the calling thread: no program that it becomes can have
// them again, whatever that program's file says. The caller is locked to its thread, and calls exec next.
func (c Capabilities) Keep() error {
	keep := map[int]bool{}
	for _, n := range c {
		keep[n] = true
	}
	for n := 0; ; n++ {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0)
		if err != nil {
			return nil // the kernel's last one was before
		}
		if keep[n] || has == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", n, err)
		}
	}
}

// Have makes these the permitted and effective ones of the calling thread, as far as its bounding set has them.
func (c Capabilities) Have() error {
	var bits [2]uint32
	for _, n := range c {
		if has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0); err == nil && has == 1 {
			bits[n/32] |= 1 << (n % 32)
		}
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	for i := range data {
		data[i] = unix.CapUserData{Effective: bits[i], Permitted: bits[i]}
	}
	if err := unix.Capset(&head, &data[0]); err != nil {
		return fmt.Errorf("set capabilities: %w", err)
	}
	return nil
}
