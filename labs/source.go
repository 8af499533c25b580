package labs

import (
	"fmt"
	"strings"
	"unicode"

	"sluice/firewall"
	"sluice/vswitch/control"
)

// errorAt is what is wrong at one place of a file, from 1: the format is "what is wrong; what to do".
func errorAt(file string, text []byte, line, col int, format string, args ...any) error {
	msg, do, _ := strings.Cut(fmt.Sprintf(format, args...), "; ")
	e := &firewall.Error{File: file, Line: line, Col: max(col, 1), Msg: msg, Do: do}
	if lines := strings.Split(string(text), "\n"); line >= 1 && line <= len(lines) {
		e.Source = printable(lines[line-1])
	}
	return badFile(e)
}

// badFile gives what is wrong in a file its class.
func badFile(err error) error {
	return &control.Error{Class: control.BadInput, Message: err.Error(), Err: err}
}

// maxShown bounds the line in an error, in characters: a file may be one line of many thousands.
const maxShown = 120

// printable is a line fit for a terminal: a tab becomes a space, so that the mark below lines up, and a control character
// a question mark, so that it does not act on the terminal.
func printable(line string) string {
	shown := []rune(strings.TrimRight(line, "\r"))
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

// suggest names the known word that is closest to what was written, for "did you mean"; empty where none is close.
func suggest(written string, known []string) string {
	best, bestAt := "", len(written)/3+1
	for _, k := range known {
		if d := distance(written, k); d <= bestAt {
			best, bestAt = k, d-1
		}
	}
	return best
}

// distance is how many letters must be changed, added, taken away or swapped with their neighbour.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	var before, last, cur [65]int
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
