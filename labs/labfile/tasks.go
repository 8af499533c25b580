package labfile

import (
	"slices"
	"strings"
	"time"

	"sluice/firewall"
	"sluice/firewall/document"
	"sluice/labs/check"
)

// The bounds of tasks.
const (
	maxTasks  = 64
	maxChecks = 64 // of one task, with those that run in several placements counted for each
	maxHints  = 16 // of one task
	maxTheirs = 32
	maxText   = 2000 // bytes of a hint
	maxWait   = 2 * time.Minute
)

func (l *labReader) tasks(n *document.Node) {
	items := l.List(n, "tasks")
	if len(items) > maxTasks {
		l.fail(n, "%d tasks; at most %d are taken", len(items), maxTasks)
	}
	for _, v := range items {
		l.Apart(func() { l.lab.Tasks = append(l.lab.Tasks, l.task(v)) })
	}
}

func (l *labReader) task(n *document.Node) (t check.Task) {
	var id, checks, hints, needs *document.Node
	l.Fields(n, "a task", map[string]func(*document.Node){
		"id":     func(v *document.Node) { t.ID, id = l.name(v, "the task's id"), v },
		"title":  func(v *document.Node) { t.Title = l.bounded(v, "title", maxWord) },
		"points": func(v *document.Node) { t.Points = l.number(v, "points", 0, 1000) },
		"needs":  func(v *document.Node) { t.Needs, needs = l.words(v, "needs", maxTasks), v },
		"check":  func(v *document.Node) { checks = v },
		"hints":  func(v *document.Node) { hints = v },
		"wait":   func(v *document.Node) { t.Wait = l.duration(v, "wait", 0, maxWait) },
		"hold":   func(v *document.Node) { t.Hold = l.duration(v, "hold", 0, maxWait) },
	})
	switch {
	case l.Failed():
		return t
	case id == nil:
		l.fail(n, "a task has no id; add id: baseline")
	case checks == nil:
		l.fail(n, "task %s checks nothing; add check: [...]", t.ID)
	case slices.ContainsFunc(l.lab.Tasks, func(o check.Task) bool { return o.ID == t.ID }):
		l.fail(id, "there is a task %s already; choose another id", t.ID)
	}
	for _, need := range t.Needs {
		if !slices.ContainsFunc(l.lab.Tasks, func(o check.Task) bool { return o.ID == need }) {
			l.fail(needs, "no task %q stands before this one; needs names earlier tasks", need)
		}
	}
	before := l.Faults()
	for _, v := range l.List(checks, "check") {
		l.Apart(func() { t.Checks = append(t.Checks, l.check(v)...) })
		if len(t.Checks) > maxChecks {
			l.fail(v, "task %s has more than %d checks; split it", t.ID, maxChecks)
		}
	}
	if l.Faults() > before {
		l.Spoil() // the checks tell what a hint may name
	}
	if !l.Failed() && len(t.Checks) == 0 {
		l.fail(checks, "task %s checks nothing; add a check", t.ID)
	}
	if hints != nil {
		l.hints(hints, &t)
	}
	return t
}

func (l *labReader) hints(n *document.Node, t *check.Task) {
	items := l.List(n, "hints")
	if len(items) > maxHints {
		l.fail(n, "%d hints; at most %d are taken", len(items), maxHints)
	}
	for _, v := range items {
		var h check.Hint
		var when *document.Node
		l.Fields(v, "a hint", map[string]func(*document.Node){
			"when":  func(v *document.Node) { h.When, when = l.bounded(v, "when", maxWord), v },
			"after": func(v *document.Node) { h.After = l.number(v, "after", 0, 100) },
			"cost":  func(v *document.Node) { h.Cost = l.number(v, "cost", 0, 1000) },
			"text":  func(v *document.Node) { h.Text = l.bounded(v, "text", maxText) },
		})
		switch {
		case l.Failed():
			return
		case h.Text == "":
			l.fail(v, "a hint says nothing; add text: ...")
		case h.When != "" && !slices.Contains(t.Facts(), h.When):
			l.fail(when, "no check of the task can observe %q; it may be one of %s", h.When, strings.Join(t.Facts(), ", "))
		}
		t.Hints = append(t.Hints, h)
	}
}

// check reads one check; one with several placements becomes as many.
func (l *labReader) check(n *document.Node) (out []check.Check) {
	var c check.Check
	var where []firewall.Placement
	var kinds []document.Entry
	readers := l.kinds()
	known := map[string]func(*document.Node){
		"id":        func(v *document.Node) { c.ID = l.name(v, "the check's id") },
		"placement": func(v *document.Node) { where = l.placements(v) },
	}
	for kind, read := range readers {
		known[kind] = func(v *document.Node) {
			kinds = append(kinds, document.Entry{Name: kind, Value: v})
			if !l.Failed() && len(kinds) == 1 {
				c.Kind = read(v)
			}
		}
	}
	l.Fields(n, "a check", known)
	if !l.Failed() && len(kinds) != 1 {
		words := make([]string, 0, len(readers))
		for kind := range readers {
			words = append(words, kind)
		}
		slices.Sort(words)
		l.fail(n, "a check looks at one thing, this one at %d; write one of %s", len(kinds), strings.Join(words, ", "))
	}
	if l.Failed() {
		return nil
	}
	c.Line, _ = n.Place()
	if _, own := c.Kind.(*check.Speed); own && where != nil {
		l.fail(n, "speed says itself in which placements it is measured; remove the placement beside it")
		return nil
	}
	if where == nil {
		return []check.Check{c}
	}
	for i, p := range where {
		one := c
		one.Placement = &p
		if i > 0 {
			one.Kind = readers[kinds[0].Name](kinds[0].Value) // what is watched for it is its own
		}
		out = append(out, one)
	}
	return out
}

// placements reads one placement or a list of them.
func (l *labReader) placements(n *document.Node) (out []firewall.Placement) {
	for _, w := range l.words(n, "placement", 8) {
		p, err := firewall.ParsePlacement(w)
		switch {
		case l.Failed():
			return nil
		case err != nil:
			l.fail(n, "%v; %s", err, didYouMean(w))
		case slices.Contains(out, p):
			l.fail(n, "placement %s stands twice; keep one", p)
		case p != firewall.Off && p != firewall.Fast && l.lab.Appliance == nil:
			l.fail(n, "placement %s needs an appliance; add appliance: {name: fw}", p)
		}
		out = append(out, p)
	}
	return out
}

// onePlacement reads a single placement; nil after an error.
func (l *labReader) onePlacement(n *document.Node) *firewall.Placement {
	list := l.placements(n)
	if !l.Failed() && len(list) != 1 {
		l.fail(n, "write one placement")
	}
	if l.Failed() {
		return nil
	}
	return &list[0]
}

// theirs reads which files of the lab are the student's.
func (l *labReader) theirs(n *document.Node) {
	l.lab.Theirs = l.words(n, "student", maxTheirs)
	for _, name := range l.lab.Theirs {
		if !l.Failed() && (name == labFile || name == answersFile || !validFile(name)) {
			l.fail(n, "student names %q; name files in the lab's folder, beside %s and %s, which a student may always hand in", name, labFile, answersFile)
		}
	}
}
