package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mount is one line of what a guest has mounted.
type mount struct {
	kind, at string
	flags    uintptr
	data     string
}

const plain = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

func mountAll(root string, mounts []mount) error {
	for _, m := range mounts {
		at := filepath.Join(root, m.at)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, at, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.kind, m.at, err)
		}
	}
	return nil
}

// mountMachine mounts what a QEMU guest needs; its root is the initramfs.
func mountMachine() error {
	return mountAll("/", []mount{
		{"proc", "/proc", plain, ""},
		{"sysfs", "/sys", plain, ""},
		{"devtmpfs", "/dev", unix.MS_NOSUID, ""},
		{"devpts", "/dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "gid=5,mode=620,ptmxmode=666"},
		{"tmpfs", "/dev/shm", unix.MS_NOSUID | unix.MS_NODEV, ""},
	})
}

// devices are those of a namespace guest: none of them reaches hardware.
var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

// guestRoot is where a namespace guest's tree is put together. Every machine has the folder, nothing in it is needed
// meanwhile, and the mount that hides it is the guest's own.
const guestRoot = "/run"

// mountNamespace makes a namespace guest's tree at root: the image, read-only, with folders of its own to write to.
func mountNamespace(root string, image int) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to ourselves: %w", err)
	}
	if err := unix.MoveMount(image, "", unix.AT_FDCWD, root, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount the image: %w", err)
	}
	unix.Close(image)
	settings, err := os.OpenRoot(filepath.Join(root, "etc")) // before its copy comes to lie on it
	if err != nil {
		return fmt.Errorf("read the image: %w", err)
	}
	defer settings.Close()
	const readOnly = unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV
	if err := unix.Mount("", root, "", readOnly, ""); err != nil {
		return fmt.Errorf("mount the image read-only: %w", err)
	}
	const own = unix.MS_NOSUID | unix.MS_NODEV
	if err := mountAll(root, []mount{
		{"proc", "/proc", plain, ""},
		{"sysfs", "/sys", plain | unix.MS_RDONLY, ""},
		{"tmpfs", "/dev", unix.MS_NOSUID, "mode=755,size=64k"},
		{"devpts", "/dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,gid=5,mode=620,ptmxmode=666"},
		{"tmpfs", "/dev/shm", own, "size=64m"},
		{"tmpfs", "/tmp", own, "size=256m"},
		{"tmpfs", "/run", own, "mode=755,size=16m"},
		{"tmpfs", "/root", own, "mode=700,size=256m"},
		{"tmpfs", "/var", own, "mode=755,size=64m"},
		{"tmpfs", "/etc", own, "mode=755,size=16m"},
	}); err != nil {
		return err
	}
	return errors.Join(
		boundProcesses(filepath.Join(root, "proc")),
		protectProc(filepath.Join(root, "proc")),
		lendDevices(filepath.Join(root, "dev")),
		os.CopyFS(filepath.Join(root, "etc"), settings.FS()))
}

// What of /proc is the whole kernel's: root may write there by its number alone, without any capability. Of the sysctls
// only the network's are the guest's own.
var (
	kernelsOwn = []string{"sys", "sysrq-trigger", "irq", "bus", "fs", "acpi"}
	guestsOwn  = "sys/net"
)

func protectProc(proc string) error {
	for _, name := range kernelsOwn {
		at := filepath.Join(proc, name)
		if _, err := os.Lstat(at); errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := unix.Mount(at, at, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("protect /proc/%s: %w", name, err)
		}
	}
	own := filepath.Join(proc, guestsOwn) // a mount of its own on the one that becomes read-only
	if err := unix.Mount(own, own, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("keep /proc/%s: %w", guestsOwn, err)
	}
	for _, name := range kernelsOwn {
		err := unix.Mount("", filepath.Join(proc, name), "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|plain, "")
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("protect /proc/%s: %w", name, err)
		}
	}
	return nil
}

// lendDevices gives a guest the host's devices, by mounts that are read-only: devices can be written to there, but
// nobody can change their owner or mode, which are the host's. A guest makes no devices: in a user namespace it could
// not.
func lendDevices(dev string) error {
	for _, name := range devices {
		if err := lendDevice(filepath.Join("/dev", name), filepath.Join(dev, name)); err != nil {
			return fmt.Errorf("lend /dev/%s: %w", name, err)
		}
	}
	return os.Symlink("pts/ptmx", filepath.Join(dev, "ptmx"))
}

func lendDevice(host, path string) error {
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		return err
	}
	if err := unix.Mount(host, path, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	// Only the one attribute: what else the host's mount has, a user namespace may not take away.
	return unix.MountSetattr(unix.AT_FDCWD, path, 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}
