package labfile

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestCover: a sheet is read as it was written, whatever the student is called; an edit is seen, line ends are none.
func TestCover(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, CoverFile)
	if c, err := ReadCover(dir); c != nil || err != nil {
		t.Errorf("without a file: %+v, %v", c, err)
	}
	for _, student := range []string{"", "ada", "zoë \"the\" # first", "-x: y", "new\nline", "${tries}"} {
		want := &Cover{Lab: "blind-spot", Student: student, Params: map[string]string{"tries": "5"}, Hints: []CoverHint{{"close", 3, 1}}}
		for _, edit := range []struct {
			from, to string
			edited   bool
		}{{"", "", false}, {"\n", "\r\n", false}, {"cost: 1", "cost: 0", true}, {`"5"`, `"4"`, true}, {"seal: ", "seal: 0", true}} {
			text := string(want.Text())
			if edit.from != "" {
				text = strings.ReplaceAll(text, edit.from, edit.to)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := ReadCover(dir)
			if err != nil || c.Edited != edit.edited || c.Student != student || c.Bought()["close"][0] != 3 {
				t.Errorf("%q, %q: %+v, %v\n%s", student, edit.to, c, err, text)
			}
		}
	}
}

// TestCoverFits: the parameters are those of the student that it names, and of this lab.
func TestCoverFits(t *testing.T) {
	l, err := LoadWork("blind-spot", Work{Student: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	good := Cover{Lab: "blind-spot", Student: "ada", Params: l.Params}
	if err := good.Fits(l, "blind-spot"); err != nil {
		t.Error(err)
	}
	other := good
	other.Params = map[string]string{"tries": "99"}
	for _, c := range []struct {
		cover Cover
		lab   string
		want  string
	}{
		{good, "push", "says that it is of lab blind-spot, not of push"},
		{other, "blind-spot", `says that tries was "99" for ada, and in this lab it is`},
		{Cover{Lab: "blind-spot"}, "blind-spot", `tries was "" for nobody`},
	} {
		if err := c.cover.Fits(l, c.lab); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// TestOddCovers: nothing of what lies there instead of a sheet is followed, waited for or read whole.
func TestOddCovers(t *testing.T) {
	for what, put := range map[string]func(path string) error{
		"a link out": func(path string) error { return os.Symlink("/etc/hostname", path) },
		"a pipe":     func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a folder":   func(path string) error { return os.Mkdir(path, 0o700) },
		"huge":       func(path string) error { return os.WriteFile(path, make([]byte, 1<<20), 0o600) },
		"noise":      func(path string) error { return os.WriteFile(path, []byte("\x00[[["), 0o600) },
		"a typo":     func(path string) error { return os.WriteFile(path, []byte("lab: a\nstudnet: b\n"), 0o600) },
		"no lab":     func(path string) error { return os.WriteFile(path, []byte("student: b\n"), 0o600) },
	} {
		dir := t.TempDir()
		if err := put(filepath.Join(dir, CoverFile)); err != nil {
			t.Fatal(err)
		}
		if c, err := ReadCover(dir); err == nil || !strings.Contains(err.Error(), CoverFile) {
			t.Errorf("%s: %+v, %v", what, c, err)
		}
	}
}
