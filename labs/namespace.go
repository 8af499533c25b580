package labs

import (
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netns"
)

// namespaces is where named network namespaces are, by the habit of ip-netns(8).
const namespaces = "/run/netns"

// inNewNamespace makes a named network namespace and calls f on a thread that is in it. The namespace has no addresses,
// its loopback stays down, and devices that are made in it have no IPv6: nothing that a guest sends can meet a stack.
func inNewNamespace(name string, f func() error) error {
	return onOwnThread(func() error {
		ns, err := netns.NewNamed(name)
		if err != nil {
			return fmt.Errorf("make namespace %s: %w", name, err)
		}
		defer ns.Close()
		for _, scope := range []string{"all", "default"} {
			off := "/proc/sys/net/ipv6/conf/" + scope + "/disable_ipv6"
			if err := os.WriteFile(off, []byte("1"), 0); err != nil && !os.IsNotExist(err) {
				return fmt.Errorf("turn IPv6 off in namespace %s: %w", name, err)
			}
		}
		return f()
	})
}

// onOwnThread calls f on a thread that ends with it, so that whatever namespace f enters, no other goroutine gets there.
func onOwnThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		done <- f()
	}()
	return <-done
}
