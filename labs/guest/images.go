package guest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// cacheMost is how many bytes of images and templates stay in the cache, those used last, beside each that somebody
// holds. An image goes with the program that is in it, so each build of sluice has one; with its templates it takes
// some 500 MB.
const cacheMost = 2 << 30

// Hold keeps an image from being removed until the file is closed, or this process has died.
func (img *Image) Hold() (*os.File, error) {
	dir, err := os.Open(filepath.Dir(img.Root))
	if err != nil {
		return nil, fmt.Errorf("hold the image: %w", err)
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_SH); err != nil { // it waits while somebody looks whether it is held
		dir.Close()
		return nil, fmt.Errorf("hold the image: %w", err)
	}
	return dir, nil
}

// LetGo gives back what EnsureImage has held.
func (img *Image) LetGo() {
	if img != nil && img.held != nil {
		img.held.Close()
	}
}

// ImageInfo is an image in the cache.
type ImageInfo struct {
	Key       string    `json:"key"`       // its folder's name
	Bytes     int64     `json:"bytes"`     // with its templates
	Templates int       `json:"templates"` // that guests are cloned from
	Used      time.Time `json:"used"`      // when a lab was last deployed with it
	InUse     bool      `json:"in_use"`    // by a lab that runs, or is being deployed
}

// Images lists the images of a cache, those used last first.
func Images(ctx context.Context, opts ImageOptions) ([]ImageInfo, error) {
	var out []ImageInfo
	err := withImages(ctx, opts, func(dir string) (err error) {
		out, err = readImages(dir)
		return err
	})
	return out, err
}

// PruneImages removes images that nobody uses, but for so many of those used last, and says which.
func PruneImages(ctx context.Context, opts ImageOptions, keep int) (gone []ImageInfo, err error) {
	err = withImages(ctx, opts, func(dir string) (err error) {
		gone, err = prune(dir, func(place int, _ int64) bool { return place < keep })
		return err
	})
	return gone, err
}

// withImages calls f with the folder of images while nobody else makes, takes or removes one.
func withImages(ctx context.Context, opts ImageOptions, f func(dir string) error) error {
	if err := opts.complete(); err != nil {
		return err
	}
	dir := filepath.Join(opts.Cache, "images")
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	unlock, err := lockFile(ctx, filepath.Join(opts.Cache, "lock"))
	if err != nil {
		return err
	}
	defer unlock()
	return f(dir)
}

func readImages(dir string) ([]ImageInfo, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []ImageInfo
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || e.Name()[0] == '.' || !e.IsDir() {
			continue
		}
		i := ImageInfo{Key: e.Name(), Used: info.ModTime()}
		free, err := unheld(filepath.Join(dir, i.Key))
		if err != nil {
			return nil, err
		}
		i.InUse = free == nil
		if free != nil {
			free.Close()
		}
		if i.Bytes, err = sizeOf(filepath.Join(dir, i.Key)); err != nil {
			return nil, err
		}
		made, err := filepath.Glob(filepath.Join(dir, i.Key, templatesDir, "*", templateFile))
		if err != nil {
			return nil, err
		}
		i.Templates = len(made)
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b ImageInfo) int { return cmp.Or(b.Used.Compare(a.Used), cmp.Compare(a.Key, b.Key)) })
	return out, nil
}

// sizeOf is what a folder's files take on the disk.
func sizeOf(dir string) (bytes int64, err error) {
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		bytes += st.Blocks * 512
		return err
	})
	return bytes, err
}

// unheld is an image's folder, locked so that nobody can hold it; nil if somebody does.
func unheld(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, nil
	}
	return f, nil
}

// fits says whether an image stays for its size alone, given that of all that were used later, and its own.
func fits(_ int, bytes int64) bool { return bytes <= cacheMost }

// prune removes images that nobody holds, but those that stay by their place among all, of which the one used last is
// 0, and by the bytes of all down to it. What crashed builds and prunes have left goes too: the cache is locked, so
// what is being made now is not among it.
func prune(dir string, stays func(place int, bytes int64) bool) (gone []ImageInfo, err error) {
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	for _, l := range left {
		err = errors.Join(err, os.RemoveAll(l))
	}
	if err != nil {
		return nil, fmt.Errorf("prune the cache: %w", err)
	}
	all, err := readImages(dir)
	if err != nil {
		return nil, fmt.Errorf("prune the cache: %w", err)
	}
	var bytes int64
	for place, i := range all {
		if bytes += i.Bytes; i.InUse || stays(place, bytes) {
			continue
		}
		if err := removeImage(dir, i.Key); err != nil {
			return gone, fmt.Errorf("prune the cache: %w", err)
		}
		gone = append(gone, i)
	}
	return gone, nil
}

// removeImage takes the name away first: half an image is never taken for one.
func removeImage(dir, key string) error {
	f, err := unheld(filepath.Join(dir, key))
	if err != nil || f == nil {
		return err
	}
	defer f.Close()
	dying := filepath.Join(dir, ".removing-"+key)
	if err := os.Rename(filepath.Join(dir, key), dying); err != nil {
		return err
	}
	return os.RemoveAll(dying)
}
