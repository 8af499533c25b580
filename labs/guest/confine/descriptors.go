// Package confine is what a process of a lab starts with, and what it may do: which descriptors, signals, limits and
// variables it takes from whoever started it, which capabilities it keeps, and which system calls the kernel refuses
// it. It knows no lab and no guest: who keeps what is said where the process is started, and in docs/security.md.
package confine

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// firstOther is the first descriptor beyond standard input, output and error.
const firstOther = 3

// Descriptors marks every descriptor above 2 close-on-exec. What the shell had open when it started this program ends
// with this program, and reaches no process that it starts. It comes first in main, before anything is started.
func Descriptors() error {
	err := unix.CloseRange(firstOther, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	return markOneByOne() // Linux before 5.11
}

// markOneByOne is Descriptors by the list that the kernel has of this process.
func markOneByOne() error {
	open, err := openDescriptors()
	if err != nil {
		return fmt.Errorf("keep what is open from the programs that are started: %w", err)
	}
	for _, fd := range open {
		if fd >= firstOther {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// openDescriptors are the descriptors of this process. One that has been closed since is no harm.
func openDescriptors() ([]int, error) {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var fds []int
	for _, name := range names {
		if fd, err := strconv.Atoi(name); err == nil {
			fds = append(fds, fd)
		}
	}
	return fds, nil
}

// Pass lets descriptors through the next exec of this very process. It undoes Descriptors for these.
func Pass(fds ...int) error {
	var failed error
	for _, fd := range fds {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			failed = errors.Join(failed, fmt.Errorf("pass descriptor %d: %w", fd, err))
		}
	}
	return failed
}
