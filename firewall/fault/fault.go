// Package fault says what is wrong so that a person can mend it: the place of a fault in a file and what to do about
// it, the class of an error, which is a command's exit code, and text that a terminal may show whoever wrote it. All
// floors tell their errors by it, and it knows none of them. What is right or wrong is not its business.
package fault

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong in a file that a user wrote: where, what, and what to do. It crosses sockets as it
// is.
type Fault struct {
	File   string `json:"file"`
	Line   int    `json:"line" doc:"From 1"`
	Col    int    `json:"col" doc:"From 1, in characters"`
	Source string `json:"source,omitempty" doc:"The line of the file"`
	Msg    string `json:"message" doc:"What is wrong"`
	Do     string `json:"do,omitempty" doc:"What to do"`
}

// Error gives FILE:LINE:COL: MESSAGE, as compilers write it, the source line with a caret below it, and what to do.
func (f *Fault) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: %s", f.File, f.Line, f.Col, f.Msg)
	if f.Source != "" {
		fmt.Fprintf(&b, "\n    %s", f.Source)
		if f.Col <= maxSource {
			fmt.Fprintf(&b, "\n    %s^", strings.Repeat(" ", max(f.Col-1, 0)))
		}
	}
	if f.Do != "" {
		fmt.Fprintf(&b, "\n    %s", f.Do)
	}
	return b.String()
}

// The bounds of what a fault shows, in characters: a line of a file, or a word in a message, may be the whole file.
const (
	maxSource = 160
	maxMsg    = 400
	maxDo     = 800
)

// At makes a fault whose parts are safe to show: bounded, and of one line each.
func At(file string, line, col int, source, msg, do string) *Fault {
	return &Fault{
		File: file, Line: line, Col: max(col, 1),
		Source: Line(source, maxSource), Msg: Line(msg, maxMsg), Do: Line(do, maxDo),
	}
}

// Most is how many faults are told at once: more would hide the first ones, and often follow from them.
const Most = 20

// List is everything wrong in one file and in those that belong to it.
type List []*Fault

func (l List) Error() string {
	s := make([]string, 0, len(l)+1)
	for _, f := range l[:min(len(l), Most)] {
		s = append(s, f.Error())
	}
	if len(l) >= Most {
		s = append(s, fmt.Sprintf("there may be more: the first %d are told", Most))
	}
	return strings.Join(s, "\n")
}

// Unwrap gives errors.As the single faults.
func (l List) Unwrap() []error {
	s := make([]error, len(l))
	for i, f := range l {
		s[i] = f
	}
	return s
}

// Sort orders the faults by file, as the files were read, and in a file by place.
func (l List) Sort() {
	rank := map[string]int{}
	for i, f := range l {
		if _, known := rank[f.File]; !known {
			rank[f.File] = i
		}
	}
	slices.SortStableFunc(l, func(a, b *Fault) int {
		return cmp.Or(rank[a.File]-rank[b.File], a.Line-b.Line, a.Col-b.Col)
	})
}

// In gives the faults that an error tells of; none where it is not about a file.
func In(err error) List {
	var known *Error
	if errors.As(err, &known) && len(known.Faults) > 0 {
		return known.Faults
	}
	var list List
	if errors.As(err, &list) {
		return list
	}
	var one *Fault
	if errors.As(err, &one) {
		return List{one}
	}
	return nil
}
