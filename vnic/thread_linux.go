package vnic

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// OnOwnThread calls f on a thread that ends with it, so that whatever namespace f enters, no other goroutine gets
// there. It is never the process's first thread: that one cannot end, and what others see of the process in /proc is
// where that one is.
func OnOwnThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if unix.Gettid() != unix.Getpid() {
			done <- f()
			return
		}
		done <- OnOwnThread(f) // as long as this thread waits here, nobody else can have it
		runtime.UnlockOSThread()
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
