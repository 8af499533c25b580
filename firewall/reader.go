package firewall

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// The bounds of a policy file. They keep a bad file from costing memory or stack.
const (
	maxSource  = 64 << 20 // bytes
	maxNesting = 32       // brackets, or levels of one line
	maxErrors  = 20       // told at once
)

// reader walks the YAML of one policy and collects what is wrong with it.
type reader struct {
	file  string
	lines [][]byte
	errs  ErrorList
}

// parse gives the file's one document; nil after an error.
func (r *reader) parse(src []byte) ast.Node {
	if len(src) > maxSource {
		r.failAt(1, 1, "write fewer rules, or use groups", "the policy has %d bytes; at most %d are taken", len(src), maxSource)
		return nil
	}
	r.lines = bytes.Split(src, []byte("\n"))
	if line := tooDeep(r.lines); line > 0 {
		r.failAt(line, 1, "a policy never needs that", "nests deeper than %d", maxNesting)
		return nil
	}
	f, err := parser.ParseBytes(src, 0)
	var at yaml.Error
	switch {
	case errors.As(err, &at) && at.GetToken() != nil:
		p := at.GetToken().Position
		r.failAt(p.Line, p.Column, "", "not YAML: %s", at.GetMessage())
	case err != nil:
		r.failAt(1, 1, "", "not YAML: %v", err)
	case len(f.Docs) == 0 || f.Docs[0].Body == nil:
		r.failAt(1, 1, "write at least default: drop", "the policy is empty")
	case len(f.Docs) > 1:
		r.fail(f.Docs[1].Body, "remove the line ---", "a second document; a policy is one")
	default:
		return f.Docs[0].Body
	}
	return nil
}

// tooDeep finds the line at which brackets or the dashes of one line nest too deep for a parser that recurses; 0 where none does.
func tooDeep(lines [][]byte) int {
	brackets := 0
	for i, l := range lines {
		brackets += bytes.Count(l, []byte("[")) + bytes.Count(l, []byte("{"))
		if brackets > maxNesting || bytes.Count(l, []byte("- ")) > maxNesting || bytes.Count(l, []byte("? ")) > maxNesting {
			return i + 1
		}
		brackets = max(0, brackets-bytes.Count(l, []byte("]"))-bytes.Count(l, []byte("}")))
	}
	return 0
}

func (r *reader) failAt(line, col int, do, format string, args ...any) {
	if len(r.errs) == maxErrors {
		return
	}
	e := &Error{File: r.file, Line: line, Col: max(col, 1), Msg: fmt.Sprintf(format, args...), Do: do}
	if line >= 1 && line <= len(r.lines) {
		e.Source = printable(r.lines[line-1])
	}
	r.errs = append(r.errs, e)
}

// fail notes an error at a node: what is wrong, and what to do.
func (r *reader) fail(n ast.Node, do, format string, args ...any) {
	line, col := place(n)
	r.failAt(line, col, do, format, args...)
}

// place is where a node begins.
func place(n ast.Node) (line, col int) {
	for {
		switch m := n.(type) {
		case nil:
			return 1, 1
		case *ast.MappingNode:
			if !m.IsFlowStyle && len(m.Values) > 0 {
				n = m.Values[0].Key // the node's own token is its first colon
				continue
			}
		case *ast.MappingValueNode:
			n = m.Key
			continue
		}
		if t := n.GetToken(); t != nil && t.Position != nil {
			return t.Position.Line, t.Position.Column
		}
		return 1, 1
	}
}

// maxShown bounds the line shown in an error, in characters.
const maxShown = 160

// printable is a line that is safe to show: short, and without what would act on a terminal.
func printable(line []byte) string {
	s := []rune(strings.TrimRight(string(line), "\r"))
	s = s[:min(len(s), maxShown)]
	for i, c := range s {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			s[i] = ' '
		}
	}
	return string(s)
}

// entry is one key of a mapping, with its value.
type entry struct {
	name       string
	key, value ast.Node
}

// entries lists a mapping in the file's order; what names it in errors. Anchors and merges are refused by their key.
func (r *reader) entries(n ast.Node, what string) []entry {
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	case *ast.NullNode:
		return nil
	default:
		r.fail(n, "write it as key: value", "%s must be a mapping", what)
		return nil
	}
	seen := make(map[string]bool, len(values))
	out := make([]entry, 0, len(values))
	for _, v := range values {
		if _, ok := v.Key.(*ast.StringNode); !ok {
			r.fail(v.Key, "write a plain word", "%s has a key that is no plain word", what)
			continue
		}
		name := v.Key.GetToken().Value
		if seen[name] {
			r.fail(v.Key, "keep one of them", "%s has %s twice", what, name)
			continue
		}
		seen[name] = true
		out = append(out, entry{name, v.Key, v.Value})
	}
	return out
}

// items lists a sequence; one plain value stands for a list of one.
func (r *reader) items(n ast.Node, what string) []ast.Node {
	switch m := n.(type) {
	case *ast.SequenceNode:
		return m.Values
	case *ast.NullNode:
		r.fail(n, "write a value, or remove the key", "%s is empty", what)
		return nil
	case nil:
		return nil
	}
	return []ast.Node{n}
}

// word reads one plain value as it was written; ok is false after an error.
func (r *reader) word(n ast.Node, what string) (string, bool) {
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	case *ast.NullNode:
		r.fail(n, "write a value, or remove the key", "%s is empty", what)
	default:
		r.fail(n, "write a single word or number", "%s must be one plain value", what)
	}
	return "", false
}

// oneOf reads a word out of a few.
func (r *reader) oneOf(n ast.Node, what string, known ...string) string {
	w, ok := r.word(n, what)
	if ok && !slices.Contains(known, w) {
		r.fail(n, "take one of "+strings.Join(known, ", "), "no %s %q", what, w)
	}
	return w
}

// yes reads true or false.
func (r *reader) yes(n ast.Node, what string) bool {
	return r.oneOf(n, what, "true", "false") == "true"
}

// unknown notes a key that nothing reads.
func (r *reader) unknown(e entry, what string, known ...string) {
	r.fail(e.key, "it takes "+strings.Join(known, ", "), "%s has no key %q", what, e.name)
}
