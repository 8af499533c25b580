package control

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"sluice/firewall/fault"
)

// LockName is the name of the lock in a lab's state folder. It is what is made there first, and removed last.
const LockName = "lock"

// IsLab says whether dir is the state folder of a lab, and not something else that lies in the state root: a folder,
// and no link to one, with a lab's lock or socket in it; or an empty one that nobody else may enter, as a deploy leaves
// that is killed at once.
func IsLab(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	for _, name := range []string{LockName, SocketName} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 0 && info.Mode().Perm() == 0o700
}

// CheckFolder is an error where no lab must be deployed into dir: what lies there is not a lab's, or others could
// exchange it.
func CheckFolder(dir string) error {
	root := filepath.Dir(dir)
	if info, err := os.Stat(root); err == nil {
		owner := int(info.Sys().(*syscall.Stat_t).Uid)
		switch {
		case owner != os.Geteuid() && owner != 0 && strconv.Itoa(owner) != os.Getenv("SUDO_UID"):
			return fault.Errorf(fault.BadInput, "the folder for running labs, %s, belongs to another user, who could exchange what lies in it: "+
				"set SLUICE_STATE_DIR to a folder of your own", root)
		case info.Mode()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0:
			return fault.Errorf(fault.BadInput, "everybody may write in the folder for running labs, %s, and exchange what lies in it: "+
				"chmod o-w it, or set SLUICE_STATE_DIR to another", root)
		}
	}
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fault.Errorf(fault.BadInput, "look for the state folder: %w", err)
	case !IsLab(dir):
		return fault.Errorf(fault.BadInput, "%s is there, and is no lab's state folder: give the lab another --name, or set SLUICE_STATE_DIR to another folder", dir)
	case int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid():
		return fault.Errorf(fault.BadInput, "%s belongs to another user: give the lab another --name", dir)
	}
	return nil
}
