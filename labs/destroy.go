package labs

import (
	"context"
	"fmt"
	"os"

	"sluice/labs/guest"
	"sluice/vswitch/control"
)

// Destroy ends a lab and removes all of it. It needs nothing of what the lab's process knew, so it also works after a crash
// or half a deploy.
func Destroy(ctx context.Context, name string) error {
	dir, err := control.LabDir(name)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return control.Errorf(control.Lacks, "a lab needs root: it is made of network namespaces and TAPs; try sudo")
	}
	if !present(name) {
		return control.Errorf(control.BadInput, "no lab %s is deployed here; see: sluice lab ls", name)
	}
	return cleanUp(name, dir)
}

// cleanUp ends every process in the lab's namespaces, deletes these, and removes the state folder.
func cleanUp(name, dir string) error {
	if err := guest.Reap(name); err != nil {
		return fmt.Errorf("end lab %s: %w", name, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the state of lab %s: %w", name, err)
	}
	return nil
}
