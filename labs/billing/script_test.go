package billing_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"sluice/labs/billing"
	"sluice/vswitch/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sluice": func() {
		root := cli.Root(billing.Command(cli.Print, cli.BadInput))
		os.Exit(cli.Run(context.Background(), root, os.Args[1:]))
	}})
}

const lab = "../20-billing"

// TestScripts plays sessions at the command line, in a copy of the lab's folder.
func TestScripts(t *testing.T) { run(t, testscript.Params{Dir: "testdata/script"}) }

// TestReadme types every command of the lab's text that needs no guest, in order. (Those that do: labs,
// TestRootBilling.)
func TestReadme(t *testing.T) {
	text, err := os.ReadFile(lab + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, _, found := strings.Cut(string(text), "\n## Optional")
	if !found {
		t.Fatal("no optional part")
	}
	var script strings.Builder
	typed := 0
	for line := range strings.Lines(before) {
		line = strings.TrimSpace(line)
		switch {
		case line == "sluice billing check .": // nothing is answered yet
			fmt.Fprintf(&script, "exits 1 %s\nstdout FAIL\n", line)
		case strings.HasPrefix(line, "sluice billing "), strings.HasPrefix(line, "cp "):
			fmt.Fprintf(&script, "exec %s\n", line)
		default:
			continue
		}
		typed++
	}
	if typed < 12 {
		t.Errorf("only %d commands found", typed)
	}
	file := filepath.Join(t.TempDir(), "readme.txtar")
	if err := os.WriteFile(file, []byte(script.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, testscript.Params{Files: []string{file}})
}

func run(t *testing.T, p testscript.Params) {
	p.RequireExplicitExec = true
	p.Setup = func(e *testscript.Env) error { return os.CopyFS(e.WorkDir, os.DirFS(lab)) }
	p.Cmds = map[string]func(*testscript.TestScript, bool, []string){"exits": exits}
	testscript.Run(t, p)
}

// exits CODE PROGRAM ARGS... runs a program and expects an exit code. Its output can be looked at as that of exec.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := err.(*exec.ExitError); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d\n%s", got, want, ts.ReadFile("stderr"))
	}
}
