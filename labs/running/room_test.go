package running

import (
	"errors"
	"io"
	"strings"
	"testing"

	"sluice/firewall/fault"
	"sluice/labs/guest"
	"sluice/labs/labfile"
)

// TestRoom says what a lab is taken to need, and that none is refused for nothing.
func TestRoom(t *testing.T) {
	lab, err := labfile.Load("fast-vs-slow")
	if err != nil {
		t.Fatal(err)
	}
	lab.SettleKinds(labfile.KindQEMU)
	all := flavors(lab, guest.TCG)
	if len(all) != 2 || all[0].Appliance || !all[1].Appliance {
		t.Fatalf("flavors: %+v; want the guests' and the appliance's", all)
	}
	const cloned = 3*cloneMiB + 2*guest.DefaultMemoryMiB
	for boot, want := range map[guest.Boot]int{guest.BootAuto: cloned, guest.BootClone: cloned, guest.BootCold: 3 * bootMiB} {
		if mib, why := needsMiB(lab, boot, all); mib != want {
			t.Errorf("%s: %d MiB (%s), want %d", boot, mib, why, want)
		}
	}
	lab.SettleKinds(labfile.KindNetns)
	all[0].MemoryMiB = 1 << 30
	err = checkRoom(lab, guest.BootAuto, all)
	if fault.ClassOf(err) != fault.Lacks || !strings.Contains(err.Error(), "lab fast-vs-slow needs about 10") {
		t.Errorf("a lab that does not fit: %v", err)
	}
}

func TestAvailable(t *testing.T) {
	const text = "MemTotal:       24664372 kB\nMemFree:        22000000 kB\nMemAvailable:   22553236 kB\n"
	if mib, err := availableMiB(strings.NewReader(text)); mib != 22024 || err != nil {
		t.Error(mib, err)
	}
	if _, err := availableMiB(strings.NewReader("MemTotal: 1 kB\n")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("no line:", err)
	}
}
