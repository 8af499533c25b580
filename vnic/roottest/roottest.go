// Package roottest is for tests that need root: it leaves them out for an ordinary user, and gives them a network
// namespace. It makes nothing in that namespace, and is part of no program.
package roottest

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Need leaves a test out that an ordinary user runs. Where nothing may be left out (SLUICE_TEST_NO_SKIP, which
// scripts/test sets), the test fails. why is what it needs root for.
func Need(t testing.TB, why string) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("SLUICE_TEST_NO_SKIP") != "" {
		t.Fatal("needs root: " + why)
	}
	t.Skip("needs root: " + why)
}

// Namespace puts the test's goroutine into a network namespace of its own. Its thread is never unlocked: it ends with
// the test, and the namespace with whatever else is in it.
func Namespace(t testing.TB) {
	t.Helper()
	Need(t, "makes namespaces and devices")
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}
