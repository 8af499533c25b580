package labfile

import (
	"maps"
	"slices"
	"strconv"

	"sluice/firewall/document"
	"sluice/labs/check"
)

func (l *labReader) answer(n *document.Node) *check.Answer {
	a := &check.Answer{}
	var right choice
	var tolerance *document.Node
	l.Fields(n, "answer", map[string]func(*document.Node){
		"name":    func(v *document.Node) { a.Name = l.name(v, "the answer's name") },
		"value":   right.key(func(v *document.Node) { a.Value = l.bounded(v, "value", MaxAnswer) }),
		"one-of":  right.key(func(v *document.Node) { a.OneOf = l.words(v, "one-of", maxPicks) }),
		"set":     right.key(func(v *document.Node) { a.Set = l.words(v, "set", maxPicks) }),
		"matches": right.key(func(v *document.Node) { a.Matches = l.regex(v, "matches") }),
		"number": right.key(func(v *document.Node) {
			a.Number = l.figure(v, "number")
			_, err := strconv.ParseFloat(l.word(v, "number"), 64)
			a.InUnits = err != nil
		}),
		"recorded":  right.key(func(v *document.Node) { a.Recorded = l.recorded(v) }),
		"tolerance": func(v *document.Node) { tolerance = v; a.Tolerance = l.tolerance(v) },
	})
	switch {
	case l.Failed():
	case a.Name == "" || right != 1:
		l.fail(n, "answer needs name and one of value, one-of, set, matches, number, recorded; as in {name: hops, value: 1}")
	case a.Value == "" && a.Matches == nil && a.Number == nil && a.Recorded == nil && len(a.OneOf)+len(a.Set) == 0:
		l.fail(n, "nothing is a right answer %s; name one, as in {name: hops, value: 1}", a.Name)
	case tolerance != nil && a.Number == nil && a.Recorded == nil:
		l.fail(tolerance, "a tolerance is of a number, or of what is recorded; remove it")
	}
	return a
}

func (l *labReader) figure(n *document.Node, what string) *float64 {
	w := l.word(n, what)
	v, err := check.ParseFigure(w)
	if !l.Failed() && err != nil {
		l.fail(n, "%s is %q, which is no number; write one like 18, 2.5ms or 90%%", what, w)
	}
	return &v
}

func (l *labReader) tolerance(n *document.Node) check.Tolerance {
	w := l.word(n, "tolerance")
	t, err := check.ParseTolerance(w)
	if !l.Failed() && err != nil {
		l.fail(n, "tolerance is %q; write how far an answer may be off, like 0.5, 20ms or 5%%", w)
	}
	return t
}

// recorded reads what is measured when an answer is judged.
func (l *labReader) recorded(n *document.Node) *check.Recorded {
	r := &check.Recorded{}
	var of choice
	var what *document.Node
	l.Fields(n, "recorded", map[string]func(*document.Node){
		"counter": of.key(func(v *document.Node) { r.Counter = l.counter(v) }),
		"walk":    of.key(func(v *document.Node) { r.Walk = l.walk(v) }),
		"receipt": of.key(func(v *document.Node) { r.Receipt = l.receipt(v) }),
		"run":     of.key(func(v *document.Node) { r.Run = l.run(v) }),
		"what":    func(v *document.Node) { what = v },
	})
	switch {
	case l.Failed():
	case of != 1:
		l.fail(n, "recorded needs one of counter, walk, receipt and run")
	case (r.Walk != nil || r.Receipt != nil) != (what != nil):
		l.fail(n, "recorded needs what with walk or receipt, and only there; as in {walk: {flow: ...}, what: verdict}")
	case r.Walk != nil:
		r.What = l.oneOf(what, "what", check.WalkFacts...)
	case r.Receipt != nil:
		r.What = l.oneOf(what, "what", slices.Sorted(maps.Keys(check.ReceiptFields))...)
	}
	return r
}
