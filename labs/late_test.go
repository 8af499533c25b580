package labs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// aLab stands in for `sluice`: a server whose speed test serves one client at a time, and is still busy with a flood
// that the student began. The student's ends when LEFT calls are used up. While a flood runs, a page is late.
const aLab = `#!/bin/sh
left=$(cat left); [ "$left" -gt 0 ] && echo $((left - 1)) >left
case "$*" in
place) echo "slow (epoch 1)" ;;
*iperf3*)
	[ "$left" -gt 0 ] && exit 1
	case "$*" in *"-t 60"*) touch own; exec sleep 60 ;; esac ;;
*"appliance status"*) [ -e own ] && echo backlogged; [ "$left" -gt 0 ] && echo backlogged; true ;;
*wget*) { [ "$left" -gt 0 ] || [ -e own ]; } && sleep 1; true ;;
esac
`

// TestLateCountsItsOwnFlood: whose page is late is told of the script's own flood. One that the student began by hand,
// as the text says, and that ends while the script looks, is waited for.
func TestLateCountsItsOwnFlood(t *testing.T) {
	script, err := os.ReadFile("11-when-it-breaks/late.sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"late.sh": string(script), "sluice": aLab, "left": "9\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	run := exec.CommandContext(t.Context(), "sh", "late.sh")
	run.Dir, run.Env = dir, append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	if out, err := run.Output(); err != nil || strings.TrimSpace(string(out)) != "server, printer" {
		t.Errorf("it says %q, %v", out, err)
	}
}
