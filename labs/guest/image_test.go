package guest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/vnic/roottest"
)

// cacheWithKernel is a cache of the test's own that has the kernel already.
func cacheWithKernel(t *testing.T, dir string) string {
	t.Helper()
	kernel := filepath.Dir(filepath.Dir(testImage(t).Kernel))
	if err := os.Symlink(kernel, filepath.Join(dir, "kernel")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestRootImageOnce has several make the same image at once: one makes it, and later ones find it.
func TestRootImageOnce(t *testing.T) {
	cache := cacheWithKernel(t, t.TempDir())
	var mu sync.Mutex
	made := 0
	ensure := func() *Image {
		img, err := EnsureImage(t.Context(), ImageOptions{Cache: cache, Progress: func(string) {
			mu.Lock()
			defer mu.Unlock()
			made++
		}})
		if err != nil {
			t.Error(err)
			return &Image{}
		}
		return img
	}
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { ensure() })
	}
	all.Wait()
	img := ensure()
	if made != 1 {
		t.Errorf("made %d times, want once", made)
	}
	for _, p := range []string{img.Kernel, img.Initrd, filepath.Join(img.Root, "sbin/sluice"), filepath.Join(img.Root, "usr/sbin/nft")} {
		if info, err := os.Stat(p); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", p, err)
		}
	}
	if _, err := os.Stat(filepath.Join(img.Root, "lib/modules", img.Release, "modules.dep")); err != nil {
		t.Error(err)
	}
}

// TestRootImageErrors says what each lack looks like.
func TestRootImageErrors(t *testing.T) {
	small := t.TempDir()
	roottest.Need(t, "makes TAPs and namespaces")
	if err := unix.Mount("none", small, "tmpfs", 0, "size=20m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	})
	cacheWithKernel(t, small)
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("no program\n", 10)), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path string
		opts       ImageOptions
		missing    bool
		want       string
	}{
		{"no space", os.Getenv("PATH"), ImageOptions{Cache: small}, true, "no space left"},
		{"no apt", "/nowhere", ImageOptions{Cache: t.TempDir()}, true, "apt-cache"},
		{"no programs", "/nowhere", ImageOptions{Cache: cacheWithKernel(t, t.TempDir())}, true, "apt-get install busybox-static"},
		{"no ELF", os.Getenv("PATH"), ImageOptions{Cache: cacheWithKernel(t, t.TempDir()), Binary: text}, false, "bad magic"},
		{"no binary", os.Getenv("PATH"), ImageOptions{Cache: cacheWithKernel(t, t.TempDir()), Binary: "/no/such"}, false, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("PATH", c.path)
			_, err := EnsureImage(t.Context(), c.opts)
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrMissing) != c.missing {
				t.Errorf("error %v, want %q in it; missing %v", err, c.want, c.missing)
			}
			if left, _ := filepath.Glob(filepath.Join(c.opts.Cache, "images", "*")); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
}

// TestPrune says which images stay: those used last, those that somebody holds, and none of what was never finished.
func TestPrune(t *testing.T) {
	cache := t.TempDir()
	dir := filepath.Join(cache, "images")
	for i, name := range []string{"now", "lately", "old", "older", "held", "oldest", ".making-1", ".removing-1"} {
		p := filepath.Join(dir, name)
		when := time.Now().Add(-time.Duration(i) * time.Minute)
		err := errors.Join(os.MkdirAll(filepath.Join(p, "root"), 0o755), os.WriteFile(filepath.Join(p, "initrd"), make([]byte, 10_000), 0o644))
		if name == "old" {
			for _, key := range []string{"a", "b"} {
				at := filepath.Join(p, templatesDir, key)
				err = errors.Join(err, os.MkdirAll(at, 0o700), os.WriteFile(filepath.Join(at, templateFile), nil, 0o600))
			}
		}
		if err = errors.Join(err, os.Chtimes(p, when, when)); err != nil {
			t.Fatal(err)
		}
	}
	held, err := (&Image{Root: filepath.Join(dir, "held", "root")}).Hold()
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	names := func() (out string) {
		t.Helper()
		list, err := Images(t.Context(), ImageOptions{Cache: cache})
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range list {
			if templates := map[string]int{"old": 2}[i.Key]; i.Templates != templates {
				t.Errorf("%+v has %d templates", i, templates)
			}
			if out += i.Key + " "; i.InUse != (i.Key == "held") || i.Bytes < 10_000 {
				t.Errorf("%+v", i)
			}
		}
		return out
	}
	for _, c := range []struct {
		keep int
		want string
	}{{9, "now lately old older held oldest "}, {3, "now lately old held "}, {0, "held "}} {
		gone, err := PruneImages(t.Context(), ImageOptions{Cache: cache}, c.keep)
		if err != nil {
			t.Fatal(err)
		}
		if got := names(); got != c.want {
			t.Errorf("kept %d: %s are there, want %s; gone: %+v", c.keep, got, c.want, gone)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := PruneImages(t.Context(), ImageOptions{Cache: t.TempDir()}, 0); err != nil {
		t.Errorf("an empty cache: %v", err)
	}
}

// TestFits says how much stays in the cache by itself: the image used last always does where a lab holds it.
func TestFits(t *testing.T) {
	dir := t.TempDir()
	for i, name := range []string{"now", "large", "small"} {
		f := filepath.Join(dir, name, "initrd")
		when := time.Now().Add(-time.Duration(i) * time.Minute)
		err := errors.Join(os.Mkdir(filepath.Dir(f), 0o755), os.WriteFile(f, make([]byte, []int{8, 64, 8}[i]<<10), 0o644))
		if err = errors.Join(err, os.Chtimes(filepath.Dir(f), when, when)); err != nil {
			t.Fatal(err)
		}
	}
	most := int64(40 << 10) // the folders count, too
	gone, err := prune(dir, func(place int, bytes int64) bool { return fits(place, bytes*(cacheMost/most)) })
	if err != nil || len(gone) != 2 || gone[0].Key != "large" || gone[1].Key != "small" {
		t.Errorf("gone: %+v, %v; want all beyond %d bytes", gone, err, most)
	}
}

// TestRootModules has modules.dep name each module's needs so that loading them backwards works.
func TestRootModules(t *testing.T) {
	mods := map[string]*module{
		"a": {file: "a.ko", depends: []string{"b", "c"}}, "b": {file: "b.ko", depends: []string{"d"}},
		"c": {file: "c.ko", depends: []string{"b"}}, "d": {file: "d.ko"},
	}
	for name, want := range map[string]string{"a": "c b d", "b": "d", "c": "b d", "d": ""} {
		if got := strings.Join(deepDepends(mods, name), " "); got != want {
			t.Errorf("%s needs %q, want %q", name, got, want)
		}
	}
}
