package guest

import "runtime"

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
