package fault

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Safe says whether a terminal shows a character and does nothing else: no control character, no end of line, none that
// turns the direction of what follows, and none that cannot be seen.
func Safe(c rune) bool { return unicode.IsGraphic(c) }

// IsSafe says whether a text has nothing but safe characters, and those that may be there also.
func IsSafe(s, also string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return !Safe(c) && !strings.ContainsRune(also, c) })
}

// Line is what somebody else wrote, a guest or the author of a file, as one line for a terminal or a log: of at most so
// many characters, and with a question mark for whatever is not safe. A tab is a blank: a mark below the line must line
// up.
func Line(s string, most int) string {
	s, _ = safe(strings.TrimRight(s, "\r\n"), most, func(c rune) rune {
		if c == '\t' {
			return ' '
		}
		return '?'
	})
	return s
}

// maxClean is how many characters Clean shows: a screen full.
const maxClean = 4096

// Clean is Line for a cell of a table, or another part of a line.
func Clean(s string) string { return Line(s, maxClean) }

// Lines is Line for a text that keeps its ends of lines and tabs. Three dots say that it was cut.
func Lines(s string, most int) string {
	s, cut := safe(s, most, func(c rune) rune {
		if c == '\n' || c == '\t' {
			return c
		}
		return '?'
	})
	if cut {
		s += "..."
	}
	return s
}

// safe takes at most so many characters, and puts another in the place of each that is not safe. It reads no more than
// that.
func safe(s string, most int, instead func(rune) rune) (out string, cut bool) {
	var b strings.Builder
	left := most
	for _, c := range s {
		if left == 0 {
			return b.String(), true
		}
		if left--; c == utf8.RuneError || !Safe(c) { // the first is also what is no UTF-8
			c = instead(c)
		}
		b.WriteRune(c)
	}
	return b.String(), false
}
