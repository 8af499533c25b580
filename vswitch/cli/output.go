package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"
	"golang.org/x/term"

	"sluice/firewall/fault"
)

// Output is where a command's answer goes: to stdout, for a person or for a script. What is no answer (progress,
// advice) is a note, and goes to stderr.
type Output struct {
	format   string
	out, err io.Writer
	color    bool
}

// formats are what --output takes.
var formats = []string{"table", "json", "yaml"}

// Annotations of commands that are not like the others in their --output.
const (
	NoAnswer    = "no-answer"    // a command that has none of its own: --output is refused, where it was not said for all in the environment
	MoreFormats = "more-formats" // what it takes beside those that all take, with blanks between
)

// answerless says whether a command has no answer: it is marked, or only shows a text of help.
func answerless(cmd *cobra.Command) bool {
	_, marked := cmd.Annotations[NoAnswer]
	return marked || cmd.HasAvailableSubCommands() || cmd.Name() == "help" || cmd.HasParent() && cmd.Parent().Name() == "completion"
}

// completeFormat completes --output, by what the command takes.
func completeFormat(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	if answerless(cmd) {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return append(slices.Clone(formats), strings.Fields(cmd.Annotations[MoreFormats])...), cobra.ShellCompDirectiveNoFileComp
}

// outputGiven is a command's mark that --output stood on its command line.
type outputGiven struct{}

// OutputGiven says whether --output stood on the command line, not only in the environment.
func OutputGiven(cmd *cobra.Command) bool { return cmd.Context().Value(outputGiven{}) != nil }

// OutputOf is the output of a command, as --output says.
func OutputOf(cmd *cobra.Command) (*Output, error) {
	format, err := cmd.Flags().GetString("output")
	if err != nil {
		return nil, err
	}
	switch format {
	case "table", "json", "yaml":
	default:
		return nil, fault.Errorf(fault.BadInput, "no output %q: %s", format, strings.Join(formats, ", "))
	}
	out := cmd.OutOrStdout()
	return &Output{format: format, out: out, err: cmd.ErrOrStderr(), color: colors(out)}, nil
}

// colors says whether a writer is a terminal whose user has nothing against colours (no-color.org). One of no known
// kind takes no escapes.
func colors(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && os.Getenv("TERM") != "" && term.IsTerminal(int(f.Fd()))
}

// Table says whether the answer is for a person.
func (o *Output) Table() bool { return o.format == "table" }

// Screen says whether it is on a terminal, where it may be written over.
func (o *Output) Screen() bool { return o.Table() && o.color }

// Print gives the answer: v for scripts, or what table writes for a person. The JSON names of v are what scripts rely
// on.
func (o *Output) Print(v any, table func(w io.Writer)) error {
	var b bytes.Buffer
	if o.Table() {
		table(&b)
	} else if err := o.encode(&b, v); err != nil {
		return fmt.Errorf("write the answer as %s: %w", o.format, err)
	}
	_, err := o.out.Write(b.Bytes())
	return err
}

// Done gives the result of a command that does something: v for scripts. A person is told in lines on stderr, as there
// is nothing to read on.
func (o *Output) Done(v any, lines ...string) error {
	if o.Table() {
		for _, line := range lines {
			o.Note("%s", line)
		}
		return nil
	}
	return o.Print(v, nil)
}

// Print gives a command's one answer, as --output says.
func Print(cmd *cobra.Command, v any, table func(io.Writer)) error {
	o, err := OutputOf(cmd)
	if err != nil {
		return err
	}
	return o.Print(v, table)
}

func (o *Output) encode(b *bytes.Buffer, v any) error {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil || o.format == "json" {
		return err
	}
	y, err := yamlOf(b.Bytes()) // by way of JSON, so that both have the same names
	b.Reset()
	b.Write(y)
	return err
}

// WriteYAML writes a value with the names that it has in JSON.
func WriteYAML(w io.Writer, v any) error {
	return (&Output{out: w, format: "yaml"}).Print(v, nil)
}

// yamlOf writes JSON, which is YAML in brackets, as YAML in lines.
func yamlOf(text []byte) ([]byte, error) {
	var n yaml.Node
	if err := yaml.Load(text, &n); err != nil {
		return nil, err
	}
	inLines(&n)
	return yaml.Dump(&n)
}

// inLines takes brackets and quotes away; the writer puts them where they are needed.
func inLines(n *yaml.Node) {
	if len(n.Content) > 0 || n.Kind == yaml.ScalarNode {
		n.Style = 0
	}
	for _, c := range n.Content {
		inLines(c)
	}
}

// Line gives one of many answers that come one by one: a line of JSON, a YAML document, or what text says.
func (o *Output) Line(v any, text string) error {
	var err error
	switch o.format {
	case "json":
		enc := json.NewEncoder(o.out)
		enc.SetEscapeHTML(false)
		err = enc.Encode(v)
	case "yaml":
		var b bytes.Buffer
		if err = o.encode(&b, v); err == nil {
			_, err = fmt.Fprintf(o.out, "---\n%s", b.Bytes())
		}
	default:
		_, err = fmt.Fprintln(o.out, text)
	}
	return err
}

// Note tells the user something that is not the answer, on stderr.
func (o *Output) Note(format string, args ...any) {
	writeProse(o.err, fault.Lines(fmt.Sprintf(format, args...), maxNote)+"\n", lineByLine)
}

// maxNote bounds a note and an error's text, in characters.
const maxNote = 64 << 10

// A Color marks a word for a person. It never carries meaning that the word itself lacks.
type Color string

// The colours, as SGR parameters (ECMA-48 8.3.117).
const (
	Good Color = "32" // green
	Bad  Color = "31" // red
	Warn Color = "33" // yellow
	Dim  Color = "2"
	Bold Color = "1"
)

// Paint colours a word, where the user can see and wants colours.
func (o *Output) Paint(c Color, s string) string {
	if !o.color || s == "" {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}

// Grid is a table of words. Columns whose heading begins with > are aligned to the right, for numbers. Without any
// headings there is no line for them.
type Grid struct {
	head []string
	rows [][]string
}

// NewGrid makes an empty table with headings.
func NewGrid(head ...string) *Grid { return &Grid{head: head} }

// Row adds a row; each cell is written as fmt.Print would. Control characters, which a guest may have chosen, are
// replaced.
func (g *Grid) Row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fault.Clean(fmt.Sprint(c))
	}
	g.rows = append(g.rows, row)
}

// Write writes the table, each line after indent.
func (g *Grid) Write(w io.Writer, indent string) {
	right := make([]bool, len(g.head))
	head := make([]string, len(g.head))
	for i, h := range g.head {
		head[i] = strings.TrimPrefix(h, ">")
		right[i] = head[i] != h
	}
	lines := append([][]string{head}, g.rows...)
	width := make([]int, len(g.head))
	for _, line := range lines {
		for i, cell := range line {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	if strings.Join(head, "") == "" {
		lines = lines[1:]
	}
	for _, line := range lines {
		var b strings.Builder
		for i, cell := range line {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if right[i] {
				cell = pad + cell
			} else {
				cell += pad
			}
			b.WriteString(cell + "  ")
		}
		fmt.Fprintf(w, "%s%s\n", indent, strings.TrimRight(b.String(), " "))
	}
}
