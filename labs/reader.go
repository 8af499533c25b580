package labs

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"sluice/firewall/document"
)

// reader walks the YAML of one file. It keeps the first error only: one clear error is worth more than ten that follow
// from it. After an error every method returns zero values, so callers look at err once, at the end.
type reader struct {
	file string
	text []byte
	err  error
}

// parse gives the file's one document; nil after an error.
func (r *reader) parse() ast.Node {
	root, fault := document.Parse(r.text, "lab file", "see the schema for what a lab needs")
	if fault != nil {
		r.err = errorAt(r.file, r.text, fault.Line, fault.Col, "%s; %s", fault.Msg, fault.Do)
		return nil
	}
	return root
}

// fail keeps an error at a node, unless there is one already.
func (r *reader) fail(n ast.Node, format string, args ...any) {
	if r.err != nil {
		return
	}
	line, col := document.Place(n)
	r.err = errorAt(r.file, r.text, line, col, format, args...)
}

// entry is one key of a mapping, with its value.
type entry struct {
	name       string
	key, value ast.Node
}

// entries lists a mapping in the order of the file. what names it in errors.
func (r *reader) entries(n ast.Node, what string) []entry {
	pairs, ok := document.Pairs(n)
	if !ok {
		r.fail(n, "%s must be a mapping; write it as key: value", what)
		return nil
	}
	var out []entry
	for _, v := range pairs {
		name, ok := document.Name(v)
		if !ok {
			r.fail(v.Key, "anchors, merges and keys that are not plain words are not taken; write the key out")
			return nil
		}
		out = append(out, entry{name, v.Key, v.Value})
	}
	return out
}

// fields reads a mapping whose keys are known: one function a key.
func (r *reader) fields(n ast.Node, what string, known map[string]func(ast.Node)) {
	seen := map[string]bool{}
	for _, e := range r.entries(n, what) {
		read := known[e.name]
		switch {
		case r.err != nil:
			return
		case read == nil:
			r.unknown(e, what, known)
		case seen[e.name]:
			r.fail(e.key, "%s has %s twice; keep one", what, e.name)
		default:
			seen[e.name] = true
			read(e.value)
		}
	}
}

func (r *reader) unknown(e entry, what string, known map[string]func(ast.Node)) {
	words := make([]string, 0, len(known))
	for k := range known {
		words = append(words, k)
	}
	slices.Sort(words)
	if s := suggest(e.name, words); s != "" {
		r.fail(e.key, "%s has no key %q; did you mean %s?", what, e.name, s)
		return
	}
	r.fail(e.key, "%s has no key %q; it takes %s", what, e.name, strings.Join(words, ", "))
}

// items lists a sequence; what names it in errors.
func (r *reader) items(n ast.Node, what string) []ast.Node {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		r.fail(n, "%s must be a list; write it as [one, two]", what)
		return nil
	}
	return s.Values
}

// word reads a scalar as it was written.
func (r *reader) word(n ast.Node, what string) string {
	w, ok := document.Word(n)
	if _, empty := n.(*ast.NullNode); empty {
		r.fail(n, "%s is empty; write a value or remove the key", what)
	} else if !ok {
		r.fail(n, "%s must be one plain value; write it out, without lists, mappings or anchors", what)
	}
	return w
}

// oneOf reads a word out of a few.
func (r *reader) oneOf(n ast.Node, what string, known ...string) string {
	w := r.word(n, what)
	if r.err == nil && !slices.Contains(known, w) {
		hint := "it is one of " + strings.Join(known, ", ")
		if s := suggest(w, known); s != "" {
			hint = "did you mean " + s + "?"
		}
		r.fail(n, "no %s %q; %s", what, w, hint)
	}
	return w
}

// number reads a whole number between two bounds, both allowed.
func (r *reader) number(n ast.Node, what string, lo, hi int) int {
	w := r.word(n, what)
	v, err := strconv.Atoi(w)
	if r.err == nil && (err != nil || v < lo || v > hi) {
		r.fail(n, "%s is %q; it must be a whole number from %d to %d", what, w, lo, hi)
	}
	return v
}

// name reads a name that the user chose, of a lab or of what the course has.
func (r *reader) name(n ast.Node, what string) string {
	return r.named(n, what, nameLetters, "a-z, 0-9 and -")
}

// topologyName reads the name of a guest or of a segment. It may be as they stand on diagrams: R1, srv_1.
func (r *reader) topologyName(n ast.Node, what string) string {
	return r.named(n, what, nameLetters+"ABCDEFGHIJKLMNOPQRSTUVWXYZ_", "letters, 0-9, - and _")
}

func (r *reader) named(n ast.Node, what, letters, are string) string {
	w := r.word(n, what)
	if r.err == nil {
		if fault := nameFault(w, letters); fault != "" {
			r.fail(n, "%s %q %s; use %s, at most %d of them, beginning with a letter", what, w, fault, are, maxName)
		}
	}
	return w
}

// addr reads an IP address of one family.
func (r *reader) addr(n ast.Node, what string, is6 bool) netip.Addr {
	w := r.word(n, what)
	a, err := netip.ParseAddr(w)
	if r.err == nil && (err != nil || a.Zone() != "" || a.Is4In6() || a.Is6() != is6) {
		r.fail(n, "%s is %q, which is no %s address; write one like %s", what, w, family(is6), example(is6).Addr().Next())
	}
	return a
}

// prefix reads a subnet of one family that can be given to guests.
func (r *reader) prefix(n ast.Node, what string, is6 bool) netip.Prefix {
	w := r.word(n, what)
	p, err := netip.ParsePrefix(w)
	a := p.Addr()
	lo, hi := 8, 31 // of a link with two ends, RFC 3021
	if is6 {
		lo, hi = 16, 127 // RFC 6164
	}
	switch {
	case r.err != nil:
	case err != nil || a.Is4In6() || a.Is6() != is6:
		r.fail(n, "%s is %q, which is no %s subnet; write one like %s", what, w, family(is6), example(is6))
	case p.Masked() != p:
		r.fail(n, "%s %s has bits behind its length; write %s", what, w, p.Masked())
	case p.Bits() < lo || p.Bits() > hi:
		r.fail(n, "%s %s has a length of %d; take one from /%d to /%d", what, w, p.Bits(), lo, hi)
	case a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() || !is6 && a.As4()[0] >= 224:
		r.fail(n, "%s %s cannot be given to guests; take a private one like %s", what, w, example(is6))
	}
	return p
}

func family(is6 bool) string {
	if is6 {
		return "IPv6"
	}
	return "IPv4"
}

func example(is6 bool) netip.Prefix {
	if is6 {
		return netip.MustParsePrefix("fd00:10:1::/64")
	}
	return netip.MustParsePrefix("10.10.1.0/24")
}

// maxName is how long a name may be. It is no device name (those are numbered), but namespaces and hostnames use it.
const maxName = 32

// nameLetters are what every name may have. The name of a lab has no others: what it is called on the machine (onMachine) goes on with _.
const nameLetters = "abcdefghijklmnopqrstuvwxyz0123456789-"

// nameFault says what keeps a word from being a name of some letters; empty where nothing does.
func nameFault(w, letters string) string {
	switch {
	case w == "":
		return "is empty"
	case len(w) > maxName:
		return "is too long"
	case strings.ContainsFunc(w, func(c rune) bool { return !strings.ContainsRune(letters, c) }):
		return "has a letter that names do not take"
	case strings.ContainsRune("0123456789-_", rune(w[0])):
		return "does not begin with a letter"
	case w[len(w)-1] == '-':
		return "ends with -"
	case w == "any":
		return "is the policy's word for everybody"
	}
	return ""
}

// bounded reads a word of at most so many bytes.
func (r *reader) bounded(n ast.Node, what string, most int) string {
	w := r.word(n, what)
	if r.err == nil && len(w) > most {
		r.fail(n, "%s has %d bytes; at most %d are taken", what, len(w), most)
	}
	return w
}

// maxWord bounds the words of a list, in bytes.
const maxWord = 1000

// words reads a list of words; a single one may stand without brackets.
func (r *reader) words(n ast.Node, what string, most int) []string {
	if _, list := n.(*ast.SequenceNode); !list {
		return []string{r.bounded(n, what, maxWord)}
	}
	var out []string
	for _, v := range r.items(n, what) {
		out = append(out, r.bounded(v, what, maxWord))
	}
	if len(out) > most {
		r.fail(n, "%s has %d words; at most %d are taken", what, len(out), most)
	}
	return out
}

// once fails where something was said before.
func (r *reader) once(n ast.Node, before bool, what string) {
	if before {
		r.fail(n, "%s stands twice; keep one", what)
	}
}

// duration reads a time between two bounds, both allowed.
func (r *reader) duration(n ast.Node, what string, lo, hi time.Duration) time.Duration {
	w := r.word(n, what)
	d, err := time.ParseDuration(w)
	if r.err == nil && (err != nil || d < lo || d > hi) {
		r.fail(n, "%s is %q; it must be a time from %s to %s, like 2s", what, w, lo, hi)
	}
	return d
}
