package document

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/firewall/fault"
)

// Reader takes one document apart and collects what is wrong with it, up to fault.Most. Its methods give zero values
// after an error, and go on: so many errors are told at once.
//
// Where one error would only cause others, a reader reads Apart what stands for itself, and asks Failed before it
// compares.
type Reader struct {
	File string // as messages call it

	src    []byte
	errs   fault.List
	failed bool
	bad    bool // it is no document: nothing else counts
}

// Entry is one key of a mapping, with its value.
type Entry struct {
	Name       string
	Key, Value *Node
}

// NewReader begins to read a file.
func NewReader(file string, src []byte) Reader { return Reader{File: file, src: src} }

// Parse gives the file's one document; nil after an error. what names it, least says what is the least that it needs,
// and most how many bytes it may have.
func (r *Reader) Parse(what, least string, most int) *Node {
	if len(r.src) > most {
		r.FailAt(1, 1, "split it, or say the same with less", "the %s has %d bytes; at most %d are taken", what, len(r.src), most)
		return nil
	}
	root, f := parse(r.src, what, least)
	if f != nil {
		r.errs = nil
		r.FailAt(f.Line, f.Col, f.Do, "%s", f.Msg)
		r.bad = true
	}
	return root
}

// Err is all that is wrong, as a fault.List; nil where nothing is.
func (r *Reader) Err() error {
	if len(r.errs) == 0 {
		return nil
	}
	r.errs.Sort()
	return r.errs
}

// Faulty says whether anything is wrong so far.
func (r *Reader) Faulty() bool { return len(r.errs) > 0 }

// Faults is how many errors are noted so far.
func (r *Reader) Faults() int { return len(r.errs) }

// Failed says whether anything is wrong in the part that is being read.
func (r *Reader) Failed() bool { return r.failed }

// Apart reads a part that stands for itself, and says whether it is well. What is wrong in it does not make its
// neighbours fail.
func (r *Reader) Apart(read func()) (ok bool) {
	before := r.failed
	r.failed = false
	read()
	ok = !r.failed
	r.failed = before
	return ok
}

// Spoil has the part that is being read fail, of which an error is told already.
func (r *Reader) Spoil() { r.failed = true }

// Full says whether no more errors are taken; who asks it saves the work to word them.
func (r *Reader) Full() bool { return len(r.errs) == fault.Most || r.bad }

// FailAt notes an error at a place: what to do, and what is wrong.
func (r *Reader) FailAt(line, col int, do, format string, args ...any) {
	r.failed = true
	if r.Full() {
		return
	}
	e := fault.At(r.File, line, col, string(lineAt(r.src, line)), fmt.Sprintf(format, args...), do)
	if !slices.ContainsFunc(r.errs, func(o *fault.Fault) bool { return *o == *e }) { // what is read twice is told once
		r.errs = append(r.errs, e)
	}
}

// Fail notes an error at a node.
func (r *Reader) Fail(n *Node, do, format string, args ...any) {
	line, col := n.Place()
	r.FailAt(line, col, do, format, args...)
}

// Join takes over what was wrong in another file that belongs to this one.
func (r *Reader) Join(errs fault.List) {
	r.failed = r.failed || len(errs) > 0
	r.errs = append(r.errs, errs[:min(len(errs), fault.Most-len(r.errs))]...)
}

// Entries lists a mapping in the file's order; what names it in errors. A key that stands twice is told, and left out.
func (r *Reader) Entries(n *Node, what string) []Entry {
	if n.Is(Nothing) {
		return nil
	}
	if !n.Is(Map) {
		r.Fail(n, written(n, "write it as key: value"), "%s must be a mapping", what)
		return nil
	}
	seen := make(map[string]int, len(n.Pairs))
	out := make([]Entry, 0, len(n.Pairs))
	for _, p := range n.Pairs {
		name, ok := p.Name()
		if !ok {
			r.Fail(p.Key, written(p.Key, "write a plain word"), "%s has a key that is no plain word", what)
			continue
		}
		if first, twice := seen[name]; twice {
			r.Fail(p.Key, "keep one of them", "%s has %s twice: it is at line %d already", what, name, first)
			continue
		}
		seen[name] = p.Key.Line
		out = append(out, Entry{name, p.Key, p.Value})
	}
	return out
}

// written is what to do about a node that is not of the kind it should be.
func written(n *Node, do string) string {
	if n.Is(Other) {
		return "write it out: anchors, aliases, merges and tags are not taken"
	}
	return do
}

// Fields reads a mapping whose keys are known, one function a key, each apart. The part fails where one of them does.
func (r *Reader) Fields(n *Node, what string, known map[string]func(*Node)) {
	if n.Is(Nothing) {
		r.Fail(n, "write it as key: value", "%s must be a mapping", what)
	}
	before := len(r.errs)
	for _, e := range r.Entries(n, what) {
		if read := known[e.Name]; read != nil {
			r.Apart(func() { read(e.Value) })
		} else if !r.Full() {
			r.Unknown(e, what, slices.Sorted(maps.Keys(known))...)
		}
	}
	if len(r.errs) > before || r.Full() {
		r.Spoil()
	}
}

// Unknown notes a key that nothing reads.
func (r *Reader) Unknown(e Entry, what string, known ...string) {
	r.Fail(e.Key, r.Meant(e.Name, "it takes "+strings.Join(known, ", "), known), "%s has no key %q", what, e.Name)
}

// Meant is what to do about a word that is not known: take the one that is like it, or else what is said.
func (r *Reader) Meant(written, otherwise string, known []string) string {
	if r.Full() {
		return ""
	}
	if s := fault.Suggest(written, known); s != "" {
		return "did you mean " + s + "?"
	}
	return otherwise
}

// List gives a list's items, and none of a nil node; what names it in errors.
func (r *Reader) List(n *Node, what string) []*Node {
	if n == nil {
		return nil
	}
	if n.Kind != List {
		r.Fail(n, written(n, "write it as [one, two], or as lines that begin with -"), "%s must be a list", what)
		return nil
	}
	return n.Items
}

// Items gives a list's items; one plain value or mapping stands for a list of one.
func (r *Reader) Items(n *Node, what string) []*Node {
	switch {
	case n == nil:
		return nil
	case n.Kind == List:
		return n.Items
	case n.Kind == Nothing:
		r.Fail(n, "write a value, or remove the key", "%s is empty", what)
		return nil
	}
	return []*Node{n}
}

// Word reads one plain value as it was written; ok is false after an error.
func (r *Reader) Word(n *Node, what string) (word string, ok bool) {
	switch {
	case n.Is(Word):
		return n.Text, true
	case n.Is(Nothing):
		r.Fail(n, "write a value, or remove the key", "%s is empty", what)
	default:
		r.Fail(n, written(n, "write a single word or number"), "%s must be one plain value", what)
	}
	return "", false
}

// OneOf reads a word out of a few; ok is false after an error.
func (r *Reader) OneOf(n *Node, what string, known ...string) (word string, ok bool) {
	w, ok := r.Word(n, what)
	if ok && !slices.Contains(known, w) {
		r.Fail(n, r.Meant(w, "take one of "+strings.Join(known, ", "), known), "no %s %q", what, w)
		return "", false
	}
	return w, ok
}

// Number reads a whole number between two bounds, both allowed; ok is false after an error.
func (r *Reader) Number(n *Node, what string, lo, hi int) (v int, ok bool) {
	w, ok := r.Word(n, what)
	if !ok {
		return 0, false
	}
	v, err := strconv.Atoi(w)
	if err != nil || v < lo || v > hi {
		r.Fail(n, fmt.Sprintf("write a whole number from %d to %d", lo, hi), "%s cannot be %q", what, w)
		return 0, false
	}
	return v, true
}

// Duration reads a time between two bounds, both allowed; ok is false after an error.
func (r *Reader) Duration(n *Node, what string, lo, hi time.Duration) (d time.Duration, ok bool) {
	w, ok := r.Word(n, what)
	if !ok {
		return 0, false
	}
	d, err := time.ParseDuration(w)
	if err != nil || d < lo || d > hi {
		r.Fail(n, fmt.Sprintf("write a time from %s to %s, like 2s", lo, hi), "%s cannot be %q", what, w)
		return 0, false
	}
	return d, true
}
