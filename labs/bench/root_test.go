package bench

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/vnic/roottest"
)

// TestRootMeasures measures every subject that is installed, very briefly, and looks only at whether frames arrived,
// once and whole.
func TestRootMeasures(t *testing.T) {
	roottest.Need(t, "makes TAPs and namespaces")
	for _, s := range subjects() {
		if lacks := s.missing(); lacks != "" {
			t.Logf("without %s: %s is not installed, and a peer is no part of Sluice", s.name, lacks)
			continue
		}
		for _, w := range []Wiring{TAP, Veth} {
			t.Run(s.name+" on "+string(w), func(t *testing.T) {
				p := Plan{Rounds: 1, Sizes: []int{64}, TrialTime: 20 * time.Millisecond,
					SteadyTime: 300 * time.Millisecond, // /proc/stat counts in ticks of 10 ms: a shorter time may see none
					TCPSeconds: 1, Trials: io.Discard}
				got, unsound, err := p.measure(t.Context(), s, w)
				if err != nil {
					t.Fatal(err)
				}
				if unsound != nil && s.name != "ovs-tso" { // OVS 3.1 works gso_size out of the MTU anew
					t.Error(unsound)
				}
				want := []Metric{Peak, P50, P99, FrameAll}
				if w == Veth {
					want = append(want, TCPGbit)
				} else if s.gso {
					want = append(want, GSOGbit)
				}
				for _, m := range want {
					if got[m] <= 0 {
						t.Errorf("%s is %v", m, got[m])
					}
				}
			})
		}
	}
}

// TestRootLeavesNothing ends a measurement in the middle, and looks for what it leaves.
func TestRootLeavesNothing(t *testing.T) {
	roottest.Need(t, "makes TAPs and namespaces")
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan struct{})
	p := Plan{Rounds: 1, Sizes: []int{64}, TrialTime: time.Minute, Wirings: []Wiring{TAP}, Trials: io.Discard}
	for _, s := range subjects() {
		if s.name == engine {
			start := s.start
			s.start = func(ctx context.Context, b *bed) error {
				defer close(started)
				return start(ctx, b)
			}
			p.Subjects = append(p.Subjects, s)
		}
	}
	go func() {
		<-started
		cancel()
	}()
	if _, err := p.run(ctx, io.Discard); err == nil {
		t.Error("a cancelled run says it succeeded")
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "sl-bench-*")); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
	if kids := children(t); len(kids) > 0 {
		t.Errorf("processes are left: %v", kids)
	}
}

// children are the command lines of this process's children.
func children(t *testing.T) (lines []string) {
	files, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		for _, pid := range strings.Fields(string(text)) {
			cmdline, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			lines = append(lines, pid+" "+strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	return lines
}
