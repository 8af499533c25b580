package guest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestHad: what a thread waits for a processor does not count, and that of the one that waits longest.
func TestHad(t *testing.T) {
	type waits = map[int]time.Duration
	for _, c := range []struct {
		what          string
		before, after waits
		want          time.Duration
	}{
		{"idle", waits{1: 5}, waits{1: 5}, 100},
		{"one waits", waits{1: 5, 2: 7}, waits{1: 65, 2: 17}, 40},
		{"one is new", waits{1: 5}, waits{1: 5, 2: 90}, 100},
		{"one ended", waits{1: 5, 2: 7}, waits{1: 15}, 90},
		{"more than passed", waits{1: 0}, waits{1: 130}, 0},
		{"the kernel does not count", nil, nil, 100},
	} {
		if got := had(100, c.before, c.after); got != c.want {
			t.Errorf("%s: %v counts, want %v", c.what, got, c.want)
		}
	}
}

// TestPatience: it ends for a process that does not answer though it has the processor, and says so.
func TestPatience(t *testing.T) {
	if len(queued(nil)) == 0 {
		t.Error("this kernel tells of no thread how long it waits")
	}
	ctx, cancel := patience(context.Background(), patienceTick, func() []int { return []int{os.Getppid()} })
	defer cancel()
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "had the processor") {
		t.Error(err)
	}
	if at, ok := ctx.Deadline(); !ok || time.Until(at) > patienceLimit*patienceTick {
		t.Errorf("no bound: %v", at)
	}
}

// TestTurns: no more than so many boot at once; one that ends lets the next in, also one that dies.
func TestTurns(t *testing.T) {
	dir := t.TempDir()
	var held []*os.File
	for range 2 {
		f, err := waitForTurn(context.Background(), dir, 2)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, f)
	}
	done, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := waitForTurn(done, dir, 2); !errors.Is(err, context.Canceled) {
		t.Fatalf("a third one: %v", err)
	}
	dies := exec.Command("sleep", "1000") // holds a turn, alone
	dies.ExtraFiles = held[:1]
	if err := dies.Start(); err != nil {
		t.Fatal(err)
	}
	held[0].Close()
	if _, err := waitForTurn(done, dir, 2); err == nil {
		t.Fatal("its turn is free while it lives")
	}
	if err := dies.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = dies.Wait() // it was killed
	f, err := waitForTurn(context.Background(), dir, 2)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	held[1].Close()
}
