package course

import (
	"os"
	"path/filepath"
	"testing"
)

// TestApart: evidence never lies where it could take the place of what somebody has handed in.
func TestApart(t *testing.T) {
	root := t.TempDir()
	class := filepath.Join(root, "class")
	if err := os.MkdirAll(filepath.Join(class, "ada"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(class, filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	for where, ok := range map[string]bool{
		"class": false, "class/ada": false, "class/evidence": false, "class/../class": false, "link": false, "link/new/one": false,
		"class-evidence": true, "class2": true, ".": true, "other/class": true,
	} {
		if err := apart(filepath.Join(root, where), class); (err == nil) != ok {
			t.Errorf("%s: %v", where, err)
		}
	}
}
