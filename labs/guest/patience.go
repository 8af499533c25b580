package guest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What bounds a boot, and an appliance's answer, follows the load of the machine. A machine's patience counts only the
// time in which it, and this process, had the processor or did not ask for it: what they wait in the kernel's queue for
// a processor is no fault of theirs. And no more QEMU guests boot at once, of all labs together, than the machine has
// processors for.

const (
	patienceTick  = 250 * time.Millisecond
	patienceLimit = 15 // times the patience: whatever the load, somebody waits for an answer
)

// Patience is patience with a machine. context.Cause of what it gives says that a deadline has passed.
func Patience(ctx context.Context, m Machine, most time.Duration) (context.Context, context.CancelFunc) {
	return patience(ctx, most, m.PIDs)
}

// patience is a context that ends when a time has been counted for the processes that pids names, or when a multiple of
// it has passed all the same.
func patience(ctx context.Context, most time.Duration, pids func() []int) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithTimeout(ctx, patienceLimit*most)
	ctx, end := context.WithCancelCause(ctx)
	go func() {
		tick := time.NewTicker(patienceTick)
		defer tick.Stop()
		var counted time.Duration
		last, before := time.Now(), queued(pids())
		for counted < most {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			now, after := time.Now(), queued(pids())
			counted += had(now.Sub(last), before, after)
			last, before = now, after
		}
		end(fmt.Errorf("it had the processor for %v: %w", most, context.DeadlineExceeded))
	}()
	return ctx, func() { end(nil); stop() }
}

// had is how much of a time counts: all of it but what the thread waited for a processor that waited longest.
func had(passed time.Duration, before, after map[int]time.Duration) time.Duration {
	var waited time.Duration
	for thread, now := range after {
		if then, known := before[thread]; known {
			waited = max(waited, now-then)
		}
	}
	return max(0, passed-waited)
}

// queued is how long each thread of some processes, and of this one, has waited for a processor so far: the second
// number of schedstat (sched-stats of the kernel's documentation). Where the kernel does not count that, all time
// counts.
func queued(pids []int) map[int]time.Duration {
	out := map[int]time.Duration{}
	for _, pid := range append(pids, os.Getpid()) {
		stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)) // it fails for bad patterns only
		for _, path := range stats {
			text, err := os.ReadFile(path)
			fields := strings.Fields(string(text))
			if err != nil || len(fields) < 2 {
				continue // the thread has ended
			}
			thread, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if wait, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
				out[thread] = time.Duration(wait)
			}
		}
	}
	return out
}

// turnsDir has a file for each QEMU guest that may boot at once. Who boots has one locked, and the kernel gives it back
// if he dies.
const turnsDir = "/run/sluice-boots"

// turns is how many may boot at once: on more, those that are waited for would be slowed down by others.
func turns() int { return runtime.NumCPU() }

// waitForTurn returns when a guest may boot, and the file to close when it has.
func waitForTurn(ctx context.Context, dir string, most int) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, noSpace(err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		for i := range most {
			f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(i)), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
			if err != nil {
				return nil, noSpace(err)
			}
			if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
				return f, nil
			}
			f.Close()
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait until fewer guests boot: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}
