package check

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Answer compares what the student answered. Exactly one of Value, OneOf, Set, Matches, Number and Recorded says with
// what.
type Answer struct {
	Name      string
	Value     string
	OneOf     []string
	Set       []string // all of these, in any order
	Matches   *regexp.Regexp
	Number    *float64
	InUnits   bool // Number was written with a unit
	Recorded  *Recorded
	Tolerance Tolerance // of Number, and of a figure in Recorded
}

// Tolerance is how far from a figure an answer may be: a number, or a share of the figure.
type Tolerance struct {
	By    float64
	Share bool
}

// ParseTolerance reads 0.5, 20ms or 5%.
func ParseTolerance(s string) (t Tolerance, err error) {
	t.Share = strings.HasSuffix(strings.TrimSpace(s), "%")
	t.By, err = ParseFigure(s)
	if err == nil && t.By < 0 {
		err = strconv.ErrRange
	}
	return t, err
}

func (t Tolerance) takes(got, want float64) bool {
	by := t.By
	if t.Share {
		by *= math.Abs(want)
	}
	return math.Abs(got-want) <= by
}

// Recorded is what is measured when the answer is judged, so that nobody types it into a lab file.
type Recorded struct {
	Counter *Counter
	Walk    *Walk
	Receipt *Receipt
	Run     *Run   // the first line that it writes
	What    string // of a walk: one of WalkFacts; of a receipt: one of ReceiptFields
}

// WalkFacts are what can be recorded of a walk.
var WalkFacts = []string{"verdict", "rule", "reason", "point", "points", "crosses", "reaches"}

func (c *Answer) String() string { return "the answer " + c.Name }

func (c *Answer) judge(s *scene) Finding {
	got, ok := s.answers[c.Name]
	switch {
	case !ok && s.options.Submission:
		return Finding{Reason: fmt.Sprintf("answers.yaml has no answer %s", c.Name), Facts: []string{c.Name + "-missing"}, final: true}
	case !ok:
		return Finding{Reason: fmt.Sprintf("there is no answer %s yet", c.Name), Look: fmt.Sprintf("sluice lab answer %s VALUE", c.Name), Facts: []string{c.Name + "-missing"}, final: true}
	}
	text := strings.Join(got, ", ")
	good, err := c.right(s, text, got)
	switch {
	case err != nil:
		return Finding{Reason: fmt.Sprintf("the answer %s cannot be compared: %v", c.Name, err), doubt: true}
	case !good: // what would be right is not said
		return Finding{Reason: fmt.Sprintf("the answer %s is %q, %s", c.Name, text, c.wrong(text)), Facts: []string{c.Name + "-wrong"}, final: c.Recorded == nil, doubt: c.Recorded.measured()}
	}
	return passed()
}

// Fixed says whether an answer is right, where that needs no reading of a lab; known is false where it does.
func (c *Answer) Fixed(list []string) (right, known bool) {
	if c.Recorded != nil {
		return false, false
	}
	right, _ = c.right(nil, strings.Join(list, ", "), list)
	return right, true
}

// standIns are words that stand for two names and give neither.
var standIns = []string{"both", "both words", "both of them"}

// NamesNothing says whether an answer stands for two names and gives neither. Where such a word is the right answer, it
// names something.
func (c *Answer) NamesNothing(list []string) bool {
	if len(list) != 1 || !slices.Contains(standIns, plain(list[0])) {
		return false
	}
	right, _ := c.Fixed(list)
	return !right
}

var firstNumber = regexp.MustCompile(`[0-9]+(\.[0-9]+)?`)

// wrong says of an answer what is wrong with it, as far as that does not say what would be right.
func (c *Answer) wrong(got string) string {
	_, err := strconv.ParseFloat(strings.TrimSuffix(got, "%"), 64)
	if c.NamesNothing([]string{got}) {
		return "which names nothing: give the two words themselves"
	}
	switch number := firstNumber.FindString(got); {
	case c.Number == nil || c.InUnits || err == nil:
		return "which is not right"
	case number != "":
		return "which is no plain number: give it without words and without a unit, such as " + number
	}
	return "which is no number"
}

func (c *Answer) right(s *scene, got string, list []string) (bool, error) {
	switch {
	case c.Matches != nil:
		return c.Matches.MatchString(got), nil
	case c.Number != nil:
		v, err := ParseFigure(got)
		return err == nil && c.Tolerance.takes(v, *c.Number), nil
	case c.OneOf != nil:
		return slices.ContainsFunc(c.OneOf, func(w string) bool { return same(w, got) }), nil
	case c.Set != nil:
		return sameSet(c.Set, list), nil
	case c.Recorded != nil:
		want, err := c.Recorded.value(s)
		if err != nil {
			return false, err
		}
		if c.Recorded.What == "reaches" {
			return sameSet([]string{want}, list), nil
		}
		if c.Recorded.Counter.isShare() {
			got = asShare(got)
		}
		return c.meets(got, want), nil
	}
	return same(c.Value, got), nil
}

// meets compares with what was recorded: figures within the tolerance, anything else as words, which may come in any
// order.
func (c *Answer) meets(got, want string) bool {
	w, err := ParseFigure(want)
	if err != nil {
		return sameSet([]string{want}, []string{got})
	}
	g, err := ParseFigure(got)
	return err == nil && c.Tolerance.takes(g, w)
}

// asShare reads a number above 1 as percent: 50 is 50%. One up to 1 is a share as it stands: 0.5 is 50%, too.
func asShare(got string) string {
	if v, err := strconv.ParseFloat(strings.TrimSpace(got), 64); err == nil && v > 1 {
		return got + "%"
	}
	return got
}

// same compares words as people write them.
func same(a, b string) bool { return plain(a) == plain(b) }

// plain is a word in one spelling: without capitals, with spaces for hyphens, without an article in front. An a before
// a single letter stays, as it may be a word of the answer.
func plain(s string) string {
	words := strings.Fields(strings.NewReplacer("-", " ", "_", " ").Replace(strings.ToLower(s)))
	if len(words) > 1 && (words[0] == "the" || words[0] == "an" || words[0] == "a" && len(words[1]) > 1) {
		words = words[1:]
	}
	return strings.Join(words, " ")
}

// sameSet compares two lists in any order. One string may hold several words: commas and "and" divide them, or spaces
// do. Where only single letters are wanted, nothing need stand between them.
func sameSet(want, got []string) bool {
	parts := func(list []string, divides func(rune) bool) (out []string) {
		for _, w := range list {
			for _, part := range strings.FieldsFunc(and.ReplaceAllString(w, ","), divides) {
				if part = plain(part); part != "" {
					out = append(out, part)
				}
			}
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	comma := func(r rune) bool { return r == ',' }
	space := func(r rune) bool { return r == ',' || unicode.IsSpace(r) }
	all := parts(want, comma)
	if slices.Equal(all, parts(got, comma)) || slices.Equal(all, parts(got, space)) {
		return true
	}
	letters := !slices.ContainsFunc(all, func(w string) bool { return len(w) > 1 })
	return letters && len(got) == 1 && slices.Equal(all, parts(strings.Split(got[0], ""), space))
}

// and stands between the last two words of a list.
var and = regexp.MustCompile(`(?i)[\s,]\s*and\s`)

// measured says whether the right answer is a figure of what was sent, which a busy machine may change.
func (r *Recorded) measured() bool { return r != nil && r.Walk == nil }

func (r *Recorded) value(s *scene) (string, error) {
	switch {
	case r.Counter != nil:
		v, err := r.Counter.value(s)
		return figure(v), err
	case r.Walk != nil:
		return r.walked(s)
	case r.Receipt != nil:
		found, err := s.receipts(r.Receipt)
		if err != nil || len(found) == 0 {
			return "", fmt.Errorf("no such change was made yet: %v", err)
		}
		return figure(ReceiptFields[r.What](found[len(found)-1])), nil
	}
	out, err := r.Run.run(s.ctx, s.lab)
	if err == nil && out.Code != 0 {
		err = fmt.Errorf("%s ended with %d%s", r.Run, out.Code, said(out))
	}
	first, _, _ := strings.Cut(strings.TrimSpace(out.Stdout), "\n")
	return first, err
}

func (r *Recorded) walked(s *scene) (string, error) {
	res, err := s.lab.Trace(s.ctx, r.Walk.request())
	if err != nil {
		return "", err
	}
	switch r.What {
	case "rule":
		return res.Rule, nil
	case "reason":
		return res.Reason, nil
	case "point":
		return lastPoint(res), nil
	case "crosses":
		if res.Crosses {
			return "yes", nil
		}
		return "no", nil
	case "reaches":
		return strings.Join(res.Reaches, ","), nil
	case "points":
		n := 0
		for _, step := range res.Steps {
			if step.What == "verdict" {
				n++
			}
		}
		return strconv.Itoa(n), nil
	}
	return res.Verdict, nil
}
