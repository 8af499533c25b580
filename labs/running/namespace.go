package running

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/vishvananda/netns"

	"sluice/labs/guest"
	"sluice/vnic"
	"sluice/vswitch/control"
)

// namespaces is where named network namespaces are.
const namespaces = guest.NamesDir

// onMachine names the lab of a state folder for what all state roots share: namespaces, devices, users. It is the lab's
// name, but under another root than the usual one with that root's mark. So labs of equal names under two roots are two
// labs, and no command that works under one takes the other's for dead.
func onMachine(dir string) string { return filepath.Base(dir) + rootMark(filepath.Dir(dir)) }

// rootMark begins with what no lab's name has, so that no lab is taken for another root's.
func rootMark(root string) string {
	if root = RealPath(root); root == RealPath(control.UsualRoot) {
		return ""
	}
	return fmt.Sprintf("_%08x", crc32.ChecksumIEEE([]byte(root)))
}

// RealPath is one name for all names of a path, also of one that is not there yet.
func RealPath(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if parent := filepath.Dir(path); parent != path {
		return filepath.Join(RealPath(parent), filepath.Base(path))
	}
	return path
}

// inNewNamespace makes a named network namespace and calls f on a thread that is in it. The namespace has no addresses,
// its loopback stays down, and devices that are made in it have no IPv6: nothing that a guest sends can meet a stack.
func inNewNamespace(name string, f func() error) error {
	if err := guest.ShareNames(); err != nil {
		return err
	}
	return vnic.OnOwnThread(func() error {
		ns, err := netns.NewNamed(name)
		if err != nil {
			return fmt.Errorf("make namespace %s: %w", name, err)
		}
		defer ns.Close()
		if err := noIPv6(); err != nil {
			return fmt.Errorf("namespace %s: %w", name, err)
		}
		return f()
	})
}

// noIPv6 turns IPv6 off for all devices of the thread's namespace, those that come included.
func noIPv6() error {
	for _, scope := range []string{"all", "default"} {
		off := "/proc/sys/net/ipv6/conf/" + scope + "/disable_ipv6"
		if err := os.WriteFile(off, []byte("1"), 0); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("turn IPv6 off: %w", err)
		}
	}
	return nil
}
