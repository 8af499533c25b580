package vnic

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// OnOwnThread calls f on a thread that ends with it, so that whatever namespace f enters, no other goroutine gets
// there.
func OnOwnThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		done <- f()
	}()
	return <-done
}

// inNamespace calls f on a thread in a network namespace.
func inNamespace(ns int, f func() error) error {
	return OnOwnThread(func() error {
		if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter a namespace: %w", err)
		}
		return f()
	})
}

// inNamespaceOf calls f on a thread in the network namespace of a socket.
func inNamespaceOf(fd int, f func() error) error {
	const siocgskns = 0x894c // SIOCGSKNS (include/uapi/linux/sockios.h)
	ns, err := unix.IoctlRetInt(fd, siocgskns)
	if err != nil {
		return fmt.Errorf("find the namespace of a socket: %w", err)
	}
	defer unix.Close(ns)
	return inNamespace(ns, f)
}
