// Package document reads one YAML document that somebody wrote by hand: in time and memory that grow with its size and
// no faster, with the place of everything in it, and with what is wrong told so that its writer can mend it. What the
// document means is its readers' business.
package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"

	"sluice/firewall/fault"
)

// MaxNesting bounds how deep a document may nest: its readers recurse.
const MaxNesting = 32

// limits are the parser's own. Aliases cost nothing: nobody follows them.
var limits = loaderlimits.New(loaderlimits.DepthValue(MaxNesting), loaderlimits.AliasNone())

// Kind says what a node is.
type Kind uint8

// The kinds of node.
const (
	Nothing Kind = iota // a key without a value, ~, or null
	Word                // one plain value, as it was written
	List
	Map
	Other // what no reader takes: an anchor and what it names, an alias, whatever has a tag
)

// Node is one value of a document. A nil Node is what is not there: it is of no kind, and its place is the beginning.
type Node struct {
	Line, Col int // where it begins, from 1
	Kind      Kind
	Flow      bool   // in brackets, not in lines
	name      bool   // a word that may be a key: quoted, or no number, no truth and no date
	Text      string // of a Word
	Items     []*Node
	Pairs     []Pair
}

// Pair is one key of a mapping with its value, in the document's order. Keys that stand twice are the reader's
// business.
type Pair struct{ Key, Value *Node }

// Is says whether a node is of a kind.
func (n *Node) Is(k Kind) bool { return n != nil && n.Kind == k }

// Place is where a node begins, from 1.
func (n *Node) Place() (line, col int) {
	if n == nil {
		return 1, 1
	}
	return n.Line, n.Col
}

// Name is the pair's key where it is a plain word; ok is false for anchors, merges and whatever else YAML takes for a
// key.
func (p Pair) Name() (name string, ok bool) {
	if !p.Key.Is(Word) || !p.Key.name {
		return "", false
	}
	return p.Key.Text, true
}

// flaw is why a document cannot be read: where, what is wrong, and what to do about it. Who reads the file knows its
// name.
func flaw(line, col int, msg, do string) *fault.Fault {
	return &fault.Fault{Line: line, Col: col, Msg: msg, Do: do}
}

// parse gives the one document in src, or a fault. what names it, least says what is the least that it needs.
func parse(src []byte, what, least string) (*Node, *fault.Fault) {
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	src = bytes.ReplaceAll(src, []byte("\r\n"), []byte("\n"))
	if f := letters(src); f != nil {
		return nil, f
	}
	in, err := yaml.NewLoader(bytes.NewReader(src), yaml.WithPlugin(limits))
	if err != nil {
		return nil, flaw(1, 1, err.Error(), "")
	}
	var root, second yaml.Node
	switch err := in.Load(&root); {
	case errors.Is(err, io.EOF):
		return nil, empty(what, least)
	case err != nil:
		return nil, faultOf(err, src, what)
	}
	switch err := in.Load(&second); {
	case err == nil:
		return nil, flaw(max(second.Line, 1), max(second.Column, 1), "a second document; a "+what+" is one", "remove the line ---")
	case !errors.Is(err, io.EOF):
		return nil, faultOf(err, src, what)
	}
	n := nodeOf(root.Content[0])
	if n.Kind == Nothing {
		return nil, empty(what, least)
	}
	return n, nil
}

func empty(what, least string) *fault.Fault { return flaw(1, 1, "the "+what+" is empty", least) }

// nodeOf takes over what the parser made. Depth is bounded by the parser.
func nodeOf(y *yaml.Node) *Node {
	n := &Node{Line: y.Line, Col: y.Column, Flow: y.Style&yaml.FlowStyle != 0}
	switch {
	case y.Kind == yaml.ScalarNode && y.Anchor == "" && y.Style&yaml.TaggedStyle != 0 && y.Value == "" && len(y.Tag) > 1 && !strings.HasPrefix(y.Tag, "!!"):
		n.Kind, n.Text = Word, y.Tag // !lan, as people write a negation: to YAML it is a tag of nothing
	case y.Kind == yaml.AliasNode || y.Anchor != "" || y.Style&yaml.TaggedStyle != 0:
		n.Kind = Other
	case y.Kind == yaml.SequenceNode:
		n.Kind = List
		n.Items = make([]*Node, len(y.Content))
		for i, c := range y.Content {
			n.Items[i] = nodeOf(c)
		}
	case y.Kind == yaml.MappingNode:
		n.Kind = Map
		n.Pairs = make([]Pair, len(y.Content)/2)
		for i := range n.Pairs {
			n.Pairs[i] = Pair{nodeOf(y.Content[2*i]), nodeOf(y.Content[2*i+1])}
		}
	case y.Tag == "!!null":
		n.Kind = Nothing
	default:
		n.Kind, n.Text, n.name = Word, y.Value, y.Tag == "!!str"
	}
	return n
}

// letters finds what is no text, and the line breaks that only some programs take for such: places must mean to a
// reader what they mean to an editor.
func letters(src []byte) *fault.Fault {
	if bytes.HasPrefix(src, []byte("\xff\xfe")) || bytes.HasPrefix(src, []byte("\xfe\xff")) {
		return flaw(1, 1, "the file is UTF-16", "save it as UTF-8")
	}
	line, begin := 1, 0
	at := func(i int, msg, do string) *fault.Fault {
		return flaw(line, len(bytes.Runes(src[begin:i]))+1, msg, do)
	}
	for i, size := 0, 0; i < len(src); i += size {
		var c rune
		switch c, size = decode(src[i:]); {
		case c == '\n':
			line, begin = line+1, i+1
		case c == '\r':
			return at(i, "a carriage return within the line", "end lines with a newline")
		case c == 0x85 || c == 0x2028 || c == 0x2029:
			return at(i, fmt.Sprintf("U+%04X, which is a line break to YAML only", c), "end lines with a newline")
		case c < 0:
			return at(i, fmt.Sprintf("the byte %#02x, which is no UTF-8", src[i]), "save the file as UTF-8")
		case c < ' ' && c != '\t' || c >= 0x7f && c < 0xa0 || c == 0xfeff || c == 0xfffe || c == 0xffff:
			return at(i, fmt.Sprintf("the control character U+%04X", c), "remove it")
		}
	}
	return nil
}
