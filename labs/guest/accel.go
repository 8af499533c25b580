package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Accel is how QEMU runs a guest's code.
type Accel string

// The accelerators.
const (
	KVM Accel = "kvm" // the host's processor, through /dev/kvm
	TCG Accel = "tcg" // translation: slower, everywhere
)

// probeTimeout is how long the probe guest may take: a processor that works needs a second.
const probeTimeout = 15 * time.Second

// probed is an answer in the cache, and what it holds for.
type probed struct {
	Host  string `json:"host"` // everything that may change the answer
	Accel Accel  `json:"accel"`
	Why   string `json:"why"`
}

// ProbeAccel says how guests run best here, and why. KVM counts only if a guest has booted with it within a deadline:
// an openable /dev/kvm proves nothing. The answer is cached until the kernel, its boot or QEMU changes.
func ProbeAccel(ctx context.Context, img *Image) (accel Accel, why string, err error) {
	if _, err := os.Stat("/dev/kvm"); err != nil {
		return TCG, "there is no /dev/kvm", nil
	}
	if _, ok := kvmGroup(); !ok && os.Geteuid() == 0 {
		return TCG, "only root may open /dev/kvm, and QEMU does not run as root", nil
	}
	host, err := describeHost(ctx)
	if err != nil {
		return TCG, "", err
	}
	p, err := ask(ctx, filepath.Dir(filepath.Dir(filepath.Dir(img.Initrd))), host, func() (probed, error) { return probe(ctx, img) })
	return p.Accel, p.Why, err
}

// ask answers from the cache, or finds out.
func ask(ctx context.Context, cache, host string, find func() (probed, error)) (probed, error) {
	p := probed{Accel: TCG}
	unlock, err := lockFile(ctx, filepath.Join(cache, "accel.lock"))
	if err != nil {
		return p, err
	}
	defer unlock()
	file := filepath.Join(cache, "accel.json")
	var known probed
	if b, err := os.ReadFile(file); err == nil && json.Unmarshal(b, &known) == nil && known.Host == host {
		return known, nil
	}
	found, err := find()
	if err != nil {
		return p, err
	}
	found.Host = host
	return found, writeJSON(file, found)
}

// probe boots a guest with KVM.
func probe(ctx context.Context, img *Image) (probed, error) {
	dir, err := os.MkdirTemp("", "sluice-probe-")
	if err != nil {
		return probed{}, noSpace(err)
	}
	defer os.RemoveAll(dir)
	v := newVirtual(Spec{Lab: "probe", Name: "kvm", Kind: QEMU, Dir: dir, Image: img, Accel: KVM})
	begun := time.Now()
	err = v.bootOnce(ctx, probeTimeout, origin{})
	defer v.Stop(ctx)
	switch {
	case err == nil:
		return probed{Accel: KVM, Why: fmt.Sprintf("a guest booted with KVM in %v", time.Since(begun).Round(time.Millisecond))}, nil
	case errors.Is(err, ErrMissing), ctx.Err() != nil:
		return probed{}, fmt.Errorf("probe KVM: %w", err)
	}
	why := strings.Join(strings.Fields(err.Error()), " ")
	return probed{Accel: TCG, Why: fmt.Sprintf("no guest boots with KVM within %v: %.400s", probeTimeout, why)}, nil
}

// describeHost is everything that an answer depends on.
func describeHost(ctx context.Context) (string, error) {
	qemu, err := run(ctx, "/", qemuProgram, "--version")
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("%w: apt-get install %s", ErrMissing, qemuPackage)
	}
	if err != nil {
		return "", err
	}
	version, _, _ := strings.Cut(qemu, "\n")
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "", err
	}
	return strings.Join([]string{strings.TrimSpace(string(release)), strings.TrimSpace(string(boot)), version}, "; "), nil
}

// writeJSON replaces a file at once.
func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(b, '\n'), 0o644); err != nil {
		return noSpace(err)
	}
	return os.Rename(path+".new", path)
}
