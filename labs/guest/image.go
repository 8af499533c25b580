package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

	held *os.File // by EnsureImage, until LetGo
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

// EnsureImage returns the image for these options from the cache, and makes it if it is not there. It is not removed
// before LetGo. Two processes may call at once: one makes, the other waits. What the machine lacks is an ErrMissing
// that names Debian's package.
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
	known := loadSums(opts.Cache)
	key, err := tree.key(kernel, known)
	if err != nil {
		return nil, err
	}
	if err := known.save(); err != nil {
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
	if img.held, err = img.Hold(); err != nil {
		return nil, err
	}
	if _, err := prune(filepath.Dir(dir), fits); err != nil {
		img.LetGo()
		return nil, err
	}
	return img, nil
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
