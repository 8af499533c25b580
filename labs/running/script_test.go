package running_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"sluice/labs/commands"
	"sluice/labs/course"
	"sluice/labs/labfile"
	"sluice/vswitch/cli"
)

// runSluice is the command as the scripts call it.
func runSluice() {
	root := cli.Root(slices.Concat(commands.Commands(course.Commands(nil)...), cli.Commands(labfile.InventoryOf, commands.CompleteLabFlag))...)
	os.Exit(cli.Run(context.Background(), root, os.Args[1:]))
}

// TestScripts plays sessions at the command line that need no running lab.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("SLUICE_STATE_DIR", filepath.Join(e.WorkDir, "state"))
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond != "root" {
				return false, fmt.Errorf("no condition %q", cond)
			}
			return os.Geteuid() == 0, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
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
