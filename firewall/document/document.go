// Package document reads one YAML document that somebody wrote by hand: bounded, so that no file can end the process, and
// with the place of everything in it. What the document means, and how its faults are told, is its readers' business.
package document

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// MaxNesting bounds how deep a document may nest by brackets, or within one line: the parser recurses.
const MaxNesting = 32

// Fault is why a document cannot be read.
type Fault struct {
	Line, Col int    // from 1
	Msg       string // what is wrong
	Do        string // what to do about it; may be empty
}

// Parse gives the one document in src, or a fault. what names it, least says what is the least that it needs. Keys that
// stand twice are its reader's business.
func Parse(src []byte, what, least string) (ast.Node, *Fault) {
	if line := tooDeep(src); line > 0 {
		return nil, deep(line, what)
	}
	if line := questions(src); line > 0 {
		return nil, &Fault{line, 1, fmt.Sprintf("more than %d keys after question marks", MaxNesting), "write key: value"}
	}
	f, err := parser.ParseBytes(plainLines(src), 0, parser.AllowDuplicateMapKey())
	switch {
	case err != nil:
		return nil, faultOf(err)
	case len(f.Docs) == 0 || f.Docs[0].Body == nil:
		return nil, &Fault{1, 1, "the " + what + " is empty", least}
	case len(f.Docs) > 1:
		line, col := Place(f.Docs[1].Body)
		return nil, &Fault{line, col, "a second document; a " + what + " is one", "remove the line ---"}
	}
	return f.Docs[0].Body, nil
}

// plainLines ends lines as here: the parser counts some of the other kind twice.
func plainLines(src []byte) []byte { return bytes.ReplaceAll(src, []byte("\r\n"), []byte("\n")) }

func faultOf(err error) *Fault {
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil {
		p := at.GetToken().Position
		return &Fault{p.Line, p.Column, "not YAML: " + at.GetMessage(), ""}
	}
	return &Fault{1, 1, "not YAML: " + err.Error(), ""}
}

func deep(line int, what string) *Fault {
	return &Fault{line, 1, fmt.Sprintf("nests deeper than %d", MaxNesting), "a " + what + " never needs that"}
}

// tooDeep finds the line at which brackets, or the dashes and question marks of one line, nest too deep; 0 where none do.
func tooDeep(src []byte) int {
	brackets, number := 0, 0
	for l := range bytes.Lines(src) {
		number++
		brackets += bytes.Count(l, []byte("[")) + bytes.Count(l, []byte("{"))
		if brackets > MaxNesting || bytes.Count(l, []byte("- ")) > MaxNesting || bytes.Count(l, []byte("? ")) > MaxNesting {
			return number
		}
		brackets = max(0, brackets-bytes.Count(l, []byte("]"))-bytes.Count(l, []byte("}")))
	}
	return 0
}

// questions finds the line with one key after a question mark too many; 0 where there is none. The parser takes a time for them that grows with
// the square of their number, and a hundred times as much as for other keys.
func questions(src []byte) int {
	found, number := 0, 0
	for l := range bytes.Lines(src) {
		number++
		if l = bytes.TrimLeft(l, " \t-"); len(l) > 0 && l[0] == '?' && (len(l) == 1 || bytes.IndexByte([]byte(" \t\r\n"), l[1]) >= 0) {
			if found++; found > MaxNesting {
				return number
			}
		}
	}
	return 0
}

// Place is where a node begins, from 1.
func Place(n ast.Node) (line, col int) {
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

// Pairs lists a mapping in the document's order; ok is false for anything else. Name takes their keys apart.
func Pairs(n ast.Node) (pairs []*ast.MappingValueNode, ok bool) {
	switch m := n.(type) {
	case *ast.MappingNode:
		return m.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}, true
	}
	return nil, false
}

// Name is a key that is a plain word; ok is false for anchors, merges and whatever else YAML takes for a key.
func Name(p *ast.MappingValueNode) (name string, ok bool) {
	if _, plain := p.Key.(*ast.StringNode); !plain {
		return "", false
	}
	return p.Key.GetToken().Value, true
}

// Word is one plain value as it was written; ok is false for anything else, a value that is missing among it.
func Word(n ast.Node) (word string, ok bool) {
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	return "", false
}
