// Package memory keeps what a guest's memory is cloned from: a file in memory that is sealed, so that whoever maps it
// gets pages of his own and nobody changes another's. It makes, seals, saves and loads such files, and finds one that
// another process of ours holds. What is in them, and what boots from them, is the business of package guest.
package memory

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// seals are of memfd_create(2) and fcntl(2): the content, the size and the seals themselves stay as they are.
const seals = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL

// ErrOpen says that a file is not sealed, or not as wholly as it must be.
var ErrOpen = errors.New("the memory is not sealed")

// Create makes an empty file in memory; size is in bytes. The name, of at most 240 bytes, is what Find looks for.
func Create(name string, size int64) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("make memory %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := f.Truncate(size); err != nil {
		f.Close()
		return nil, fmt.Errorf("make memory %s: %w", name, err)
	}
	return f, nil
}

// Seal ends all writing to a memory, by whomever. It fails while somebody has it mapped to write.
func Seal(f *os.File) error {
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("seal the memory: %w", err)
	}
	return nil
}

// Check is an error for a memory that somebody could still change.
func Check(f *os.File) error {
	have, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrOpen, err)
	}
	if have&seals != seals {
		return fmt.Errorf("%w: its seals are %#x", ErrOpen, have)
	}
	return nil
}

// Reopen opens a memory once more, to read from an offset of its own.
func Reopen(f *os.File, offset int64) (*os.File, error) {
	again, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("open the memory again: %w", err)
	}
	if _, err := again.Seek(offset, 0); err != nil {
		again.Close()
		return nil, fmt.Errorf("open the memory again: %w", err)
	}
	return again, nil
}

// Find is a sealed memory of that name that a process of ours holds; nil if none does. It needs no list of who holds
// what, which could be wrong: the kernel has one.
func Find(name string) *os.File {
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	for _, process := range all {
		if !ours(process) {
			continue
		}
		if f := heldBy(process, name); f != nil {
			return f
		}
	}
	return nil
}

// ours says whether a process is one of this user, outside of every guest: who has broken out of a guest must not be
// able to offer a memory for others to boot from. A guest's QEMU has a user of its own, a namespace guest namespaces.
func ours(process string) bool {
	status, err := os.ReadFile(filepath.Join(process, "status"))
	uid := strconv.Itoa(os.Geteuid())
	if err != nil || !strings.Contains(string(status), "\nUid:\t"+strings.Join([]string{uid, uid, uid, uid}, "\t")+"\n") {
		return false
	}
	for _, space := range []string{"ns/pid", "ns/user"} {
		mine, err := os.Readlink(filepath.Join("/proc/self", space))
		its, otherErr := os.Readlink(filepath.Join(process, space))
		if err != nil || otherErr != nil || mine != its {
			return false
		}
	}
	return true
}

// heldBy is the memory of that name that a process holds; nil if it holds none, or an unsealed one.
func heldBy(process, name string) *os.File {
	open, err := os.ReadDir(filepath.Join(process, "fd"))
	if err != nil {
		return nil // it has ended, or is none of ours
	}
	for _, fd := range open {
		path := filepath.Join(process, "fd", fd.Name())
		link, err := os.Readlink(path)
		if err != nil || strings.TrimSuffix(link, " (deleted)") != "/memfd:"+name {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		if Check(f) == nil {
			return f
		}
		f.Close()
	}
	return nil
}
