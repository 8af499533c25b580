package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"sluice/labs/guest/confine"
)

// Image is what guests boot: a kernel, an initramfs, and the same tree unpacked for namespace guests.
type Image struct {
	Kernel  string `json:"kernel"`  // path of the bzImage
	Initrd  string `json:"initrd"`  // path of the cpio
	Root    string `json:"root"`    // folder with the unpacked tree
	Release string `json:"release"` // the kernel's
	Key     string `json:"key"`     // hash of all inputs
}

// ImageOptions says what an image is made from; the zero value is what commands use.
type ImageOptions struct {
	Cache    string            // folder; empty means $XDG_CACHE_HOME/sluice, else ~/.cache/sluice
	Binary   string            // the program with the agent in it; empty means this one
	Progress func(what string) // told of each long step; may be nil
}

func (o ImageOptions) progress(what string) {
	if o.Progress != nil {
		o.Progress(what)
	}
}

// What stays in the cache: the two images used last, each that was used within the hour (somebody may be about to boot
// it), and each that a machine holds.
const (
	imagesKept = 2
	imageIdle  = time.Hour
)

// hold keeps an image from being pruned until the file is closed, or this process has died.
func (img *Image) hold() (*os.File, error) {
	dir, err := os.Open(filepath.Dir(img.Root))
	if err != nil {
		return nil, fmt.Errorf("hold the image: %w", err)
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		dir.Close()
		return nil, fmt.Errorf("hold the image: %w", err)
	}
	return dir, nil
}

// EnsureImage returns the image for these options from the cache, and makes it if it is not there. Two processes may call
// at once: one makes, the other waits. What the machine lacks is an ErrMissing that names Debian's package.
func EnsureImage(ctx context.Context, opts ImageOptions) (*Image, error) {
	defer confine.UsualUmask()()
	if err := opts.complete(); err != nil {
		return nil, err
	}
	unlock, err := lockFile(ctx, filepath.Join(opts.Cache, "lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	kernel, err := ensureKernel(ctx, opts)
	if err != nil {
		return nil, err
	}
	tree, err := plant(kernel, opts.Binary)
	if err != nil {
		return nil, err
	}
	key, err := tree.key(kernel)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(opts.Cache, "images", key)
	img := &Image{
		Kernel:  kernel.image(),
		Initrd:  filepath.Join(dir, "initrd"),
		Root:    filepath.Join(dir, "root"),
		Release: kernel.release,
		Key:     key,
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		opts.progress("making the guest image")
		if err := makeImage(tree, dir); err != nil {
			return nil, noSpace(fmt.Errorf("make the guest image: %w", err))
		}
	}
	now := time.Now()
	if err := os.Chtimes(dir, now, now); err != nil {
		return nil, noSpace(fmt.Errorf("mark the image as used: %w", err))
	}
	return img, prune(filepath.Dir(dir))
}

func (o *ImageOptions) complete() error {
	if o.Cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			base = "/root/.cache"
		}
		o.Cache = filepath.Join(base, "sluice")
	}
	if err := os.MkdirAll(o.Cache, 0o755); err != nil {
		return noSpace(fmt.Errorf("make the cache folder: %w", err))
	}
	if o.Binary == "" {
		exe, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program's file: %w", err)
		}
		o.Binary = exe
	}
	return nil
}

// makeImage writes the tree beside dir and renames it, so that a half-made image is never taken for one.
func makeImage(t *tree, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".making-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := t.writeCPIO(filepath.Join(tmp, "initrd")); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	if err := t.writeDir(filepath.Join(tmp, "root")); err != nil {
		return fmt.Errorf("unpacked tree: %w", err)
	}
	return os.Rename(tmp, dir)
}

// lockFile waits for an exclusive lock, and says how to give it back. The kernel gives it back if this process dies.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, noSpace(fmt.Errorf("lock the cache: %w", err))
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for another process that has locked %s: %w", path, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// noSpace marks an error that a full disk or a read-only one explains.
func noSpace(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EROFS) {
		return fmt.Errorf("%w: %w", ErrMissing, err)
	}
	return err
}

// prune removes images that nobody has used lately, and what crashed builds have left. The cache is locked.
func prune(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	used := map[string]time.Time{} // the zero time for what was never finished
	for _, e := range entries {
		if info, err := e.Info(); err == nil && e.Name()[0] != '.' {
			used[e.Name()] = info.ModTime()
		}
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return used[b.Name()].Compare(used[a.Name()]) })
	for i, e := range entries {
		finished := e.Name()[0] != '.'
		if finished && (i < imagesKept || time.Since(used[e.Name()]) < imageIdle) {
			continue
		}
		if err := removeUnheld(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("prune the cache: %w", err)
		}
	}
	return nil
}

func removeUnheld(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil // a machine holds it
	}
	return os.RemoveAll(dir)
}
