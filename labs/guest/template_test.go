package guest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/labs/guest/agent"
	"sluice/labs/guest/memory"
)

var guestFlavor = Flavor{MemoryMiB: DefaultMemoryMiB, CPUs: 1, Ports: portStep, Accel: TCG}

// sayings is what EnsureTemplate said.
type sayings struct {
	mu   sync.Mutex
	said []string
}

func (s *sayings) say(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, what)
}

// ensure gives the template of guests, and what was said meanwhile.
func ensure(t *testing.T, img *Image) (*Template, string) {
	t.Helper()
	var s sayings
	template, err := EnsureTemplate(t.Context(), img, guestFlavor, s.say)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(template.Close)
	return template, strings.Join(s.said, "\n")
}

// TestLabTemplate holds how a template is made, kept, found and refused, and what its clones are.
func TestLabTemplate(t *testing.T) {
	img := testImage(t)
	t.Cleanup(img.LetGo)
	key, err := guestFlavor.key(img)
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(filepath.Dir(img.Initrd), templatesDir, key)
	if err := os.RemoveAll(at); err != nil {
		t.Fatal(err)
	}
	t.Run("once", func(t *testing.T) { testTemplateOnce(t, img) })
	t.Run("broken", func(t *testing.T) { testTemplateBroken(t, img, at) })
	t.Run("full disk", func(t *testing.T) { testTemplateFullDisk(t, img) })
	template, said := ensure(t, img)
	if said != "" {
		t.Errorf("what is in the cache is not taken: %s", said)
	}
	t.Run("clones", func(t *testing.T) { testClones(t, img, template) })
	t.Run("foreign", func(t *testing.T) { testForeign(t, img) })
}

// testTemplateOnce asks for a template side by side: one makes it, and all have the same.
func testTemplateOnce(t *testing.T, img *Image) {
	var s sayings
	var all sync.WaitGroup
	got := make([]*Template, 3)
	for i := range got {
		all.Go(func() {
			template, err := EnsureTemplate(t.Context(), img, guestFlavor, s.say)
			if err != nil {
				t.Error(err)
				return
			}
			got[i] = template
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	if len(s.said) != 1 {
		t.Errorf("said: %q, want that one is made", s.said)
	}
	first, err := got[0].file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range got[1:] {
		if info, err := one.file.Stat(); err != nil || !os.SameFile(first, info) {
			t.Errorf("not the same memory: %v", err)
		}
	}
	for _, one := range got {
		one.Close()
	}
}

// testTemplateFullDisk: a template for which the cache has no room serves the lab that it was made for, and half a one
// is not left.
func testTemplateFullDisk(t *testing.T, img *Image) {
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(small, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	other := *img
	other.Key += " on a small disk"
	other.Initrd = filepath.Join(small, "initrd")
	if err := os.Symlink(img.Initrd, other.Initrd); err != nil {
		t.Fatal(err)
	}
	template, said := ensure(t, &other)
	if want := "the template is not kept for the next lab: save the memory"; !strings.Contains(said, want) || !strings.Contains(said, "no space left") {
		t.Errorf("said %q, want %q", said, want)
	}
	if err := memory.Check(template.file); err != nil {
		t.Error(err)
	}
	left, err := filepath.Glob(filepath.Join(small, templatesDir, "*"))
	if err != nil || len(left) != 1 || filepath.Ext(left[0]) != ".lock" {
		t.Errorf("in the cache there is %q: %v", left, err)
	}
}

// testTemplateBroken harms the template in the cache.
func testTemplateBroken(t *testing.T, img *Image, at string) {
	f, err := os.OpenFile(filepath.Join(at, templateMemory), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err = f.ReadAt(b, 1<<20); err == nil {
		b[0]++
		_, err = f.WriteAt(b, 1<<20)
	}
	if err != nil {
		t.Fatal(err)
	}
	template, said := ensure(t, img)
	if !strings.Contains(said, memory.ErrBroken.Error()) || !strings.Contains(said, "making a template") {
		t.Errorf("said %q of a broken template", said)
	}
	template.Close() // so that the next one is loaded
}

// testClones holds what two clones of one template do not share.
func testClones(t *testing.T, img *Image, template *Template) {
	const facts = "cat /proc/sys/kernel/random/boot_id /etc/machine-id; head -c 16 /dev/urandom | base64; hostname; date +%s"
	seen := map[string]string{}
	for _, name := range []string{"one", "other"} {
		told := make(chan string, 8)
		m, err := New(Spec{
			Lab: "sl-guest-clones", Name: name, Kind: QEMU, Dir: t.TempDir(), Image: img, Accel: TCG, Template: template, Boot: BootClone,
			Tell: func(event, detail string) { told <- event + ": " + detail },
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Stop(context.Background()) })
		if err := m.Boot(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := m.Configure(t.Context()); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, err := m.Agent().Exec(t.Context(), agent.Command{Args: []string{"sh", "-c", facts}, Stdout: &out}); err != nil {
			t.Fatal(err)
		}
		lines := strings.Fields(out.String())
		if len(lines) != 5 || lines[3] != name {
			t.Fatalf("%q", lines)
		}
		for _, l := range lines[:4] {
			if seen[l] != "" {
				t.Errorf("%s and %s have %s in common", name, seen[l], l)
			}
			seen[l] = name
		}
		var clock int64
		if _, err := fmt.Sscan(lines[4], &clock); err != nil || time.Since(time.Unix(clock, 0)) > time.Minute {
			t.Errorf("its clock is at %d: %v", clock, err)
		}
		cannotWrite(t, m.PIDs()[0], template)
	}
}

// cannotWrite tries to change the template by way of a clone's descriptors, with all rights of root.
func cannotWrite(t *testing.T, pid int, template *Template) {
	t.Helper()
	want, err := template.file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, fd := range fds {
		if info, err := os.Stat(fd); err != nil || !os.SameFile(info, want) {
			continue
		}
		f, err := os.OpenFile(fd, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		tried++
		if _, err := unix.Pwrite(int(f.Fd()), []byte("x"), 0); err != unix.EPERM {
			t.Errorf("%s: %v, not EPERM", fd, err)
		}
		f.Close()
	}
	if tried == 0 {
		t.Error("the clone has no template")
	}
}

// testForeign gives a machine a template that is none: it boots, or is refused where it must be a clone.
func testForeign(t *testing.T, img *Image) {
	file, err := memory.Create("sluice-test-foreign", DefaultMemoryMiB<<20+4096)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := TemplateFrom(file, guestFlavor); err == nil {
		t.Error("what is not sealed passes for a template")
	}
	if err := memory.Seal(file); err != nil {
		t.Fatal(err)
	}
	template, err := TemplateFrom(file, guestFlavor)
	if err != nil {
		t.Fatal(err)
	}
	for _, how := range []Boot{BootAuto, BootClone} {
		var told []string
		m, err := New(Spec{
			Lab: "sl-guest-foreign", Name: string(how), Kind: QEMU, Dir: t.TempDir(), Image: img, Accel: TCG, Template: template, Boot: how,
			Tell: func(event, detail string) { told = append(told, event+": "+detail) },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Stop(context.Background())
		err = m.Boot(t.Context())
		switch {
		case how == BootClone && err == nil:
			t.Error("it must be a clone, and booted")
		case how == BootAuto && err != nil:
			t.Error(err)
		case how == BootAuto && (len(told) != 1 || !strings.HasPrefix(told[0], EventBoots+": auto was not cloned, and boots: ")):
			t.Errorf("told: %q", told)
		}
	}
}
