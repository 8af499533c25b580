package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

var update = flag.Bool("update", false, "write docs/cli anew")

const (
	pagesDir = "docs/cli"
	anew     = "go test . -run TestCommandPages -update"
)

// TestCommandPages: docs/cli has a page for each command, as the commands say it, and no other.
func TestCommandPages(t *testing.T) {
	want := commandPages(t)
	if *update {
		writePages(t, want)
	}
	files, err := filepath.Glob(pagesDir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if want[filepath.Base(file)] == nil {
			t.Errorf("%s is of no command; write the pages anew: %s", file, anew)
		}
	}
	for name, page := range want {
		is, err := os.ReadFile(filepath.Join(pagesDir, name))
		if err != nil || !bytes.Equal(is, page) {
			t.Errorf("%s/%s is not what the command says (%v); write the pages anew: %s", pagesDir, name, err, anew)
		}
	}
}

// commandPages are the pages of all commands that users see, by their file's name.
func commandPages(t *testing.T) map[string][]byte {
	t.Helper()
	for _, name := range []string{"SLUICE_STATE_DIR", "HOME"} {
		t.Setenv(name, "/nowhere") // a page says the same on every machine
	}
	pages := map[string][]byte{}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		c.DisableAutoGenTag = true // it has the day
		c.Long = fenced(c.Long)
		var b bytes.Buffer
		if err := doc.GenMarkdown(c, &b); err != nil {
			t.Fatal(err)
		}
		pages[strings.ReplaceAll(c.CommandPath(), " ", "_")+".md"] = b.Bytes()
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() || sub.IsAdditionalHelpTopicCommand() {
				walk(sub)
			}
		}
	}
	walk(command())
	return pages
}

// laidOut is a line whose blanks say something: a command to copy, or a row of a table.
var laidOut = regexp.MustCompile(`(?m)^  |\S {2,}\S`)

// fenced keeps what a text for a terminal lays out by blanks: Markdown would fill it like prose.
func fenced(text string) string {
	parts := strings.Split(strings.Trim(text, "\n"), "\n\n")
	for i, part := range parts {
		if laidOut.MatchString(part) {
			parts[i] = "```\n" + part + "\n```"
		}
	}
	return strings.Join(parts, "\n\n")
}

func writePages(t *testing.T, pages map[string][]byte) {
	t.Helper()
	if err := os.RemoveAll(pagesDir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(pagesDir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, page := range pages {
		if err := os.WriteFile(filepath.Join(pagesDir, name), page, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
