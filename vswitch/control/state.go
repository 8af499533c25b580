package control

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// SocketName is the name of the control socket in a lab's state folder.
const SocketName = "control.sock"

// labName is what a lab may be called: it becomes a folder, a socket's path (which has room for 107 bytes) and the name
// of a network namespace.
var labName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// CheckLabName says whether name can be the name of a lab: 1 to 32 of a-z, 0-9 and -, and no - in front.
func CheckLabName(name string) error {
	if !labName.MatchString(name) {
		return Errorf(BadInput, "%q cannot be a lab's name: 1 to 32 of a-z, 0-9 and -, and no - in front", name)
	}
	return nil
}

// UsualRoot is root's state root where nothing else is said.
const UsualRoot = "/run/sluice"

// StateRoot is the folder that has one folder for each lab: $SLUICE_STATE_DIR if set; else UsualRoot for root and
// $XDG_RUNTIME_DIR/sluice for anybody else.
func StateRoot() (string, error) {
	if dir := os.Getenv("SLUICE_STATE_DIR"); dir != "" {
		return dir, nil
	}
	if os.Geteuid() == 0 {
		return UsualRoot, nil
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "sluice"), nil
	}
	return "", Errorf(Lacks, "no folder for running labs: XDG_RUNTIME_DIR is not set "+
		"(log in through systemd, or set it to a folder of your own)")
}

// LabDir is the state folder of a lab, whether it is there or not.
func LabDir(lab string) (string, error) {
	if err := CheckLabName(lab); err != nil {
		return "", err
	}
	root, err := StateRoot()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, lab), nil
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
		return nil, Errorf(Failed, "look for running labs: %w", err)
	}
	var labs []string
	for _, e := range entries {
		if e.IsDir() && labName.MatchString(e.Name()) {
			labs = append(labs, e.Name())
		}
	}
	return labs, nil
}
