package guest

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSums holds that a file is read once, and again when it has become another.
func TestSums(t *testing.T) {
	cache := t.TempDir()
	file, gone := filepath.Join(cache, "file"), filepath.Join(cache, "gone")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(gone, "x")
	for _, text := range []string{"one", "two", "2"} { // of the same length, and of another
		write(file, text)
		for _, changed := range []bool{true, false} {
			s := loadSums(cache)
			if _, err := s.of(gone); err != nil {
				t.Fatal(err)
			}
			s.changed = false
			sum, err := s.of(file)
			if err != nil || sum != sumOf([]byte(text)) || s.changed != changed {
				t.Errorf("%s: sum %s, %v; read %v, want %v", text, sum, err, s.changed, changed)
			}
			s.changed = true
			if err := s.save(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	s := loadSums(cache)
	s.changed = true
	if err := s.save(); err != nil {
		t.Fatal(err)
	}
	if s = loadSums(cache); len(s.known) != 1 {
		t.Errorf("known: %v, want the one file", s.known)
	}
	write(s.path, "no JSON")
	if sum, err := loadSums(cache).of(file); err != nil || sum != sumOf([]byte("2")) {
		t.Errorf("after a broken list: %s, %v", sum, err)
	}
}
