package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"sluice/vnic"
)

// NamesDir is where named network namespaces lie, for ip(8) and for us.
const NamesDir = "/run/netns"

// ShareNames makes the folder of names a shared mount of its own, as ip-netns(8) does before its first name, and with
// the same lock. If ip did so after us, each of our names would be a mount on two folders, one over the other, and no
// name would mean the same in every mount namespace. An ErrMissing says that the machine does not let us.
func ShareNames() error {
	err := shareNames()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EROFS) || errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("%w: a folder %s to name network namespaces in, as ip-netns(8) does: %w", ErrMissing, NamesDir, err)
	}
	return err
}

func shareNames() error {
	if err := os.MkdirAll(NamesDir, 0o755); err != nil {
		return noSpace(err)
	}
	dir, err := os.Open(NamesDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", NamesDir, err)
	}
	share := func() error { return unix.Mount("", NamesDir, "none", unix.MS_SHARED|unix.MS_REC, "") }
	err = share()
	if errors.Is(err, unix.EINVAL) { // it is no mount yet
		if err = unix.Mount(NamesDir, NamesDir, "none", unix.MS_BIND|unix.MS_REC, ""); err == nil {
			err = share()
		}
	}
	if err != nil {
		return fmt.Errorf("make %s a shared mount: %w", NamesDir, err)
	}
	return nil
}

// nameNamespace gives a process's network namespace a name, as ip-netns(8) does.
func nameNamespace(pid int, path string) error {
	if err := ShareNames(); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0)
	if err != nil {
		return fmt.Errorf("name the network namespace: %w", err)
	}
	f.Close()
	if err := unix.Mount(filepath.Join("/proc", strconv.Itoa(pid), "ns/net"), path, "", unix.MS_BIND, ""); err != nil {
		os.Remove(path)
		return fmt.Errorf("name the network namespace: %w", err)
	}
	return nil
}

// removeNamespace undoes nameNamespace; the namespace goes with the last process in it.
func removeNamespace(path string) error {
	if err := unmountAll(path); err != nil {
		return err
	}
	err := os.Remove(path)
	if errors.Is(err, unix.EBUSY) {
		err = removeCovered(path)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// unmountAll takes away every mount at a path: there may be some on each other.
func unmountAll(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
}

// removeCovered removes a name that is also a mount on the folder that lies below the present one, where no path leads
// any more: somebody has mounted the folder on itself since. In a mount namespace that is a copy of ours, what covers
// it can be taken away without harm to others; and to remove a name there takes its mounts away everywhere (since Linux
// 3.18).
func removeCovered(path string) error {
	return vnic.OnOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("copy the mounts: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("keep the copied mounts to ourselves: %w", err)
		}
		for {
			if err := unmountAll(path); err != nil {
				return err
			}
			err := os.Remove(path)
			if !errors.Is(err, unix.EBUSY) {
				return err
			}
			if unix.Unmount(filepath.Dir(path), unix.MNT_DETACH) != nil {
				return err // nothing covers it
			}
		}
	})
}
