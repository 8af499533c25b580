package main

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sluice/vswitch/cli"
)

// leaves are the paths of all commands that users see and that do something.
func leaves(c *cobra.Command) (paths [][]string) {
	for _, sub := range c.Commands() {
		switch {
		case !sub.IsAvailableCommand():
		case sub.HasAvailableSubCommands():
			paths = append(paths, leaves(sub)...)
		default:
			paths = append(paths, strings.Fields(sub.CommandPath())[1:])
		}
	}
	return paths
}

// enough are arguments that a command takes.
func enough(t *testing.T, path []string) []string {
	c, _, err := command().Find(path)
	if err != nil {
		t.Fatal(err)
	}
	switch lab := billingLab(t); {
	case c.Name() == "exec":
		return []string{"x", "--", "x"}
	case c.Name() == "trace":
		return []string{"icmp from x to y"}
	case path[0] == "billing" && c.Name() == "check":
		return []string{lab + "/solution", "--tasks", lab + "/tasks.yaml"}
	case path[0] == "billing":
		return []string{lab + "/article.yaml"}
	}
	for n := range 4 {
		args := slices.Repeat([]string{"x"}, n)
		if c.Args == nil || c.Args(c, args) == nil {
			return args
		}
	}
	t.Fatalf("%q takes no number of arguments", path)
	return nil
}

// billingLab is the folder of the lab that the commands of billing read.
var billingLab = func() func(*testing.T) string {
	dir, err := filepath.Abs("labs/20-billing") // before a test goes elsewhere
	return func(t *testing.T) string {
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
}()

// TestNobodyIgnoresOutput: every command looks at --output, and those that change something before they do; or it
// refuses it. One that ignores it does little here, with the arguments x and a context that has ended.
func TestNobodyIgnoresOutput(t *testing.T) {
	t.Setenv("SLUICE_STATE_DIR", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	t.Chdir(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	none := []string{}
	for _, path := range leaves(command()) {
		args := append(append(slices.Clone(path), "-o", "xml"), enough(t, path)...)
		var said bytes.Buffer
		root := command()
		root.SetOut(&said)
		root.SetErr(&said)
		code := cli.Run(ctx, root, args)
		refused := strings.Contains(said.String(), "has no answer of its own")
		if refused {
			none = append(none, strings.Join(path, " "))
		}
		if code != 2 || !refused && !strings.Contains(said.String(), `no output "xml"`) && !strings.Contains(said.String(), `no output format "xml"`) {
			t.Errorf("%q: code %d, %s", args, code, said.String())
		}
	}
	want := []string{"billing serve", "completion bash", "completion fish", "completion powershell", "completion zsh", "console", "exec", "policy help"}
	if slices.Sort(none); !slices.Equal(none, want) {
		t.Errorf("these refuse --output: %q", none)
	}
}

// TestOutputForAll: --output in the environment is for all commands, so those without an answer do not mind.
func TestOutputForAll(t *testing.T) {
	t.Setenv("SLUICE_OUTPUT", "json")
	for _, path := range [][]string{{"policy", "help"}, {"lab"}, {"help", "place"}} {
		var said bytes.Buffer
		root := command()
		root.SetOut(&said)
		root.SetErr(&said)
		if code := cli.Run(t.Context(), root, path); code != 0 || said.Len() == 0 {
			t.Errorf("%q: code %d, %s", path, code, said.String())
		}
	}
}

// TestFlagsAreCompleted: every flag with a word says what the shell may offer: words, labs, guests, files, or nothing.
func TestFlagsAreCompleted(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			_, known := c.GetFlagCompletionFunc(f.Name)
			_, files := f.Annotations[cobra.BashCompFilenameExt]
			_, folders := f.Annotations[cobra.BashCompSubdirsInDir]
			if words := strings.HasPrefix(f.Value.Type(), "string"); words && !known && !files && !folders {
				t.Errorf("%s --%s: %s", c.CommandPath(), f.Name, f.Usage)
			}
		})
		for _, sub := range c.Commands() {
			if !sub.Hidden {
				walk(sub)
			}
		}
	}
	walk(command())
}
