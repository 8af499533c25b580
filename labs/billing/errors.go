package billing

import (
	"fmt"
	"strings"
	"unicode"
)

// Error is what is wrong at one place of a file that a user wrote: where, what, and what to do.
type Error struct {
	File      string
	Line, Col int    // from 1
	Source    string // the source line
	Msg, Do   string
}

// Error gives FILE:LINE:COL, the message, the source line with a caret below it, and what to do.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: %s", e.File, e.Line, e.Col, e.Msg)
	if e.Source != "" {
		fmt.Fprintf(&b, "\n    %s", e.Source)
		if e.Col <= maxShown {
			fmt.Fprintf(&b, "\n    %s^", strings.Repeat(" ", e.Col-1))
		}
	}
	if e.Do != "" {
		fmt.Fprintf(&b, "\n    %s", e.Do)
	}
	return b.String()
}

// maxShown bounds the line in an error, in characters: a file may be one line of many thousands.
const maxShown = 120

// printable is text fit for a terminal: a control character becomes a question mark, so that it does not act there.
func printable(s string) string {
	shown := []rune(strings.TrimRight(s, "\r"))
	shown = shown[:min(len(shown), maxShown)]
	for i, c := range shown {
		switch {
		case c == '\t':
			shown[i] = ' '
		case !unicode.IsPrint(c):
			shown[i] = '?'
		}
	}
	return string(shown)
}
