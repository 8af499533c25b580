package billing

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// The bounds of a file, whatever it means. The parser recurses: so its nesting is bounded before it is asked.
const (
	maxFile    = 256 << 10 // bytes
	maxNesting = 8
	maxText    = 300 // bytes of one text for people
)

// reader walks the YAML of one file. It keeps the first error only; after it every method gives zero values, so callers
// look at err once, at the end.
type reader struct {
	file  string
	lines []string
	err   error
}

// read parses a file's one document and hands its root on; what names the kind of file.
func read(file string, text []byte, what string, root func(*reader, ast.Node)) error {
	r := &reader{file: file, lines: strings.Split(string(text), "\n")}
	if n := r.parse(text, what); n != nil {
		root(r, n)
	}
	return r.err
}

func (r *reader) parse(text []byte, what string) ast.Node {
	if len(text) > maxFile {
		r.failAt(1, 1, "split it", "%s has %d bytes; at most %d are taken", what, len(text), maxFile)
		return nil
	}
	if line := tooDeep(text); line > 0 {
		r.failAt(line, 1, "it never needs that", "%s nests deeper than %d", what, maxNesting)
		return nil
	}
	f, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey()) // fields tells of them, with what to do
	var at yaml.Error
	switch {
	case errors.As(err, &at) && at.GetToken() != nil:
		p := at.GetToken().Position
		r.failAt(p.Line, p.Column, "look at the indentation, brackets and quotes here and above", "not YAML: %s", at.GetMessage())
	case err != nil:
		r.failAt(1, 1, "write it as key: value lines", "not YAML: %v", err)
	case len(f.Docs) == 0 || f.Docs[0].Body == nil:
		r.failAt(1, 1, "see its schema for what it needs", "%s is empty", what)
	case len(f.Docs) > 1:
		line, col := place(f.Docs[1].Body)
		r.failAt(line, col, "remove the line ---", "a second document; %s is one", what)
	default:
		return f.Docs[0].Body
	}
	return nil
}

// tooDeep finds the line at which brackets, or the dashes and question marks of one line, nest too deep; 0 where none do.
func tooDeep(text []byte) int {
	brackets, number := 0, 0
	for l := range bytes.Lines(text) {
		number++
		brackets += bytes.Count(l, []byte("[")) + bytes.Count(l, []byte("{"))
		if brackets > maxNesting || bytes.Count(l, []byte("- ")) > maxNesting || bytes.Count(l, []byte("? ")) > maxNesting {
			return number
		}
		brackets = max(0, brackets-bytes.Count(l, []byte("]"))-bytes.Count(l, []byte("}")))
	}
	return 0
}

func (r *reader) failAt(line, col int, do, format string, args ...any) {
	if r.err != nil {
		return
	}
	e := &Error{File: r.file, Line: line, Col: max(col, 1), Msg: printable(fmt.Sprintf(format, args...)), Do: do}
	if line >= 1 && line <= len(r.lines) {
		e.Source = printable(r.lines[line-1])
	}
	r.err = e
}

// fail keeps an error at a node: what to do, and what is wrong.
func (r *reader) fail(n ast.Node, do, format string, args ...any) {
	line, col := place(n)
	r.failAt(line, col, do, format, args...)
}

// place is where a node begins, from 1. A mapping's own token is its first colon, so its first key is asked.
func place(n ast.Node) (line, col int) {
	switch m := n.(type) {
	case *ast.MappingNode:
		if !m.IsFlowStyle && len(m.Values) > 0 {
			return place(m.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return place(m.Key)
	}
	if n != nil {
		if t := n.GetToken(); t != nil && t.Position != nil {
			return t.Position.Line, t.Position.Column
		}
	}
	return 1, 1
}

// fields reads a mapping whose keys are known, one function a key; needed are those that must be there. what names it in
// errors.
func (r *reader) fields(n ast.Node, what string, known map[string]func(ast.Node), needed ...string) {
	var pairs []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		pairs = m.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{m}
	default:
		r.fail(n, "write it as key: value", "%s must be a mapping", what)
		return
	}
	seen := map[string]bool{}
	for _, p := range pairs {
		key, plain := p.Key.(*ast.StringNode)
		if r.err != nil {
			return
		}
		if !plain {
			r.fail(p.Key, "write the keys out as plain words", "%s has a key that is no plain word", what)
			return
		}
		read := known[key.Value]
		switch {
		case read == nil:
			r.fail(p.Key, "it takes "+strings.Join(keysOf(known), ", "), "%s has no key %q", what, key.Value)
		case seen[key.Value]:
			r.fail(p.Key, "keep one of them", "%s has %s twice", what, key.Value)
		default:
			seen[key.Value] = true
			read(p.Value)
		}
	}
	for _, key := range needed {
		if !seen[key] {
			r.fail(n, "add "+key+": with its value", "%s lacks %s", what, key)
		}
	}
}

func keysOf(known map[string]func(ast.Node)) (keys []string) {
	for k := range known {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// items lists a sequence of lo to hi entries.
func (r *reader) items(n ast.Node, what string, lo, hi int) []ast.Node {
	s, ok := n.(*ast.SequenceNode)
	switch {
	case !ok:
		r.fail(n, "write each entry after a dash", "%s must be a list", what)
		return nil
	case len(s.Values) < lo || len(s.Values) > hi:
		r.fail(n, fmt.Sprintf("give %d to %d", lo, hi), "%s has %d entries", what, len(s.Values))
		return nil
	}
	return s.Values
}

// word reads a scalar as it was written.
func (r *reader) word(n ast.Node, what string) string {
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value
	case *ast.NullNode, nil:
		r.fail(n, "write a value, or remove the key", "%s is empty", what)
	default:
		r.fail(n, "write a single word or number", "%s must be one plain value", what)
	}
	return ""
}

// text reads words for people.
func (r *reader) text(n ast.Node, what string) string {
	s := r.word(n, what)
	if r.err == nil && (len(s) > maxText || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) })) {
		r.fail(n, fmt.Sprintf("write one line of at most %d bytes, without control characters", maxText), "%s cannot be shown", what)
	}
	return s
}

// oneOf reads a word out of a few.
func (r *reader) oneOf(n ast.Node, what string, known ...string) string {
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

func (r *reader) name(n ast.Node, what string) string {
	w := r.word(n, what)
	if r.err == nil && !isName(w) {
		r.fail(n, nameHelp, "%s %q cannot be a name", what, w)
	}
	return w
}

func (r *reader) day(n ast.Node, what string) Day {
	w := r.word(n, what)
	d, ok := parseDay(w)
	if r.err == nil && !ok {
		r.fail(n, fmt.Sprintf("write one like 2010-06-15, from %s to %s", firstDay, lastDay), "%s %q is no date", what, w)
	}
	return d
}

func (r *reader) cents(n ast.Node, what string) Cents {
	w := r.word(n, what)
	c, ok := parseCents(w)
	if r.err == nil && !ok {
		r.fail(n, fmt.Sprintf("write one like 18 or 18.00, more than 0 and at most %s", maxAmount), "%s %q is no amount", what, w)
	}
	return c
}

// number reads a whole number between two bounds, both allowed.
func (r *reader) number(n ast.Node, what string, lo, hi int) int {
	w := r.word(n, what)
	v, ok := parseDecimal(w, 0)
	if r.err == nil && (!ok || v < int64(lo) || v > int64(hi)) {
		r.fail(n, fmt.Sprintf("write a whole number from %d to %d", lo, hi), "%s is %q", what, w)
	}
	return int(v)
}
