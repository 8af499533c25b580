package control

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice/firewall/fault"
)

// TestFolders: what lies in the state root, and is not a lab's, is none: no command lists it, or deploys into it.
func TestFolders(t *testing.T) {
	root := t.TempDir()
	t.Setenv("SLUICE_STATE_DIR", root)
	elsewhere := t.TempDir()
	for _, c := range []struct {
		name string
		put  func(dir string) error
		lab  bool // it is one
		bad  string
	}{
		{"nothing", func(string) error { return nil }, false, ""},
		{"locked", func(d string) error { return withFile(d, LockName) }, true, ""},
		{"listens", func(d string) error { return withFile(d, SocketName) }, true, ""},
		{"half", func(d string) error { return os.Mkdir(d, 0o700) }, true, ""},
		{"open", func(d string) error { return os.Mkdir(d, 0o755) }, false, "is no lab's state folder"},
		{"documents", func(d string) error { return withFile(d, "thesis.odt") }, false, "is no lab's state folder"},
		{"a-file", func(d string) error { return os.WriteFile(d, nil, 0o600) }, false, "is no lab's state folder"},
		{"a-link", func(d string) error { return os.Symlink(elsewhere, d) }, false, "is no lab's state folder"},
		{"a-link-to-a-lab", func(d string) error { return os.Symlink("locked", d) }, false, "is no lab's state folder"},
		{"a-loose-link", func(d string) error { return os.Symlink("nowhere", d) }, false, "is no lab's state folder"},
	} {
		dir := filepath.Join(root, c.name)
		if err := c.put(dir); err != nil {
			t.Fatal(err)
		}
		names, err := Labs()
		if err != nil || slices.Contains(names, c.name) != c.lab {
			t.Errorf("%s: labs are %v, %v", c.name, names, err)
		}
		err = CheckFolder(dir)
		if (err == nil) != (c.bad == "") || err != nil && (!strings.Contains(err.Error(), c.bad) || fault.ClassOf(err) != fault.BadInput) {
			t.Errorf("%s: %v, want %q", c.name, err, c.bad)
		}
	}
	if err := os.Chmod(root, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := CheckFolder(filepath.Join(root, "new")); err == nil || !strings.Contains(err.Error(), "everybody may write") {
		t.Errorf("a root that everybody may write in: %v", err)
	}
	if err := os.Chmod(root, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if err := CheckFolder(filepath.Join(root, "new")); err != nil {
		t.Errorf("a root as /tmp: %v", err)
	}
}

func withFile(dir, file string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, file), nil, 0o600)
}
