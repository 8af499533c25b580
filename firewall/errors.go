package firewall

import (
	"fmt"
	"strings"
)

// Error is one thing wrong in a file that a user wrote: where, what, and what to do.
type Error struct {
	File      string
	Line, Col int    // from 1
	Source    string // the source line
	Msg       string // what is wrong
	Do        string // what to do; may be empty
}

// Error gives FILE:LINE:COL, the message, the source line with a caret below it, and what to do.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: %s", e.File, e.Line, e.Col, e.Msg)
	if e.Source != "" {
		fmt.Fprintf(&b, "\n    %s\n    %s^", e.Source, strings.Repeat(" ", max(e.Col-1, 0)))
	}
	if e.Do != "" {
		fmt.Fprintf(&b, "\n    %s", e.Do)
	}
	return b.String()
}

// ErrorList is everything wrong in one file, in the order of its lines.
type ErrorList []*Error

func (l ErrorList) Error() string {
	s := make([]string, len(l))
	for i, e := range l {
		s[i] = e.Error()
	}
	return strings.Join(s, "\n")
}

// Unwrap gives errors.As the single errors.
func (l ErrorList) Unwrap() []error {
	s := make([]error, len(l))
	for i, e := range l {
		s[i] = e
	}
	return s
}
