package labs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRootBilling types the optional part of the billing lab on namespace guests: a service in a guest is paid through
// each placement, and its statement is the same in all of them.
func TestRootBilling(t *testing.T) {
	needRoot(t)
	text, err := os.ReadFile("20-billing/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, optional, _ := strings.Cut(string(text), "\n## Optional")
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	name := uniqueLab(t, "billing")
	t.Setenv("SLUICE_GUESTS", "netns")
	t.Setenv("SLUICE_NAME", name)
	t.Setenv("SLUICE_LAB", name)
	t.Setenv("PATH", filepath.Dir(path)+":"+os.Getenv("PATH"))

	var paid []string       // what the payments were answered
	var statements []string // once in each placement
	typed := 0
	for line := range strings.Lines(optional) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "sluice ") {
			continue
		}
		typed++
		line = strings.Replace(line, "destroy billing", "destroy "+name, 1)
		if service, background := strings.CutSuffix(line, "&"); background {
			startShell(t, service)
			continue
		}
		out := shell(t, line)
		if strings.Contains(line, "/payments") {
			paid = append(paid, out)
		}
		if len(paid) > 0 && !strings.Contains(line, " destroy ") {
			statements = append(statements, shell(t, "sluice exec client -- wget -qO- http://10.10.2.10:8080/statement"))
		}
	}
	if typed < 9 || len(paid) != 2 {
		t.Fatalf("%d commands found, %d payments", typed, len(paid))
	}
	if !strings.Contains(paid[0], `"known": false`) || !strings.Contains(paid[1], `"known": true`) {
		t.Errorf("payments: %s", paid)
	}
	for _, s := range statements {
		if s != statements[0] || !strings.Contains(s, `"owed_cents": 2900`) {
			t.Errorf("a statement differs, or does not owe 47.00 less 18.00:\n%s\nthe first was:\n%s", s, statements[0])
		}
	}
}

// shell runs a line in the lab's folder.
func shell(t *testing.T, line string) string {
	t.Helper()
	cmd := exec.Command("timeout", "60", "sh", "-c", line)
	cmd.Dir = "20-billing"
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
	cmd.Dir = "20-billing"
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
