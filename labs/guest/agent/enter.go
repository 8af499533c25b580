package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"sluice/labs/guest/confine"
)

// capabilities are what a namespace guest's root keeps: enough to be a network machine and to have other users (tcpdump
// becomes one), too little to reach the host's kernel, disks or clock.
var capabilities = confine.Capabilities{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_KILL, unix.CAP_SETGID, unix.CAP_SETUID,
	unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW,
}

// enter closes the doors behind a namespace guest: its tree is the image, and its rights are few. Then it starts the
// agent in it, as a program that never had more.
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

// guestProcesses is how many processes each user of a guest may have at once, and where the kernel counts them for a
// guest also all of them together: more than a class needs, fewer than the machine has room for.
const guestProcesses = 4096

// boundProcesses bounds the processes of a guest as a whole. A limit of a user's processes is none to the appliance,
// whose root is the host's, and a guest has 65,536 users. proc is the guest's; before Linux 6.14 its pid_max is the
// whole machine's.
func boundProcesses(proc string) error {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	if !atLeast(unix.ByteSliceToString(name.Release[:]), 6, 14) {
		return nil
	}
	return os.WriteFile(filepath.Join(proc, "sys/kernel/pid_max"), []byte(strconv.Itoa(guestProcesses)), 0)
}

// atLeast says whether a kernel's release, as 6.18.4-amd64, is that version or a later one.
func atLeast(release string, major, minor int) bool {
	var a, b int
	if n, err := fmt.Sscanf(release, "%d.%d", &a, &b); n != 2 || err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}

// OOM says how gladly the kernel ends a guest's processes where memory is short: before the lab's, which is 0
// (proc(5)).
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
