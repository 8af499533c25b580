package vnic

import (
	"errors"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOnOwnThread asks often for a thread of its own, and is never given the process's first one.
func TestOnOwnThread(t *testing.T) {
	first := errors.New("the process's first thread")
	var askers sync.WaitGroup
	for range 8 {
		askers.Go(func() {
			for range 500 {
				err := OnOwnThread(func() error {
					if unix.Gettid() == unix.Getpid() {
						return first
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	askers.Wait()
}
