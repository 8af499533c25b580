package appliance

import (
	"os/exec"
	"testing"
)

// TestKilled tells the end that the kernel gives where memory is short from all others.
func TestKilled(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]bool{"kill -KILL $$": true, "kill -TERM $$": false, "exit 137": false, "exit 0": false} {
		if got := killed(exec.Command("sh", "-c", script).Run()); got != want {
			t.Errorf("%s: %v", script, got)
		}
	}
}
