package running

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"sluice/firewall/fault"
	"sluice/labs/guest"
	"sluice/labs/labfile"
)

// What a QEMU guest costs, in MiB; docs/bench.md has the measured figures. A cloned one pays for the pages that it
// writes to, one that boots for all that its boot has touched and not given back.
const (
	cloneMiB = 128
	bootMiB  = 320
)

// needsMiB is about how much memory the lab's QEMU guests will take, and in words what makes it up.
func needsMiB(l *labfile.Lab, boot guest.Boot, flavors []guest.Flavor) (mib int, why string) {
	guests := 0
	for _, g := range l.Machines() {
		if g.Kind == labfile.KindQEMU {
			guests++
		}
	}
	if boot == guest.BootCold || len(flavors) == 0 {
		return guests * bootMiB, fmt.Sprintf("%d QEMU guests of %d MiB", guests, bootMiB)
	}
	mib = guests * cloneMiB
	for _, s := range flavors {
		mib += s.MemoryMiB
	}
	return mib, fmt.Sprintf("%d QEMU guests of %d MiB and the memory of %d templates", guests, cloneMiB, len(flavors))
}

// checkRoom refuses a lab that this machine has no memory for.
func checkRoom(l *labfile.Lab, boot guest.Boot, flavors []guest.Flavor) error {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return fmt.Errorf("see how much memory is available: %w", err)
	}
	defer f.Close()
	have, err := availableMiB(f)
	if err != nil {
		return fmt.Errorf("see how much memory is available: %w", err)
	}
	need, why := needsMiB(l, boot, flavors)
	if need <= have {
		return nil
	}
	return fault.Errorf(fault.Lacks, "lab %s needs about %d MiB (%s), and %d MiB are available: destroy another lab, or take --guests netns",
		l.Name, need, why, have)
}

// availableMiB reads what the kernel says can be had without swapping: MemAvailable of /proc/meminfo, proc(5).
func availableMiB(meminfo io.Reader) (int, error) {
	lines := bufio.NewScanner(meminfo)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "MemAvailable:"); ok {
			var kib int
			_, err := fmt.Sscanf(text, "%d kB", &kib)
			return kib >> 10, err
		}
	}
	return 0, fmt.Errorf("no MemAvailable in it: %w", io.ErrUnexpectedEOF)
}
