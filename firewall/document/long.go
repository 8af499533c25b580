package document

import (
	"bytes"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
)

// A document is costly to parse: a hundred times its size in memory. A policy of many rules is one long list, though, and its items can
// be parsed a few at a time.

// MaxWhole is how many bytes are parsed at once: half a gigabyte of memory.
const MaxWhole = 4 << 20

// bounds are those of long lists.
type bounds struct {
	least int // items; shorter lists stay in the document
	piece int // bytes that are parsed at a time, but at least one item
}

var usual = bounds{64, 1 << 16}

// LongList is a list whose items are parsed as they are asked for. As a node it is the null that is left in its place.
type LongList struct {
	*ast.NullNode
	src    []byte // its lines
	line   int    // of the first of them, from 1
	items  []int  // where in src each item begins
	indent int    // of the dashes
	piece  int
}

// ParseLong is Parse for a document that may have long lists: in block style, as the value of a key that is alone on its line. It takes nothing that
// Parse would not take; what it does not take may be better told by Parse, where the document is not too long for that.
func ParseLong(src []byte, what, least string) (ast.Node, *Fault) {
	return parseLong(src, what, least, usual)
}

func parseLong(src []byte, what, least string, b bounds) (ast.Node, *Fault) {
	src = plainLines(src)
	if line := tooDeep(src); line > 0 {
		return nil, deep(line, what)
	}
	if at := bytes.IndexByte(src, '\r'); at >= 0 {
		return nil, &Fault{1 + bytes.Count(src[:at], []byte("\n")), 1, "a carriage return within the line", ""}
	}
	short, lists := split(src, b)
	if len(short) > MaxWhole {
		return nil, &Fault{1, 1, "the " + what + " is too long", "write its longest list with an item on each line, after -"}
	}
	root, fault := Parse(short, what, least)
	if fault != nil {
		return nil, fault
	}
	if putBack(root, lists); len(lists) > 0 {
		line := slices.Min(slices.Collect(maps.Keys(lists)))
		return nil, &Fault{line, 1, "not YAML: a list within a text", ""}
	}
	return root, nil
}

// Type is that of any list.
func (*LongList) Type() ast.NodeType { return ast.SequenceType }

// Items are those of a list, in order. Where there is a fault, it is the last that is given, and the item is nil; a fault is told as ParseLong does.
type Items = iter.Seq2[ast.Node, *Fault]

// List gives the items of a list; ok is false for anything else.
func List(n ast.Node) (items Items, ok bool) {
	switch m := n.(type) {
	case *ast.SequenceNode:
		return func(yield func(ast.Node, *Fault) bool) {
			for _, v := range m.Values {
				if !yield(v, nil) {
					return
				}
			}
		}, true
	case *LongList:
		return m.all, true
	}
	return nil, false
}

// all parses piece by piece.
func (l *LongList) all(yield func(ast.Node, *Fault) bool) {
	line, from := l.line, 0
	for from < len(l.items) {
		to := from + 1
		for to < len(l.items) && l.end(to)-l.items[from] <= l.piece {
			to++
		}
		piece := l.src[l.items[from]:l.end(to-1)]
		values, fault := l.parse(piece, line, to-from)
		if fault != nil {
			yield(nil, fault)
			return
		}
		for _, v := range values {
			if !yield(v, nil) {
				return
			}
		}
		line += bytes.Count(piece, []byte("\n"))
		from = to
	}
}

// end is where an item ends.
func (l *LongList) end(item int) int {
	if item+1 < len(l.items) {
		return l.items[item+1]
	}
	return len(l.src)
}

// parse gives the items in a piece that begins at a line.
func (l *LongList) parse(piece []byte, line, items int) ([]ast.Node, *Fault) {
	if len(piece) > MaxWhole {
		return nil, &Fault{line, l.indent + 1, "the item is too long", ""}
	}
	tokens := lexer.Tokenize(string(piece))
	for _, t := range tokens {
		t.Position.Line += line - 1
	}
	f, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, faultOf(err)
	}
	if len(f.Docs) == 1 {
		list, ok := f.Docs[0].Body.(*ast.SequenceNode)
		if ok && !list.IsFlowStyle && list.Start.Position.Column == l.indent+1 && len(list.Values) == items {
			return list.Values, nil
		}
	}
	return nil, &Fault{line, 1, "not YAML: not a list", ""}
}

// split takes the long lists out of a document. short has empty lines in their place, so that all places stay; the lists are
// under the line of their key.
func split(src []byte, b bounds) (short []byte, lists map[int]*LongList) {
	lists = map[int]*LongList{}
	lines := bytes.SplitAfter(src, []byte("\n"))
	short = make([]byte, 0, len(src))
	for i, at := 0, 0; i < len(lines); {
		key := len(lines[i])
		if indent, ok := keyAlone(lines[i]); ok {
			if l, n := listAt(src[at+key:], lines[i+1:], indent); l != nil && len(l.items) >= b.least {
				l.piece = b.piece
				l.line += i + 1
				lists[i+1] = l
				short = append(short, lines[i]...)
				short = append(short, bytes.Repeat([]byte("\n"), n)...)
				for _, line := range lines[i+1 : i+1+n] {
					key += len(line)
				}
				at += key
				i += 1 + n
				continue
			}
		}
		short = append(short, lines[i]...)
		at += key
		i++
	}
	return short, lists
}

// keyAlone says whether a line is a plain key and its colon, and how far it is indented.
func keyAlone(line []byte) (indent int, ok bool) {
	text := bytes.TrimLeft(line, " ")
	indent = len(line) - len(text)
	word, rest, found := bytes.Cut(text, []byte(":"))
	if !found || len(word) == 0 || bytes.ContainsFunc(word, func(c rune) bool { return !strings.ContainsRune(keyLetters, c) }) {
		return 0, false
	}
	rest = bytes.TrimSpace(rest)
	return indent, len(rest) == 0
}

const keyLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// listAt gives the block list that lines begin with, and how many of them it has; nil where there is none. src is the lines' text.
func listAt(src []byte, lines [][]byte, keyIndent int) (l *LongList, n int) {
	at := 0
	for _, line := range lines {
		text := bytes.TrimLeft(line, " ")
		indent := len(line) - len(text)
		dash := bytes.HasPrefix(text, []byte("- "))
		switch {
		case len(bytes.TrimSpace(text)) == 0 || text[0] == '#':
		case (l == nil || indent == l.indent) && emptyItem(text):
			return nil, 0 // the parser gives it to what follows
		case l == nil && dash && indent >= keyIndent:
			l = &LongList{indent: indent, line: n + 1, items: []int{0}, src: src[at:]}
			src, at = l.src, 0
		case l == nil || indent < l.indent || indent == l.indent && !dash:
			return l.cut(at), n
		case indent == l.indent:
			l.items = append(l.items, at)
		}
		at += len(line)
		n++
	}
	return l.cut(at), n
}

// emptyItem says whether a line has a dash and nothing else.
func emptyItem(text []byte) bool {
	rest, dash := bytes.CutPrefix(text, []byte("-"))
	rest = bytes.TrimSpace(rest)
	return dash && (len(rest) == 0 || rest[0] == '#')
}

// cut ends a list.
func (l *LongList) cut(at int) *LongList {
	if l != nil {
		l.src = l.src[:at]
	}
	return l
}

// putBack gives the lists to the keys that they were taken from; what is left in lists has none.
func putBack(n ast.Node, lists map[int]*LongList) {
	if s, ok := n.(*ast.SequenceNode); ok {
		for _, v := range s.Values {
			putBack(v, lists)
		}
	}
	pairs, _ := Pairs(n)
	for _, p := range pairs {
		line := p.Key.GetToken().Position.Line
		null, isNull := p.Value.(*ast.NullNode)
		if l := lists[line]; isNull && l != nil {
			l.NullNode = null
			p.Value = l
			delete(lists, line)
			continue
		}
		putBack(p.Value, lists)
	}
}
