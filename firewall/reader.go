package firewall

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"sluice/firewall/document"
)

// The bounds of a policy file. They keep a bad file from costing memory or stack.
const (
	maxSource = 64 << 20 // bytes
	maxErrors = 20       // told at once
)

// reader walks the YAML of one policy and collects what is wrong with it.
type reader struct {
	file  string
	lines [][]byte
	long  bool // long lists are read in pieces
	bad   bool // it is no document: nothing else counts
	errs  ErrorList
}

// parse gives the file's one document; nil after an error.
func (r *reader) parse(src []byte) ast.Node {
	if len(src) > maxSource {
		r.failAt(1, 1, "write fewer rules, or use groups", "the policy has %d bytes; at most %d are taken", len(src), maxSource)
		return nil
	}
	r.lines = bytes.Split(src, []byte("\n"))
	parse := document.Parse
	if r.long {
		parse = document.ParseLong
	}
	root, fault := parse(src, "policy", "write at least default: drop")
	if fault != nil {
		r.fault(fault)
		return nil
	}
	return root
}

// fault notes why the file cannot be read.
func (r *reader) fault(f *document.Fault) {
	r.errs = nil
	r.failAt(f.Line, f.Col, f.Do, "%s", f.Msg)
	r.bad = true
}

func (r *reader) failAt(line, col int, do, format string, args ...any) {
	if len(r.errs) == maxErrors || r.bad {
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
	line, col := document.Place(n)
	r.failAt(line, col, do, format, args...)
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
	if _, empty := n.(*ast.NullNode); empty {
		return nil
	}
	pairs, ok := document.Pairs(n)
	if !ok {
		r.fail(n, "write it as key: value", "%s must be a mapping", what)
		return nil
	}
	seen := make(map[string]bool, len(pairs))
	out := make([]entry, 0, len(pairs))
	for _, v := range pairs {
		name, ok := document.Name(v)
		if !ok {
			r.fail(v.Key, "write a plain word", "%s has a key that is no plain word", what)
			continue
		}
		if seen[name] {
			r.fail(v.Key, "keep one of them", "%s has %s twice", what, name)
			continue
		}
		seen[name] = true
		out = append(out, entry{name, v.Key, v.Value})
	}
	return out
}

// items gives a list's items; one plain value stands for a list of one.
func (r *reader) items(n ast.Node, what string) iter.Seq[ast.Node] {
	if items, ok := r.list(n); ok {
		return items
	}
	return func(yield func(ast.Node) bool) {
		switch n.(type) {
		case *ast.NullNode:
			r.fail(n, "write a value, or remove the key", "%s is empty", what)
		case nil:
		default:
			yield(n)
		}
	}
}

// list gives a list's items; ok is false for anything else.
func (r *reader) list(n ast.Node) (items iter.Seq[ast.Node], ok bool) {
	all, ok := document.List(n)
	return func(yield func(ast.Node) bool) {
		for v, fault := range all {
			if fault != nil {
				r.fault(fault)
				return
			}
			if !yield(v) {
				return
			}
		}
	}, ok
}

// word reads one plain value as it was written; ok is false after an error.
func (r *reader) word(n ast.Node, what string) (string, bool) {
	w, ok := document.Word(n)
	if _, empty := n.(*ast.NullNode); empty {
		r.fail(n, "write a value, or remove the key", "%s is empty", what)
	} else if !ok {
		r.fail(n, "write a single word or number", "%s must be one plain value", what)
	}
	return w, ok
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
