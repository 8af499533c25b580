package agent

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// capabilities are what a namespace guest's root keeps: enough to be a network machine, too little to reach the host's
// kernel, disks or clock.
var capabilities = []int{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_KILL, unix.CAP_SETGID, unix.CAP_SETUID,
	unix.CAP_SETPCAP, unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_SYS_CHROOT, unix.CAP_SETFCAP,
}

// enter closes the doors behind a namespace guest: its tree is the image, and its rights are few. Then it starts the agent
// in it, as a program that never had more.
func enter(hostname, root, image string) error {
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	if err := mountNamespace(root, image); err != nil {
		return err
	}
	if err := pivot(root); err != nil {
		return fmt.Errorf("leave the host's tree: %w", err)
	}
	if err := dropCapabilities(); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return os.NewSyscallError("exec", unix.Exec("/sbin/sluice", []string{"sluice", argAgent, stageInside}, os.Environ()))
}

func pivot(root string) error {
	return errors.Join(
		os.Chdir(root),
		unix.PivotRoot(".", "."), // the old root comes to lie on the new one
		unix.Unmount(".", unix.MNT_DETACH),
		os.Chdir("/"))
}

// dropCapabilities drops the rest from the bounding set of this thread, which calls exec next: nothing after it can have
// them again. The caller is locked to its thread.
func dropCapabilities() error {
	keep := map[int]bool{}
	var bits [2]uint32
	for _, c := range capabilities {
		keep[c] = true
		bits[c/32] |= 1 << (c % 32)
	}
	for c := 0; ; c++ {
		if has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0); err != nil || has < 0 {
			break // the kernel's last one was before
		}
		if keep[c] {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
			return err
		}
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	for i := range data {
		data[i] = unix.CapUserData{Effective: bits[i], Permitted: bits[i]}
	}
	return unix.Capset(&head, &data[0])
}
