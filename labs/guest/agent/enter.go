package agent

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"sluice/labs/guest/confine"
)

// capabilities are what a namespace guest's root keeps: enough to be a network machine, too little to reach the host's
// kernel, disks or clock.
var capabilities = confine.Capabilities{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_KILL, unix.CAP_SETGID, unix.CAP_SETUID,
	unix.CAP_SETPCAP, unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_SYS_CHROOT, unix.CAP_SETFCAP,
}

// enter closes the doors behind a namespace guest: its tree is the image, and its rights are few. Then it starts the agent
// in it, as a program that never had more.
func enter(hostname string) error {
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	if err := mountNamespace(guestRoot, TreeFD); err != nil {
		return err
	}
	if err := pivot(guestRoot); err != nil {
		return fmt.Errorf("leave the host's tree: %w", err)
	}
	if err := confineGuest(); err != nil {
		return fmt.Errorf("give up rights: %w", err)
	}
	return os.NewSyscallError("exec", unix.Exec("/sbin/sluice", []string{"sluice", argAgent, stageInside}, os.Environ()))
}

// guestProcesses is how many processes a guest may have at once: more than a class needs, fewer than the machine has room for.
const guestProcesses = 4096

// OOM says how gladly the kernel ends a guest's processes where memory is short: before the lab's, which is 0 (proc(5)).
const OOM = 300

// confineGuest is for the thread that calls exec next: nothing after it has more.
func confineGuest() error {
	steps := []func() error{
		confine.Start{Umask: 0o022, Processes: guestProcesses, OOM: OOM}.Apply,
		capabilities.Keep,
		capabilities.Have,
		confine.Filter{Inside: true}.Load,
		func() error { return confine.Pass(LineFD) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// Rights are what a namespace guest's root keeps.
func Rights() confine.Capabilities { return slices.Clone(capabilities) }

func pivot(root string) error {
	return errors.Join(
		os.Chdir(root),
		unix.PivotRoot(".", "."), // the old root comes to lie on the new one
		unix.Unmount(".", unix.MNT_DETACH),
		os.Chdir("/"))
}
