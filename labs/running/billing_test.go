package running_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The optional part of the billing lab is typed: a service in a guest is paid through each placement, and its account
// is the same as if there were none.

func TestRootBilling(t *testing.T) { testBilling(t, "netns") }
func TestLabBilling(t *testing.T)  { testBilling(t, "qemu") }

func testBilling(t *testing.T, kind string) {
	sideBySide(t)
	text, err := os.ReadFile("../20-billing/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, optional, _ := strings.Cut(string(text), "\n## Optional")
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	name := uniqueLab(t, "billing")
	setenv(t, "SLUICE_GUESTS", kind)
	setenv(t, "SLUICE_NAME", name)
	setenv(t, "SLUICE_LAB", name)
	setenv(t, "PATH", filepath.Dir(path)+":"+os.Getenv("PATH"))

	placements, paid := []string{"slow"}, 0
	for _, line := range commandsOf(optional) {
		line, _, _ = strings.Cut(line, "  #")
		line = strings.Replace(strings.TrimSpace(line), "destroy billing", "destroy "+name, 1)
		if service, background := strings.CutSuffix(line, "&"); background {
			startShell(t, service)
			continue
		}
		if to, places := strings.CutPrefix(line, "sluice place "); places {
			placements = append(placements, to)
			if kind == "netns" && to == "tunnel" {
				mayBeRefused(t, line)
				continue
			}
		}
		out := shell(t, line)
		if !strings.Contains(line, "/payments") {
			continue
		}
		again := paid == len(placements) // the second one in a placement was told before
		if !again {
			paid++
		}
		owed := fmt.Sprintf(`"owed_cents": %d`, 4700-300*paid)
		if known := fmt.Sprintf(`"known": %v`, again); !strings.Contains(out, known) || !strings.Contains(out, owed) {
			t.Errorf("%s: want %s, %s in\n%s", line, known, owed, out)
		}
		if st := shell(t, "sluice exec client -- wget -qO- http://10.10.2.10:8080/statement"); !strings.Contains(st, owed) {
			t.Errorf("payment %d, in %s: want %s in the statement\n%s", paid, placements[len(placements)-1], owed, st)
		}
	}
	if got, want := strings.Join(placements, " "), "slow fast push inspect tunnel off"; got != want || paid != 6 {
		t.Errorf("%d payments in %s, want one in each of %s", paid, got, want)
	}
}

// mayBeRefused chooses a placement for which this machine's kernel may lack a part.
func mayBeRefused(t *testing.T, line string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", line)
	cmd.Env = environ(t)
	out, err := cmd.CombinedOutput()
	if err != nil && !strings.Contains(string(out), "kernel") {
		t.Errorf("%s: %v: %s", line, err, out)
	}
}

// shell runs a line in the lab's folder.
func shell(t *testing.T, line string) string {
	t.Helper()
	cmd := exec.Command("timeout", "60", "sh", "-c", line)
	cmd.Dir, cmd.Env = "../20-billing", environ(t)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", line, err, out, errs.String())
	}
	return string(out)
}

// startShell starts the service, which goes on until the test ends, and returns once it listens.
func startShell(t *testing.T, line string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "exec "+line)
	cmd.Dir, cmd.Env = "../20-billing", environ(t)
	says, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has ended with the lab, if all went well
		_ = cmd.Wait()
	})
	waitFor(t, says, "listening")
}
