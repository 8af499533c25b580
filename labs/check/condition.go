package check

import (
	"fmt"
	"strconv"
	"strings"
)

// Condition is what a number must be: an operator and a figure.
type Condition struct {
	Op    string // =, !=, <, <=, >, >=
	Value float64
	text  string
	bound string // Value as it was written, with its unit
}

var operators = []string{"<=", ">=", "!=", "<", ">", "="} // the longer ones first

// units are what may stand behind a figure; times are in milliseconds.
var units = []struct {
	name   string
	factor float64
}{{"ms", 1}, {"s", 1000}, {"%", 0.01}, {"", 1}}

// ParseCondition reads a condition: 0, ">= 1", "<=50ms", "> 90%". A figure alone must be met exactly.
func ParseCondition(s string) (Condition, error) {
	c := Condition{Op: "=", text: strings.TrimSpace(s)}
	rest := c.text
	for _, op := range operators {
		if after, ok := strings.CutPrefix(rest, op); ok {
			c.Op, rest = op, strings.TrimSpace(after)
			break
		}
	}
	v, err := ParseFigure(rest)
	c.Value, c.bound = v, rest
	if err != nil {
		return c, fmt.Errorf("%q is no condition: write a number, or one like \">= 1\" or \"<=50ms\"", s)
	}
	return c, nil
}

// ParseFigure reads a number with its unit.
func ParseFigure(s string) (float64, error) {
	s = strings.TrimSpace(s)
	for _, u := range units {
		if digits, ok := strings.CutSuffix(s, u.name); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
			if err == nil && (v-v != 0) { // an infinity or no number
				err = strconv.ErrRange
			}
			return v * u.factor, err
		}
	}
	return 0, strconv.ErrSyntax
}

// Holds says whether a number meets the condition.
func (c Condition) Holds(v float64) bool {
	switch c.Op {
	case "!=":
		return v != c.Value
	case "<":
		return v < c.Value
	case "<=":
		return v <= c.Value
	case ">":
		return v > c.Value
	case ">=":
		return v >= c.Value
	}
	return v == c.Value
}

func (c Condition) String() string { return c.text }

// words is the condition as a sentence ends with it: at least 1.
func (c Condition) words() string {
	before := map[string]string{"!=": "another number than ", "<": "less than ", "<=": "at most ", ">": "more than ", ">=": "at least "}
	return before[c.Op] + c.bound
}

// many is words for a count of things: "none" where only 0 meets the condition.
func (c Condition) many() string {
	if c.Holds(0) && !c.Holds(1) {
		return "none"
	}
	return c.words()
}

// counted is a number of things: no flow, 1 flow, 2 flows.
func counted(n float64, what string) string {
	switch n {
	case 0:
		return "no " + what
	case 1:
		return "1 " + what
	}
	return figure(n) + " " + what + "s"
}

// are is the verb for so many things.
func are(n float64) string {
	if n == 0 || n == 1 {
		return "is"
	}
	return "are"
}

// figure writes a number for people.
func figure(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
