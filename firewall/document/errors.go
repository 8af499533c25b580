package document

import (
	"cmp"
	"fmt"
	"slices"
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

// Errors is everything wrong in one file, in the order of its lines.
type Errors []*Error

// MaxErrors is how many errors are told at once.
const MaxErrors = 20

func (l Errors) Error() string {
	s := make([]string, len(l), len(l)+1)
	for i, e := range l {
		s[i] = e.Error()
	}
	if len(l) == MaxErrors {
		s = append(s, fmt.Sprintf("there may be more: the first %d are told", MaxErrors))
	}
	return strings.Join(s, "\n")
}

// Unwrap gives errors.As the single errors.
func (l Errors) Unwrap() []error {
	s := make([]error, len(l))
	for i, e := range l {
		s[i] = e
	}
	return s
}

// sort orders them by file, as the files were read, and in a file by place.
func (l Errors) sort() {
	rank := map[string]int{}
	for i, e := range l {
		if _, known := rank[e.File]; !known {
			rank[e.File] = i
		}
	}
	slices.SortStableFunc(l, func(a, b *Error) int {
		return cmp.Or(rank[a.File]-rank[b.File], a.Line-b.Line, a.Col-b.Col)
	})
}

// The bounds of what is shown, in characters: a line, or a word in a message, may be the whole file.
const (
	maxSource  = 160
	maxMessage = 400
)

// Printable is a line that is safe to show: short, and without what would act on a terminal.
func Printable(line string) string { return printable(line, maxSource) }

func printable(line string, most int) string {
	if len(line) > 4*most {
		line = line[:4*most] // of so many bytes there are characters enough
	}
	s := []rune(strings.TrimRight(line, "\r"))
	s = s[:min(len(s), most)]
	for i, c := range s {
		switch {
		case c == '\t':
			s[i] = ' ' // the mark below must line up
		case c < ' ' || c >= 0x7f && c < 0xa0 || c == 0x202e || c == 0x2028 || c == 0x2029:
			s[i] = '?'
		}
	}
	return string(s)
}

// Suggest gives the one of the known words that was probably meant; empty where none is near.
func Suggest(written string, known []string) string {
	best, bestAt := "", max(1, len(written)/3) // of a short word more would be another word
	for _, k := range known {
		if len(k)-len(written) > bestAt || len(written)-len(k) > bestAt {
			continue
		}
		if d := distance(written, k); d <= bestAt {
			best, bestAt = k, d-1
		}
	}
	return best
}

// maxNear is the longest word in bytes for which there are suggestions: the work grows with the square.
const maxNear = 64

// distance is how many letters must be changed, added, taken away or swapped with their neighbour.
func distance(a, b string) int {
	if len(a) > maxNear || len(b) > maxNear {
		return maxNear
	}
	var before, last, cur [maxNear + 1]int
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(last[j]+1, cur[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, last = last, cur
	}
	return last[len(b)]
}
