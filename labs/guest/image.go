package guest

import (
	"context"
	"errors"
)

// Image is what guests boot: a kernel, an initramfs, and the same tree unpacked for namespace guests.
type Image struct {
	Kernel  string // path of the bzImage
	Initrd  string // path of the cpio
	Root    string // folder with the unpacked tree
	Release string // the kernel's
	Key     string // hash of all inputs
}

// ImageOptions says what an image is made from; the zero value is what commands use.
type ImageOptions struct {
	Cache    string            // folder; empty means $XDG_CACHE_HOME/sluice, else ~/.cache/sluice
	Binary   string            // the program with the agent in it; empty means this one
	Progress func(what string) // told of each long step; may be nil
}

// EnsureImage returns the image for these options from the cache, and makes it if it is not there. Two processes may call
// at once: one makes, the other waits. What the machine lacks is an ErrMissing that names Debian's package.
func EnsureImage(ctx context.Context, opts ImageOptions) (*Image, error) {
	return nil, errors.New("not built yet")
}
