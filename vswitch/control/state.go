package control

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"

	"sluice/firewall/fault"
)

// SocketName is the name of the control socket in a lab's state folder.
const SocketName = "control.sock"

// labName is what a lab may be called: it becomes a folder, a socket's path (which has room for 107 bytes) and the name
// of a network namespace.
var labName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// CheckLabName says whether name can be the name of a lab: 1 to 32 of a-z, 0-9 and -, and no - in front.
func CheckLabName(name string) error {
	if !labName.MatchString(name) {
		return fault.Errorf(fault.BadInput, "%q cannot be a lab's name: 1 to 32 of a-z, 0-9 and -, and no - in front", name)
	}
	return nil
}

// UsualRoot is root's state root where nothing else is said.
const UsualRoot = "/run/sluice"

// StateRoot is the folder that has one folder for each lab, as an absolute path: $SLUICE_STATE_DIR if set; else
// UsualRoot for root and $XDG_RUNTIME_DIR/sluice for anybody else.
func StateRoot() (string, error) {
	if dir := os.Getenv("SLUICE_STATE_DIR"); dir != "" {
		return stateRoot("SLUICE_STATE_DIR", dir)
	}
	if os.Geteuid() == 0 {
		return UsualRoot, nil
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return stateRoot("XDG_RUNTIME_DIR", filepath.Join(dir, "sluice"))
	}
	return "", fault.Errorf(fault.Lacks, "no folder for running labs: XDG_RUNTIME_DIR is not set "+
		"(log in through systemd, or set it to a folder of your own)")
}

// stateRoot is a state root that a variable names. It need not be there yet, but it must not be something else.
func stateRoot(variable, dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fault.Errorf(fault.BadInput, "%s: %w", variable, err)
	}
	info, err := os.Stat(abs)
	switch {
	case err == nil && !info.IsDir(), errors.Is(err, syscall.ENOTDIR):
		return "", fault.Errorf(fault.BadInput, "%s: %s is no folder: give a folder for running labs, or none for %s", variable, abs, UsualRoot)
	case errors.Is(err, syscall.ENAMETOOLONG):
		return "", tooLong(variable, abs)
	}
	return abs, nil
}

// maxSocketPath is how many bytes the path of a socket may have (sun_path, unix(7)).
const maxSocketPath = 107

// CheckSocket is an error if a socket's path is too long for the kernel.
func CheckSocket(path string) error {
	if len(path) <= maxSocketPath {
		return nil
	}
	return tooLong("", path)
}

func tooLong(variable, path string) error {
	if variable != "" {
		variable += ": "
	}
	shown := path
	if len(path) > 2*maxSocketPath {
		shown = path[:maxSocketPath] + "..."
	}
	return fault.Errorf(fault.BadInput, "%sthe path %s has %d bytes, and a socket's has %d at most: set SLUICE_STATE_DIR to a shorter one, such as %s",
		variable, shown, len(path), maxSocketPath, UsualRoot)
}

// LabDir is the state folder of a lab, whether it is there or not. Its path leaves room for that of the control socket.
func LabDir(lab string) (string, error) {
	if err := CheckLabName(lab); err != nil {
		return "", err
	}
	root, err := StateRoot()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, lab)
	return dir, CheckSocket(filepath.Join(dir, SocketName))
}

// Labs are the names of the labs that have a state folder, sorted: running ones, and those whose process died.
func Labs() ([]string, error) {
	root, err := StateRoot()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.Errorf(fault.Failed, "look for running labs: %w", err)
	}
	var labs []string
	for _, e := range entries {
		if labName.MatchString(e.Name()) && IsLab(filepath.Join(root, e.Name())) {
			labs = append(labs, e.Name())
		}
	}
	return labs, nil
}
