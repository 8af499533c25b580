package cli

import (
	"io"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Prose is as wide as the terminal is, within what people read with ease. A pipe, and so a script, gets every text as
// it was written.
const (
	minColumns     = 20
	maxColumns     = 100
	unknownColumns = 80 // of a terminal that does not know its width
)

// columns is how wide prose on w may be; 0 where w is no terminal.
func columns(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width == 0 {
		width = unknownColumns
	}
	return min(max(width, minColumns), maxColumns)
}

var (
	// Both begin a line whose further lines stand under its text: an item of a list, or a word and after a gap what it
	// means.
	marker = regexp.MustCompile(`^ *(?:[-*] +|\d+\. +)`)
	gap    = regexp.MustCompile(`^ *\S+(?: \S+)*? {2,}`)
)

// hang is where the further lines of a line begin.
func hang(line string, width int) (column int, hangs bool) {
	for _, r := range []*regexp.Regexp{marker, gap} {
		if n := utf8.RuneCountInString(r.FindString(line)); n > 0 && n <= width/2 {
			return n, true
		}
	}
	return min(indent(line), width/2), false
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// fill wraps a line between its words; a word that is wider than the terminal stays whole.
func fill(b *strings.Builder, line string, width int) {
	column, _ := hang(line, width)
	line = strings.TrimRight(line, " ")
	now, used := line[:indent(line)], indent(line) // what stands in the line, and its width
	for i, word := range strings.Split(line[used:], " ") {
		n := utf8.RuneCountInString(word)
		switch {
		case i > 0 && word != "" && used > column && used+1+n > width:
			b.WriteString(strings.TrimRight(now, " ") + "\n")
			now, used = strings.Repeat(" ", column)+word, column+n
		case i > 0:
			now, used = now+" "+word, used+1+n
		default:
			now, used = now+word, used+n
		}
	}
	b.WriteString(now + "\n")
}

// paragraph writes lines that belong together: as they are where all fit, else filled anew.
func paragraph(b *strings.Builder, lines []string, width int) {
	for _, l := range lines {
		if utf8.RuneCountInString(l) > width {
			for i, more := range lines[1:] {
				lines[i+1] = strings.TrimLeft(more, " ")
			}
			fill(b, strings.Join(lines, " "), width)
			return
		}
	}
	for _, l := range lines {
		b.WriteString(l + "\n")
	}
}

// The lines of a text are of paragraphs, or each says something of its own.
const (
	paragraphs = 60      // a line that is shorter ends because its writer meant it
	lineByLine = 1 << 20 // no line is so long that the next one belongs to it
)

// wrapped gives help and messages on lines of at most width columns. A line of full columns or more goes on in the next
// one. Examples, which are copied, stay whole, and so do the lines of a file that an error shows: a mark stands below
// them.
func wrapped(text string, width, full int) string {
	var b strings.Builder
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	examples := false
	for i := 0; i < len(lines); {
		first := lines[i]
		examples = first == "Examples:" || examples && first != ""
		if examples || marked(lines, i) {
			b.WriteString(first + "\n")
			i++
			continue
		}
		column, hangs := hang(first, width)
		end := i + 1
		for ; end < len(lines) && utf8.RuneCountInString(lines[end-1]) >= full; end++ {
			next := lines[end]
			_, another := hang(next, width)
			if strings.TrimSpace(next) == "" || another || indent(next) != column || column > 0 && !hangs || marked(lines, end) {
				break
			}
		}
		paragraph(&b, lines[i:end], width)
		i = end
	}
	return b.String()
}

// marked says whether a line is shown with a mark below it, or is that mark.
func marked(lines []string, i int) bool {
	mark := func(i int) bool { return i < len(lines) && strings.TrimSpace(lines[i]) == "^" }
	return mark(i) || mark(i+1)
}

// writeProse writes a text: wrapped on a terminal, else as it was written.
func writeProse(w io.Writer, text string, full int) error {
	if width := columns(w); width > 0 {
		text = wrapped(text, width, full)
	}
	_, err := io.WriteString(w, text)
	return err
}

// wrapHelp has the help of all commands as wide as the terminal.
func wrapHelp(root *cobra.Command) {
	help := root.HelpFunc()
	root.SetHelpFunc(func(c *cobra.Command, args []string) {
		out := c.OutOrStdout()
		if columns(out) == 0 {
			help(c, args)
			return
		}
		var b strings.Builder
		c.SetOut(&b)
		help(c, args)
		c.SetOut(out)
		writeProse(out, b.String(), paragraphs)
	})
}

// Markdown gives an answer that is a Markdown text: v for scripts. On a terminal the text is wrapped, and what it folds
// away is shown only if unfold is set (more says how to ask for that); else it is as it was written.
func (o *Output) Markdown(v any, text, more string, unfold bool) error {
	if width := columns(o.out); width > 0 {
		text = markdown(text, more, width, unfold)
	}
	return o.Print(v, func(w io.Writer) { io.WriteString(w, text) })
}

var (
	folded   = regexp.MustCompile(`(?s)<details><summary>(.*?)</summary>\n*(.*?)\n*</details>`)
	inlines  = strings.NewReplacer("<em>", "*", "</em>", "*", "<code>", "`", "</code>", "`")
	isolated = regexp.MustCompile(`^ *(?:#|\||>|$)`) // headings, rows of tables, quotes, empty lines
)

// markdown wraps what is prose. Code stays as it is, to be copied, and each row of a table is a line of its own.
func markdown(text, more string, width int, unfold bool) string {
	text = folded.ReplaceAllStringFunc(text, func(s string) string {
		part := folded.FindStringSubmatch(s)
		if !unfold {
			return "**" + part[1] + "** (hidden: " + more + ")"
		}
		return "**" + part[1] + "**\n\n" + inlines.Replace(part[2])
	})
	var b strings.Builder
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	code := false
	for i := 0; i < len(lines); {
		fence := strings.HasPrefix(strings.TrimSpace(lines[i]), "```")
		end := i + 1
		switch {
		case fence || code:
			code = code != fence
			b.WriteString(lines[i] + "\n")
		default:
			alone := isolated.MatchString(lines[i]) || strings.HasPrefix(lines[i], "    ") && !marker.MatchString(lines[i])
			for !alone && end < len(lines) && goesOn(lines[end]) {
				end++
			}
			paragraph(&b, lines[i:end], width)
		}
		i = end
	}
	return b.String()
}

// goesOn says whether a line belongs to the paragraph before it.
func goesOn(line string) bool {
	return !isolated.MatchString(line) && !marker.MatchString(line) && !strings.HasPrefix(strings.TrimSpace(line), "```")
}
