package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/creack/pty"
	"github.com/spf13/cobra"
)

// onTerminal is what a user sees whose terminal is so many columns wide; 0 is one that does not know.
func onTerminal(t *testing.T, width int, do func(tty *os.File)) string {
	t.Helper()
	terminal, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 30, Cols: uint16(width)}); err != nil {
		t.Fatal(err)
	}
	shown := make(chan string)
	go func() {
		b, _ := io.ReadAll(terminal) // it ends with an error where the last user is gone
		shown <- string(b)
	}()
	do(tty)
	tty.Close()
	return strings.ReplaceAll(<-shown, "\r\n", "\n")
}

func widest(text string) (n int) {
	for l := range strings.Lines(text) {
		n = max(n, utf8.RuneCountInString(strings.TrimRight(l, "\n")))
	}
	return n
}

// proseRoot has a command with a long help, and an error of several long lines.
func proseRoot(out *os.File) *cobra.Command {
	long := strings.TrimSpace(strings.Repeat("one long line ", 12)) + "\n" + strings.TrimSpace(strings.Repeat("goes on here ", 3)) + "\nshort\n"
	c := &cobra.Command{
		Use: "long", Short: "s", Long: long + "  word   " + strings.Repeat("what it means ", 9), Example: "  sluice " + strings.Repeat("x ", 80),
		RunE: func(*cobra.Command, []string) error {
			return errors.New(strings.Repeat("what is wrong ", 9) + "\n" + strings.Repeat("key: ", 30) + "\n     ^\n    do " + strings.Repeat("this ", 30))
		},
	}
	c.Flags().String("flag", "", strings.Repeat("what it does ", 12))
	root := Root(c, policyCommand(nil))
	root.SetOut(out)
	root.SetErr(out)
	return root
}

// TestProseFitsTheTerminal: help is within the terminal's width, at most 100 columns, and 80 where it is not known.
// Examples can be copied.
func TestProseFitsTheTerminal(t *testing.T) {
	for _, c := range []struct{ terminal, want int }{{60, 60}, {80, 80}, {0, 80}, {200, 100}} {
		for _, args := range [][]string{{"policy", "help"}, {"policy", "--help"}, {"help", "policy"}, {"long", "--help"}} {
			text := onTerminal(t, c.terminal, func(tty *os.File) { Run(context.Background(), proseRoot(tty), args) })
			text = strings.Replace(text, "  sluice "+strings.Repeat("x ", 80)+"\n", "", 1)
			if n := widest(text); n > c.want || n < c.want/2 {
				t.Errorf("%v on %d columns is %d wide:\n%s", args, c.terminal, n, text)
			}
		}
	}
	text := onTerminal(t, 80, func(tty *os.File) { Run(context.Background(), proseRoot(tty), []string{"long", "--help"}) })
	for _, want := range []string{
		"one long\nline one long", "line goes on here", "\nshort\n", "\n  word   what it means", "\n         what it means",
		"\n  sluice " + strings.Repeat("x ", 80) + "\n", "      --flag string   what it does", "\n                      it does",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	Run(context.Background(), proseRoot(out), []string{"policy", "help"})
	out.Close()
	if b, err := io.ReadAll(in); err != nil || string(b) != policyLanguage {
		t.Errorf("in a pipe: %v, %q", err, b)
	}
}

// TestErrorsFitTheTerminal: but for the line of the file, which a mark stands below.
func TestErrorsFitTheTerminal(t *testing.T) {
	text := onTerminal(t, 60, func(tty *os.File) { Run(context.Background(), proseRoot(tty), []string{"long"}) })
	source := strings.Repeat("key: ", 30) + "\n     ^\n"
	if !strings.Contains(text, source) || widest(strings.Replace(text, source, "", 1)) > 60 || !strings.Contains(text, "\n    do this") {
		t.Errorf("shown:\n%s", text)
	}
}

// TestMarkdown: on a terminal prose is wrapped and what is folded away is named; code is as it was, and in a pipe
// everything.
func TestMarkdown(t *testing.T) {
	const page = "# Lab\n" +
		"First line of a text that is longer than the forty columns.\nSecond.\n\n" +
		"1. **Do.** It goes on and on, for quite a while, and\n   further.\n\n   ```\n   sluice exec client -- wget -qO- http://10.10.2.10/ # a comment\n   ```\n" +
		"- short\n- shorter\n\n| a row of a table | that is wider than the terminal is |\n| - | - |\n\n" +
		"<details><summary>Hint for find</summary>\nLook at <code>stats</code>, <em>not</em> at the clock on the wall, twice.\n</details>\n"
	const head = "# Lab\n" +
		"First line of a text that is longer than\nthe forty columns. Second.\n\n" +
		"1. **Do.** It goes on and on, for quite\n   a while, and further.\n\n   ```\n   sluice exec client -- wget -qO- http://10.10.2.10/ # a comment\n   ```\n" +
		"- short\n- shorter\n\n| a row of a table | that is wider than\nthe terminal is |\n| - | - |\n\n"
	for _, c := range []struct {
		unfold bool
		want   string
	}{
		{false, head + "**Hint for find** (hidden: --hints shows\nit)\n"},
		{true, head + "**Hint for find**\n\nLook at `stats`, *not* at the clock on\nthe wall, twice.\n"},
	} {
		got := onTerminal(t, 40, func(tty *os.File) {
			if err := (&Output{format: "table", out: tty}).Markdown(nil, page, "--hints shows it", c.unfold); err != nil {
				t.Error(err)
			}
		})
		if got != c.want {
			t.Errorf("hints %v:\n%s\nwant:\n%s", c.unfold, got, c.want)
		}
		var pipe strings.Builder
		if err := (&Output{format: "table", out: &pipe}).Markdown(nil, page, "", c.unfold); err != nil || pipe.String() != page {
			t.Errorf("in a pipe: %v\n%s", err, pipe.String())
		}
	}
}
