package course

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// writeScript puts a script where runScript looks for it.
func writeScript(t *testing.T, text string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "script"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestScriptCleansUp: a script that is out of time leaves things as they were, also where it waits for a child or has
// one in the background; nothing of it goes on running.
func TestScriptCleansUp(t *testing.T) {
	for name, wait := range map[string]string{"in a child": `sh -c "echo up >up; sleep 1000; :"`, "in a loop": "echo up >up; while :; do sleep 0.01; done",
		"with one left behind": `sleep 1000 & sh -c "echo up >up; sleep 1000; :"`} {
		t.Run(name, func(t *testing.T) {
			dir := writeScript(t, "# the first line\nmkfifo up\ntrap 'echo undone >mark' EXIT\n"+wait+"\necho not reached\n")
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				for {
					if _, err := os.ReadFile(filepath.Join(dir, "up")); err == nil { // the pipe: it waits for the script
						break
					}
					time.Sleep(time.Millisecond) // a poll
				}
				cancel()
			}()
			out, err := runScript(ctx, dir, "SLUICE_LAB=x")
			if err != nil && !strings.Contains(err.Error(), "context canceled") || strings.Contains(out.Stdout, "not reached") {
				t.Errorf("%+v, %v", out, err)
			}
			if b, err := os.ReadFile(filepath.Join(dir, "mark")); string(b) != "undone\n" {
				t.Errorf("it did not clean up: %q, %v", b, err)
			}
		})
	}
}

// TestScriptMayEnd: a script that runs out of time while it cleans up does so to its end. That a subshell has cleaned
// up says nothing of the script.
func TestScriptMayEnd(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		undone bool
	}{
		"cleans up":     {"trap 'echo up >up; sleep 0.2; echo undone >mark' EXIT\necho answer\n", true},
		"all of it":     {"trap -- 'echo up >up; sh -c \"sleep 0.2\"; echo undone >mark' EXIT INT\necho answer\n", true},
		"thinks better": {"trap 'echo undone >mark' EXIT\ntrap - EXIT\necho answer\necho up >up\nsleep 1000\n", false},
		"in a subshell": {"(trap 'echo undone >mark' EXIT)\necho answer\necho up >up\nsleep 1000\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := writeScript(t, "mkfifo up\n"+c.script)
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				for {
					if _, err := os.ReadFile(filepath.Join(dir, "up")); err == nil {
						break
					}
					time.Sleep(time.Millisecond) // a poll
				}
				cancel()
			}()
			out, err := runScript(ctx, dir, "SLUICE_LAB=x")
			if err != nil && !strings.Contains(err.Error(), "context canceled") || out.Stdout != "answer\n" {
				t.Errorf("%+v, %v", out, err)
			}
			if b, _ := os.ReadFile(filepath.Join(dir, "mark")); (string(b) == "undone\n") != c.undone {
				t.Errorf("cleaned up: %q", b)
			}
		})
	}
}

// TestScriptLeavesNothing: what a script has started and left behind does not outlive it.
func TestScriptLeavesNothing(t *testing.T) {
	dir := writeScript(t, "(trap '' TERM; exec >/dev/null 2>&1; echo $$ >pid; exec sleep 1000) &\nuntil [ -s pid ]; do sleep 0.01; done\necho $! >left\n")
	out, err := runScript(t.Context(), dir, "SLUICE_LAB=x")
	if err != nil || out.Code != 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "left"))
	if err != nil {
		t.Fatal(err)
	}
	pid := number(t, strings.TrimSpace(string(b)))
	for range 1000 {
		stat, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(b)), "stat"))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(5 * time.Millisecond) // a poll: it dies at once, but not within the call
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	t.Errorf("process %d lives on", pid)
}
