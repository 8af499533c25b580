package running

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"sluice/firewall/fault"
	"sluice/labs/guest"
	"sluice/vswitch/control"
)

// Destroy ends a lab and removes all of it. It needs nothing of what the lab's process knew, so it also works after a
// crash or half a deploy. It removes nothing of a lab that lives on, whose processes it cannot see.
func Destroy(name string) error {
	if err := NeedRoot(); err != nil {
		return err
	}
	dir, err := control.LabDir(name)
	if err != nil {
		return err
	}
	if !Present(name) {
		return fault.Errorf(fault.BadInput, "no lab %s is deployed here; see: sluice lab ls", name)
	}
	lock, err := endForLock(name, dir)
	switch {
	case errors.Is(err, errLocked):
		return fault.Errorf(fault.Failed, "lab %s lives, and its processes cannot be ended from here: either a deploy of it is not done (interrupt that), "+
			"or it runs in another PID namespace, as that of a container (destroy it there)", name)
	case err == nil:
		defer lock.Close()
	case !errors.Is(err, fs.ErrNotExist): // where only namespaces are left, there is nothing to lock
		return fmt.Errorf("end lab %s: %w", name, err)
	}
	return cleanUp(name, dir)
}

// endRunner ends the lab process. Its guests end with it.
func endRunner(name, dir string) error {
	if err := guest.EndHolder(filepath.Join(dir, control.LockName), runWords...); err != nil {
		return fmt.Errorf("end lab %s: %w", name, err)
	}
	return nil
}

// lockPatience is how long a deploy may take to notice that its lab process was ended, and to let go.
const lockPatience = 10 * time.Second

// endForLock ends the lab process, and takes the lab's lock. It looks for the process again and again: one that starts
// itself afresh has no name for a moment.
func endForLock(name, dir string) (*os.File, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lockPatience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := endRunner(name, dir); err != nil {
			return nil, err
		}
		lock, err := lockLab(dir, os.O_RDWR)
		if !errors.Is(err, errLocked) {
			return lock, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-tick.C:
		}
	}
}

// clearOut is cleanUp for who goes on with the state folder, and has its lock.
func clearOut(name, dir string) error {
	if err := guest.Reap(onMachine(dir)); err != nil {
		return fmt.Errorf("end lab %s: %w", name, err)
	}
	if err := emptyFolder(dir); err != nil {
		return fmt.Errorf("remove the state of lab %s: %w", name, err)
	}
	return nil
}

// emptyFolder removes all but the lock, by which the folder is known for a lab's.
func emptyFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.Name() != control.LockName {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// cleanUp ends every process of the lab, deletes its namespaces, and removes the state folder. The caller has the lock,
// or has seen that nobody has it.
func cleanUp(name, dir string) error {
	if err := endRunner(name, dir); err != nil {
		return err
	}
	if err := guest.Reap(onMachine(dir)); err != nil {
		return fmt.Errorf("end lab %s: %w", name, err)
	}
	if !control.IsLab(dir) {
		return nil // only namespaces were left of it: what lies there is not a lab's
	}
	if err := errors.Join(emptyFolder(dir), os.RemoveAll(dir)); err != nil {
		return fmt.Errorf("remove the state of lab %s: %w", name, err)
	}
	return nil
}
