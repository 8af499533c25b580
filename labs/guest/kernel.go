package guest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// kernelMeta is Debian's package that depends on the newest cloud kernel.
const kernelMeta = "linux-image-cloud-amd64"

// kernel is a Debian kernel package, unpacked in the cache. It is never installed.
type kernel struct {
	dir     string // of the unpacked package
	release string // as uname -r
}

func (k *kernel) image() string   { return filepath.Join(k.dir, "boot", "vmlinuz-"+k.release) }
func (k *kernel) modules() string { return filepath.Join(k.dir, "lib", "modules", k.release) }

// ensureKernel finds a kernel in the cache, or downloads and unpacks one. A cache that has one needs no network: which
// kernel a lab runs on changes when the cache is cleared, not when Debian publishes one.
func ensureKernel(ctx context.Context, opts ImageOptions) (*kernel, error) {
	base := filepath.Join(opts.Cache, "kernel")
	if k, err := findKernel(base); err == nil {
		return k, nil
	}
	opts.progress("downloading the guests' kernel (27 MB) from Debian")
	if err := os.MkdirAll(opts.Cache, 0o755); err != nil {
		return nil, noSpace(err)
	}
	tmp, err := os.MkdirTemp(opts.Cache, ".kernel-")
	if err != nil {
		return nil, noSpace(err)
	}
	defer os.RemoveAll(tmp)
	if err := downloadKernel(ctx, tmp); err != nil {
		return nil, fmt.Errorf("%w: the guests' kernel: %w", ErrMissing, err)
	}
	if err := os.RemoveAll(base); err != nil {
		return nil, err
	}
	if err := os.Rename(filepath.Join(tmp, "unpacked"), base); err != nil {
		return nil, err
	}
	return findKernel(base)
}

// findKernel looks for the one kernel under base.
func findKernel(base string) (*kernel, error) {
	found, err := filepath.Glob(filepath.Join(base, "boot", "vmlinuz-*"))
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("%s holds %d kernels", base, len(found))
	}
	return &kernel{dir: base, release: strings.TrimPrefix(filepath.Base(found[0]), "vmlinuz-")}, nil
}

var kernelPackage = regexp.MustCompile(`(?m)^\s*Depends:\s*(linux-image-\S+)`)

func downloadKernel(ctx context.Context, dir string) error {
	depends, err := run(ctx, dir, "apt-cache", "depends", kernelMeta)
	if err != nil {
		return err
	}
	name := kernelPackage.FindStringSubmatch(depends)
	if name == nil {
		return fmt.Errorf("apt does not know what %s depends on; run apt-get update", kernelMeta)
	}
	if _, err := run(ctx, dir, "apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", name[1]); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("apt-get download %s left %d packages", name[1], len(debs))
	}
	_, err = run(ctx, dir, "dpkg-deb", "--extract", debs[0], "unpacked")
	return err
}

// run runs a program in dir and gives its output; an error holds its last words.
func run(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var said strings.Builder
	cmd.Stderr = &said
	var out strings.Builder
	cmd.Stdout = &out
	err := startBound(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, lastLines(said.String(), 5))
	}
	return out.String(), nil
}

// lastLines is the end of a text, without what is empty.
func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
