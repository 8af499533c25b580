package labs

import (
	"fmt"
	"os"

	"sluice/labs/guest"
	"sluice/vswitch/control"
)

// Destroy ends a lab and removes all of it. It needs nothing of what the lab's process knew, so it also works after a crash
// or half a deploy.
func Destroy(name string) error {
	if err := needRoot(); err != nil {
		return err
	}
	dir, err := control.LabDir(name)
	if err != nil {
		return err
	}
	if !present(name) {
		return control.Errorf(control.BadInput, "no lab %s is deployed here; see: sluice lab ls", name)
	}
	return cleanUp(name, dir)
}

// cleanUp ends every process in the lab's namespaces, deletes these, and removes the state folder.
func cleanUp(name, dir string) error {
	if err := guest.Reap(onMachine(dir)); err != nil {
		return fmt.Errorf("end lab %s: %w", name, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the state of lab %s: %w", name, err)
	}
	return nil
}
