package memory

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/vnic/roottest"
)

const size = 3*chunk + 100

// filled is a memory with some data between zeros.
func filled(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := Create(name, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	for at, text := range map[int64]string{0: "begin", chunk + 7: "middle", size - 3: "end"} {
		if _, err := f.WriteAt([]byte(text), at); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func content(t *testing.T, f *os.File) []byte {
	t.Helper()
	b := make([]byte, size+1)
	n, err := f.ReadAt(b, 0)
	if n != size {
		t.Fatal(n, err)
	}
	return b[:n]
}

// TestSealedHoldsAgainstAll tries each way to change a sealed memory.
func TestSealedHoldsAgainstAll(t *testing.T) {
	f := filled(t, "sluice-test-sealed")
	if err := Check(f); !errors.Is(err, ErrOpen) {
		t.Error("an unsealed memory passes for a sealed one:", err)
	}
	if err := Seal(f); err != nil {
		t.Fatal(err)
	}
	if err := Check(f); err != nil {
		t.Error(err)
	}
	again, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDWR, 0) // as QEMU does
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	fd := int(again.Fd())
	_, written := unix.Pwrite(fd, []byte("x"), 0)
	_, shared := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	_, unsealed := unix.FcntlInt(again.Fd(), unix.F_ADD_SEALS, 0)
	for what, err := range map[string]error{
		"write": written, "map shared": shared, "add a seal": unsealed, "shrink": unix.Ftruncate(fd, 1), "grow": unix.Ftruncate(fd, 2*size),
		"punch a hole": unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, chunk),
	} {
		if !errors.Is(err, unix.EPERM) {
			t.Errorf("%s: %v, not EPERM", what, err)
		}
	}
	own, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(own)
	own[0] = 'X'
	if got := content(t, f); got[0] != 'b' {
		t.Error("a private page came through")
	}
}

// TestSaveAndLoad holds that what comes back is what went, and that nothing else is taken for it.
func TestSaveAndLoad(t *testing.T) {
	f, path := filled(t, "sluice-test-saved"), filepath.Join(t.TempDir(), "memory")
	sum, err := Save(f, path)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Load(path, "sluice-test-loaded", sum)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if !bytes.Equal(content(t, f), content(t, back)) {
		t.Error("something else comes back")
	}
	if err := Check(back); err != nil {
		t.Error(err)
	}
	for name, harm := range map[string]func(f *os.File) error{
		"a bit":   func(f *os.File) error { _, err := f.WriteAt([]byte{'B'}, 0); return err },
		"a zero":  func(f *os.File) error { _, err := f.WriteAt(make([]byte, 6), chunk+7); return err },
		"shorter": func(f *os.File) error { return f.Truncate(size - 1) },
		"longer":  func(f *os.File) error { return f.Truncate(size + 1) },
		"empty":   func(f *os.File) error { return f.Truncate(0) },
	} {
		harmed := filepath.Join(t.TempDir(), "memory")
		if _, err := Save(f, harmed); err != nil {
			t.Fatal(err)
		}
		file, err := os.OpenFile(harmed, os.O_RDWR, 0)
		if err == nil {
			err = harm(file)
		}
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		if _, err := Load(harmed, "sluice-test-harmed", sum); !errors.Is(err, ErrBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFind holds that only what is sealed is found.
func TestFind(t *testing.T) {
	name := fmt.Sprint("sluice-test-find-", os.Getpid())
	f := filled(t, name)
	if other := Find(name); other != nil {
		t.Error("a memory that could change was found")
	}
	if err := Seal(f); err != nil {
		t.Fatal(err)
	}
	other := Find(name)
	if other == nil {
		t.Fatal("it is not found")
	}
	defer other.Close()
	if !bytes.Equal(content(t, f), content(t, other)) {
		t.Error("another one was found")
	}
	if Find(name+"x") != nil || Find(name[:len(name)-1]) != nil {
		t.Error("a name that is not its was taken for it")
	}
}

// TestReopen holds that each has an offset of its own.
func TestReopen(t *testing.T) {
	f := filled(t, "sluice-test-reopened")
	for range 2 {
		again, err := Reopen(f, size-3)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		b := make([]byte, 8)
		if n, _ := again.Read(b); string(b[:n]) != "end" {
			t.Errorf("%q", b[:n])
		}
	}
}

// offerName is what a second process of this test is told to offer a memory as.
const offerName = "SLUICE_TEST_OFFER"

// TestMain is also the process that offers a memory, until its input ends.
func TestMain(m *testing.M) {
	name := os.Getenv(offerName)
	if name == "" {
		os.Exit(m.Run())
	}
	f, err := Create(name, size)
	if err == nil {
		err = Seal(f)
	}
	fmt.Println("offered", err)
	_, _ = io.Copy(io.Discard, os.Stdin)
	f.Close()
}

// TestRootFindOthers holds that a memory is taken from a process of ours, and from nobody else's, nor from a guest's.
func TestRootFindOthers(t *testing.T) {
	roottest.Need(t, "starts processes as another user, and in namespaces")
	for _, c := range []struct {
		who   string
		attr  syscall.SysProcAttr
		found bool
	}{
		{"ours", syscall.SysProcAttr{}, true},
		{"another user's", syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}, false},
		{"in another PID namespace", syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}, false},
	} {
		name := fmt.Sprintf("sluice-test-offer-%d-%d", os.Getpid(), len(c.who))
		cmd := exec.Command("/proc/self/exe")
		cmd.Env, cmd.SysProcAttr, cmd.Dir = []string{offerName + "=" + name}, &c.attr, "/"
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "offered <nil>\n" {
			t.Errorf("%s: %q, %v", c.who, line, err)
		}
		f := Find(name)
		if (f != nil) != c.found {
			t.Errorf("%s: found %v, want %v", c.who, f != nil, c.found)
		}
		if f != nil {
			f.Close()
		}
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}
