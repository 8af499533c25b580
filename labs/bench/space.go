package bench

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// space is a network namespace without a name. It lives as long as this process, or one in it, does: however a run
// ends, the kernel takes the namespace back with every TAP and veth in it, and there is nothing to sweep up.
type space struct {
	ns netns.NsHandle
	*netlink.Handle
}

// newSpace makes a namespace with loopback down, IPv6 off (no neighbour discovery among the counted frames) and no
// addresses.
func newSpace() (*space, error) {
	var s space
	err := onThread(func() (err error) {
		if s.ns, err = netns.New(); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		for _, which := range []string{"all", "default"} {
			path := "/proc/sys/net/ipv6/conf/" + which + "/disable_ipv6"
			if err := os.WriteFile(path, []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		s.Handle, err = netlink.NewHandle()
		return err
	})
	if err != nil {
		s.close()
		return nil, err
	}
	return &s, nil
}

// do runs fn on a thread that is in the namespace.
func (s *space) do(fn func() error) error {
	return onThread(func() error {
		if err := netns.Set(s.ns); err != nil {
			return fmt.Errorf("enter the namespace: %w", err)
		}
		return fn()
	})
}

func (s *space) close() {
	if s.Handle != nil {
		s.Handle.Close()
	}
	if s.ns.IsOpen() {
		s.ns.Close()
	}
}

// onThread runs fn on a thread of its own and brings the thread back to the namespace it came from. A thread that
// cannot come back stays locked, so that Go ends it with the goroutine.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			done <- fmt.Errorf("find the own namespace: %w", err)
			return
		}
		defer home.Close()
		err = fn()
		if back := netns.Set(home); back != nil {
			done <- errors.Join(err, fmt.Errorf("leave the namespace: %w", back))
			return
		}
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}
