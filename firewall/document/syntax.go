package document

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"sluice/firewall/fault"
)

// decode is utf8.DecodeRune, with -1 for what is no UTF-8.
func decode(b []byte) (c rune, size int) {
	if c = rune(b[0]); c < utf8.RuneSelf {
		return c, 1
	}
	if c, size = utf8.DecodeRune(b); c == utf8.RuneError && size <= 1 {
		return -1, 1
	}
	return c, size
}

// restUnread says why one error of syntax is told alone: what the lines behind it mean hangs on how it is mended.
const restUnread = "; then the rest is read, and told"

// faultOf tells in words of ours why the parser gave up. It says where it was and where that which it was in began; the
// one of the two that has to be mended is told.
func faultOf(err error, src []byte, what string) *fault.Fault {
	var e *yaml.LoadError
	if !errors.As(err, &e) {
		return flaw(1, 1, "not YAML: "+err.Error(), "")
	}
	at, began := placed(e.Mark.Line, e.Mark.Column), placed(e.ContextMark.Line, e.ContextMark.Column)
	says := func(p place, msg, do string) *fault.Fault {
		return flaw(p.line, p.col, "not YAML: "+msg, do+restUnread)
	}
	is := func(part string) bool { return strings.Contains(e.Message, part) }
	switch {
	case is("max depth"):
		return flaw(at.line, at.col, fmt.Sprintf("nests deeper than %d", MaxNesting), "a "+what+" never needs that")
	case is("tab character"):
		at = tabFrom(src, at)
		fallthrough
	case is("cannot start any token") && charAt(src, at) == '\t':
		return says(at, "a tab, where only spaces indent", "replace the tab by spaces")
	case is("cannot start any token"):
		return says(at, fmt.Sprintf("a word cannot begin with %c", charAt(src, at)), "put the whole word into quotes")
	case is("expected ',' or ']'"), is("expected ',' or '}'"):
		return unclosed(src, at, began, says)
	case is("node content"):
		if open := bytes.LastIndexAny(src, "[{"); charAt(src, at) == 0 && open >= 0 {
			return unclosed(src, at, placeOf(src, open), says)
		}
		return says(at, "a value is missing", "write one, or remove the comma")
	case is("end of stream"), is("document indicator"):
		return says(began, "the quote that begins here does not end", "end it with the same quote")
	case is("mapping values are not allowed"):
		return says(at, "a second key in the line, or one below a value", "put the value into quotes if the colon belongs to it, else begin a line as far in as its neighbours")
	case is("did not find expected key"), is("did not find expected '-'"), is("expected <document start>"):
		return says(at, "this does not fit what is above it", "indent it as far as its neighbours; brackets and quotes must end where they should")
	case is("could not find expected ':'"):
		return says(began, "a key without a colon", "write key: value")
	case is("unknown anchor"):
		return flaw(at.line, at.col, "an alias of nothing", "write it out: anchors and aliases are not taken")
	}
	return says(at, e.Message, "look at the indentation, brackets and quotes here and above")
}

type place struct{ line, col int }

func placed(line, col int) place { return place{max(line, 1), max(col, 1)} }

// unclosed tells of a bracket: by itself where the file ends before it does, else by what stands in its way.
func unclosed(src []byte, at, began place, says func(place, string, string) *fault.Fault) *fault.Fault {
	open := charAt(src, began)
	shut := map[rune]string{'[': "]", '{': "}"}[open]
	if shut == "" {
		return says(at, "a bracket is missing", "write it")
	}
	if charAt(src, at) == 0 {
		return says(began, fmt.Sprintf("the %c that begins here does not end", open), "end it with "+shut)
	}
	return says(at, fmt.Sprintf("a comma or %s must be here, for the %c at %d:%d", shut, open, began.line, began.col), "close that with "+shut)
}

// lineAt is a line of a text, from 1, without its end. It looks from the beginning: nobody asks for many.
func lineAt(src []byte, line int) []byte {
	for ; line > 1 && src != nil; line-- {
		_, rest, more := bytes.Cut(src, []byte("\n"))
		if src = rest; !more {
			return nil
		}
	}
	src, _, _ = bytes.Cut(src, []byte("\n"))
	return src
}

// charAt is what stands at a place; 0 behind the end of a line or of the text.
func charAt(src []byte, p place) rune {
	for i, c := range []rune(string(lineAt(src, p.line))) {
		if i == p.col-1 {
			return c
		}
	}
	if p.line <= bytes.Count(src, []byte("\n")) {
		return '\n'
	}
	return 0
}

// tabFrom finds the next tab from a place on: the parser says where the value before it began.
func tabFrom(src []byte, p place) place {
	begin := 0
	for line := 1; line < p.line; line++ {
		begin += bytes.IndexByte(src[begin:], '\n') + 1
	}
	tab := bytes.IndexByte(src[begin:], '\t')
	if tab < 0 {
		return p
	}
	return placeOf(src, begin+tab)
}

// placeOf is where a byte stands.
func placeOf(src []byte, at int) place {
	before := src[:at]
	last := bytes.LastIndexByte(before, '\n') + 1
	return place{1 + bytes.Count(before, []byte("\n")), 1 + utf8.RuneCount(before[last:])}
}
