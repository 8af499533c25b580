package guest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"sluice/labs/guest/memory"
)

// Template is what guests are cloned from: the memory of one that has booted without vNICs and waits, and after it the
// state of its devices. It is sealed, and shared by all of its clones.
type Template struct {
	file *os.File // sealed
	ram  int64    // bytes of memory; the state begins behind
}

// templateInfo lies beside a template in the cache.
type templateInfo struct {
	Memory int64  `json:"memory"` // bytes of memory; the state begins behind
	Sum    string `json:"sum"`    // memory.Save's
}

// The files of a template in the cache.
const (
	templatesDir   = "templates" // in their image's folder
	templateMemory = "memory"
	templateFile   = "template.json"
)

// Flavor is what a template is for.
type Flavor struct {
	MemoryMiB int   `json:"memory_mib"`
	CPUs      int   `json:"cpus"`
	Ports     int   `json:"ports"` // for vNICs
	Accel     Accel `json:"accel"`
	Appliance bool  `json:"appliance,omitempty"` // its kernel has loaded what a firewall VM needs
}

// Flavor is the flavor of the template from which a guest can be cloned. It is not ok for a guest that cannot be.
func (s *Spec) Flavor() (flavor Flavor, ok bool) {
	flavor = Flavor{MemoryMiB: s.memory(), CPUs: s.cpus(), Ports: s.ports(), Accel: s.Accel, Appliance: s.Appliance}
	return flavor, s.Kind == QEMU && flavor.Ports > 0
}

// key names a template by everything that it depends on.
func (flavor Flavor) key(img *Image) (string, error) {
	program, err := exec.LookPath(qemuProgram)
	if err != nil {
		return "", fmt.Errorf("%w: apt-get install %s", ErrMissing, qemuPackage)
	}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return "", err
	}
	info, err := os.Stat(program)
	if err != nil {
		return "", err
	}
	release, err := hostRelease(flavor.Accel)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintln(h, "sluice template 2", img.Key, img.Release, flavor, program, info.Size(), info.ModTime().UnixNano(), release)
	fmt.Fprintln(h, machineType, plugsByPort, emulatedCPU, translatedMiB, kernelArgs)
	return hex.EncodeToString(h.Sum(nil))[:24], nil
}

// hostRelease is what a template depends on of the host: its kernel and this boot of it where the guest runs on the
// host's processor, and nothing where it is emulated.
func hostRelease(a Accel) (string, error) {
	if a != KVM {
		return "", nil
	}
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(b), err
}

// EnsureTemplate returns the template of a flavor: the one that a process of ours holds, else the one in the cache,
// else it makes one, which takes as long as a boot. Two processes may call at once: one makes, the other waits. say is
// told what takes long, and of a template in the cache that cannot be used. Whoever has it closes it.
func EnsureTemplate(ctx context.Context, img *Image, flavor Flavor, say func(string)) (*Template, error) {
	key, err := flavor.key(img)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(filepath.Dir(img.Initrd), templatesDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, noSpace(fmt.Errorf("make the folder of templates: %w", err))
	}
	unlock, err := lockFile(ctx, filepath.Join(dir, key+".lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	t := &Template{ram: int64(flavor.MemoryMiB) << 20}
	name := templateName(key)
	if t.file = memory.Find(name); t.file != nil {
		return t, nil
	}
	at := filepath.Join(dir, key)
	t.file, err = loadTemplate(at, name, t.ram)
	if err == nil {
		return t, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		say("a template in the cache cannot be used, and is made anew: " + err.Error())
		if err := os.RemoveAll(at); err != nil {
			return nil, err
		}
	}
	say("making a template that guests are cloned from, once")
	if t.file, err = makeTemplate(ctx, img, flavor, key); err != nil {
		return nil, fmt.Errorf("make a template: %w", err)
	}
	if err := saveTemplate(t, at); err != nil {
		say("the template is not kept for the next lab: " + err.Error())
	}
	return t, nil
}

// templateName is what a template's memory is called in /proc.
func templateName(key string) string { return "sluice-template-" + key }

func loadTemplate(at, name string, ram int64) (*os.File, error) {
	b, err := os.ReadFile(filepath.Join(at, templateFile))
	if err != nil {
		return nil, err
	}
	var info templateInfo
	if err := json.Unmarshal(b, &info); err != nil {
		return nil, fmt.Errorf("%w: %w", memory.ErrBroken, err)
	}
	if info.Memory != ram {
		return nil, fmt.Errorf("%w: it is of %d bytes, not %d", memory.ErrBroken, info.Memory, ram)
	}
	f, err := memory.Load(filepath.Join(at, templateMemory), name, info.Sum)
	if err == nil {
		now := time.Now()
		_ = os.Chtimes(at, now, now) // a wish: else it looks older than it is
	}
	return f, err
}

// saveTemplate writes the template beside its place and renames it, so that half a one is never taken for one. The lock
// of its key is held, so what lies beside is of a process that has died.
func saveTemplate(t *Template, at string) error {
	beside := at + ".making"
	if err := os.RemoveAll(beside); err != nil {
		return err
	}
	if err := os.Mkdir(beside, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(beside)
	sum, err := memory.Save(t.file, filepath.Join(beside, templateMemory))
	if err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(beside, templateFile), templateInfo{Memory: t.ram, Sum: sum}); err != nil {
		return err
	}
	return os.Rename(beside, at)
}

// origin is a clone's. Whoever asks closes the state.
func (t *Template) origin() (origin, error) {
	state, err := memory.Reopen(t.file, t.ram)
	return origin{memory: t.file, state: state}, err
}

// File is what a process that is to have the template inherits, for TemplateFrom there.
func (t *Template) File() *os.File { return t.file }

// Close lets go of the template. Clones keep theirs.
func (t *Template) Close() {
	if t != nil {
		t.file.Close()
	}
}

// TemplateFrom is the template of a flavor in a file that this process has inherited.
func TemplateFrom(f *os.File, flavor Flavor) (*Template, error) {
	if err := memory.Check(f); err != nil {
		return nil, err
	}
	return &Template{file: f, ram: int64(flavor.MemoryMiB) << 20}, nil
}
