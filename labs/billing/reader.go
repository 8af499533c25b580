package billing

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// The bounds of a file, whatever it means.
const (
	maxFile    = 256 << 10 // bytes
	maxNesting = 8
	maxText    = 300 // bytes of one text for people
)

// limits are the parser's own. Aliases cost nothing: nobody follows them.
var limits = loaderlimits.New(loaderlimits.DepthValue(maxNesting), loaderlimits.AliasNone())

// reader walks the YAML of one file. It keeps the first error only; after it every method gives zero values, so callers
// look at err once, at the end.
type reader struct {
	file  string
	lines []string
	err   error
}

// read parses a file's one document and hands its root on; what names the kind of file.
func read(file string, text []byte, what string, root func(*reader, *yaml.Node)) error {
	r := &reader{file: file, lines: strings.Split(string(text), "\n")}
	if n := r.parse(text, what); n != nil {
		root(r, n)
	}
	return r.err
}

func (r *reader) parse(text []byte, what string) *yaml.Node {
	if len(text) > maxFile {
		r.failAt(1, 1, "split it", "%s has %d bytes; at most %d are taken", what, len(text), maxFile)
		return nil
	}
	in, err := yaml.NewLoader(bytes.NewReader(text), yaml.WithPlugin(limits))
	if err != nil {
		r.failAt(1, 1, "write it as key: value lines", "not YAML: %v", err)
		return nil
	}
	var root, second yaml.Node
	switch err := in.Load(&root); {
	case errors.Is(err, io.EOF), err == nil && isNull(root.Content[0]):
		r.failAt(1, 1, "see its schema for what it needs", "%s is empty", what)
		return nil
	case err != nil:
		r.notYAML(err, what)
		return nil
	}
	switch err := in.Load(&second); {
	case err == nil:
		r.fail(&second, "remove the line ---", "a second document; %s is one", what)
	case !errors.Is(err, io.EOF):
		r.notYAML(err, what)
	}
	return root.Content[0]
}

// notYAML keeps why the parser gave up.
func (r *reader) notYAML(err error, what string) {
	var at *yaml.LoadError
	switch {
	case !errors.As(err, &at):
		r.failAt(1, 1, "write it as key: value lines", "not YAML: %v", err)
	case strings.Contains(at.Message, "max depth"):
		r.failAt(at.Mark.Line, at.Mark.Column, "it never needs that", "%s nests deeper than %d", what, maxNesting)
	case strings.Contains(at.Message, "unknown anchor"):
		r.failAt(at.Mark.Line, at.Mark.Column, "write it out: anchors and aliases are not taken", "an alias of nothing")
	default:
		r.failAt(at.Mark.Line, at.Mark.Column,
			"look at the indentation, brackets and quotes here and above", "not YAML: %s", at.Message)
	}
}

func (r *reader) failAt(line, col int, do, format string, args ...any) {
	if r.err != nil {
		return
	}
	e := &Error{File: r.file, Line: max(line, 1), Col: max(col, 1), Msg: printable(fmt.Sprintf(format, args...)), Do: do}
	if line >= 1 && line <= len(r.lines) {
		e.Source = printable(r.lines[line-1])
	}
	r.err = e
}

// fail keeps an error at a node: what to do, and what is wrong.
func (r *reader) fail(n *yaml.Node, do, format string, args ...any) {
	r.failAt(n.Line, n.Column, do, format, args...)
}

// untouched says whether a node has neither an anchor nor a tag of its own: readers take no other.
func untouched(n *yaml.Node) bool { return n.Anchor == "" && n.Style&yaml.TaggedStyle == 0 }

// isNull says whether nothing was written, or ~, or null.
func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && untouched(n) && n.Tag == "!!null"
}

// fields reads a mapping whose keys are known, one function a key; needed are those that must be there. what names it
// in errors.
func (r *reader) fields(n *yaml.Node, what string, known map[string]func(*yaml.Node), needed ...string) {
	if n.Kind != yaml.MappingNode || !untouched(n) {
		r.fail(n, "write it as key: value", "%s must be a mapping", what)
		return
	}
	seen := map[string]bool{}
	for i := 0; i < len(n.Content) && r.err == nil; i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || !untouched(key) || key.Tag != "!!str" {
			r.fail(key, "write the keys out as plain words", "%s has a key that is no plain word", what)
			return
		}
		read := known[key.Value]
		switch {
		case read == nil:
			r.fail(key, "it takes "+strings.Join(keysOf(known), ", "), "%s has no key %q", what, key.Value)
		case seen[key.Value]:
			r.fail(key, "keep one of them", "%s has %s twice", what, key.Value)
		default:
			seen[key.Value] = true
			read(value)
		}
	}
	for _, key := range needed {
		if !seen[key] {
			r.fail(n, "add "+key+": with its value", "%s lacks %s", what, key)
		}
	}
}

func keysOf(known map[string]func(*yaml.Node)) (keys []string) {
	for k := range known {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// items lists a sequence of lo to hi entries.
func (r *reader) items(n *yaml.Node, what string, lo, hi int) []*yaml.Node {
	switch {
	case n.Kind != yaml.SequenceNode || !untouched(n):
		r.fail(n, "write each entry after a dash", "%s must be a list", what)
		return nil
	case len(n.Content) < lo || len(n.Content) > hi:
		r.fail(n, fmt.Sprintf("give %d to %d", lo, hi), "%s has %d entries", what, len(n.Content))
		return nil
	}
	return n.Content
}

// word reads a scalar as it was written.
func (r *reader) word(n *yaml.Node, what string) string {
	switch {
	case isNull(n):
		r.fail(n, "write a value, or remove the key", "%s is empty", what)
	case n.Kind != yaml.ScalarNode || !untouched(n) || n.Tag == "!!merge",
		n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		r.fail(n, "write a single word or number", "%s must be one plain value", what)
	default:
		return n.Value
	}
	return ""
}

// text reads words for people.
func (r *reader) text(n *yaml.Node, what string) string {
	s := r.word(n, what)
	if r.err == nil && (len(s) > maxText || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) })) {
		r.fail(n, fmt.Sprintf("write one line of at most %d bytes, without control characters", maxText), "%s cannot be shown", what)
	}
	return s
}

// oneOf reads a word out of a few.
func (r *reader) oneOf(n *yaml.Node, what string, known ...string) string {
	w := r.word(n, what)
	if r.err == nil && !slices.Contains(known, w) {
		r.fail(n, "take one of "+strings.Join(known, ", "), "no %s %q", what, w)
	}
	return w
}

const (
	maxName  = 40
	nameHelp = "begin with a letter, then letters, digits and -, at most 40 in all"
)

func isName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return true
}

func (r *reader) name(n *yaml.Node, what string) string {
	w := r.word(n, what)
	if r.err == nil && !isName(w) {
		r.fail(n, nameHelp, "%s %q cannot be a name", what, w)
	}
	return w
}

func (r *reader) day(n *yaml.Node, what string) Day {
	w := r.word(n, what)
	d, ok := parseDay(w)
	if r.err == nil && !ok {
		r.fail(n, fmt.Sprintf("write one like 2010-06-15, from %s to %s", firstDay, lastDay), "%s %q is no date", what, w)
	}
	return d
}

func (r *reader) cents(n *yaml.Node, what string) Cents {
	w := r.word(n, what)
	c, ok := parseCents(w)
	if r.err == nil && !ok {
		r.fail(n, fmt.Sprintf("write one like 18 or 18.00, more than 0 and at most %s", maxAmount), "%s %q is no amount", what, w)
	}
	return c
}

// number reads a whole number between two bounds, both allowed.
func (r *reader) number(n *yaml.Node, what string, lo, hi int) int {
	w := r.word(n, what)
	v, ok := parseDecimal(w, 0)
	if r.err == nil && (!ok || v < int64(lo) || v > int64(hi)) {
		r.fail(n, fmt.Sprintf("write a whole number from %d to %d", lo, hi), "%s is %q", what, w)
	}
	return int(v)
}
