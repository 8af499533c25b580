package fault

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func at(line int) *Fault { return At("p.yaml", line, 1, "", "wrong", "") }

func TestFault(t *testing.T) {
	f := At("p.yaml", 3, 5, "\tto: \x1b[2Jx", "no guest \x07", "write\none")
	want := "p.yaml:3:5: no guest ?\n     to: ?[2Jx\n        ^\n    write?one"
	if got := f.Error(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	long := At("p.yaml", 1, 1<<20, strings.Repeat("x", 1<<20), strings.Repeat("y", 1<<20), strings.Repeat("z", 1<<20))
	if n := len(long.Error()); n > 2000 {
		t.Errorf("a fault of a long line has %d bytes", n)
	}
}

// TestListIsTold: the faults stand in their files' order, and where there are as many as are collected, that is said.
func TestListIsTold(t *testing.T) {
	l := List{{File: "b", Line: 2, Col: 1}, {File: "a", Line: 1, Col: 1}, {File: "b", Line: 1, Col: 9}, {File: "b", Line: 1, Col: 2}}
	l.Sort()
	var places []string
	for _, f := range l {
		places = append(places, fmt.Sprintf("%s%d:%d", f.File, f.Line, f.Col))
	}
	if got := strings.Join(places, " "); got != "b1:2 b1:9 b2:1 a1:1" {
		t.Error(got)
	}
	var many List
	for i := range Most + 5 {
		many = append(many, at(i+1))
	}
	for _, c := range []struct {
		l           List
		told, other int
	}{{many[:3], 3, 0}, {many[:Most-1], Most - 1, 0}, {many[:Most], Most, 1}, {many, Most, 1}} {
		said := strings.Split(c.l.Error(), "\n")
		if len(said) != c.told+c.other || c.other > 0 && !strings.Contains(said[Most], "there may be more") {
			t.Errorf("of %d: %q", len(c.l), said)
		}
	}
}

// TestClassOf: an error's class is what it says, or what it is about.
func TestClassOf(t *testing.T) {
	for _, c := range []struct {
		err    error
		class  Class
		faults int
	}{
		{errors.New("no"), Failed, 0},
		{Errorf(BadInput, "no %d", 1), BadInput, 0},
		{fmt.Errorf("try: %w", Errorf(Lacks, "no QEMU")), Lacks, 0},
		{fmt.Errorf("not built: %w", errors.ErrUnsupported), BadInput, 0},
		{&Error{Class: 77, Message: "no"}, Failed, 0},
		{at(3), BadInput, 1},
		{fmt.Errorf("load: %w", List{at(3), at(4)}), BadInput, 2},
		{Errorf(Failed, "load: %w", at(3)), Failed, 1},
		{&Error{Class: BadInput, Faults: List{at(1), at(2)}}, BadInput, 2},
	} {
		if ClassOf(c.err) != c.class || len(In(c.err)) != c.faults {
			t.Errorf("%v: class %d and %d faults; want %d and %d", c.err, ClassOf(c.err), len(In(c.err)), c.class, c.faults)
		}
	}
}

// TestText: whatever a guest or a file says, a terminal only shows it.
func TestText(t *testing.T) {
	for _, c := range []struct{ name, in, line, lines string }{
		{"words", "Grüße, 世界 😀", "Grüße, 世界 😀", "Grüße, 世界 😀"},
		{"a colour", "\x1b[31mred", "?[31mred", "?[31mred"},
		{"C1", "\u009b31m", "?31m", "?31m"},
		{"a title, a bell, a delete", "\x1b]0;x\x07\x7f", "?]0;x??", "?]0;x??"},
		{"lines", "a\r\nb\tc\n", "a??b c", "a?\nb\tc\n"},
		{"line breaks of Unicode", "a\u2028b\u2029c\u0085d", "a?b?c?d", "a?b?c?d"},
		{"turned", "\u202etxt\u2066x\u200f", "?txt?x?", "?txt?x?"},
		{"not seen", "\ufeffa\u200bb\u00adc", "?a?b?c", "?a?b?c"},
		{"no UTF-8", "a\xff\xc3", "a??", "a??"},
		{"cut", strings.Repeat("ä", 30), strings.Repeat("ä", 20), strings.Repeat("ä", 20) + "..."},
	} {
		if got := Line(c.in, 20); got != c.line {
			t.Errorf("%s: a line %q, want %q", c.name, got, c.line)
		}
		if got := Lines(c.in, 20); got != c.lines {
			t.Errorf("%s: lines %q, want %q", c.name, got, c.lines)
		}
		if IsSafe(c.line, "") != (Line(c.line, 99) == c.line) {
			t.Errorf("%s: %q", c.name, c.line)
		}
	}
	if IsSafe("a\tb", "\n") || !IsSafe("a\tb\n", "\n\t") || IsSafe("\u202e", "\n\t") {
		t.Error("IsSafe")
	}
}
