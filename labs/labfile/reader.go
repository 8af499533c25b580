package labfile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sluice/firewall/document"
	"sluice/firewall/fault"
)

// reader takes one file of a lab apart. Of what hangs together it tells the first error only, of which others may be
// consequences: a key, a guest, a check. What stands for itself is read Apart.
type reader struct {
	document.Reader
	text []byte
}

func newReader(file string, text []byte) *reader {
	return &reader{document.NewReader(file, text), text}
}

// parse gives the file's one document; nil after an error.
func (r *reader) parse() *document.Node {
	return r.Parse("lab file", "see the schema for what a lab needs", maxFile)
}

// failure is what is wrong so far, as bad input.
func (r *reader) failure() error {
	if err := r.Err(); err != nil {
		return &fault.Error{Class: fault.BadInput, Message: err.Error(), Err: err}
	}
	return nil
}

// fail notes an error, unless there is one in this part already. The format is "what is wrong; what to do".
func (r *reader) fail(n *document.Node, format string, args ...any) {
	if !r.Failed() {
		msg, do, _ := strings.Cut(fmt.Sprintf(format, args...), "; ")
		r.Fail(n, do, "%s", msg)
	}
}

// word reads a scalar as it was written.
func (r *reader) word(n *document.Node, what string) string {
	w, _ := r.Word(n, what)
	return w
}

// oneOf reads a word out of a few.
func (r *reader) oneOf(n *document.Node, what string, known ...string) string {
	w, _ := r.OneOf(n, what, known...)
	return w
}

// number reads a whole number between two bounds, both allowed.
func (r *reader) number(n *document.Node, what string, lo, hi int) int {
	v, _ := r.Number(n, what, lo, hi)
	return v
}

// duration reads a time between two bounds, both allowed.
func (r *reader) duration(n *document.Node, what string, lo, hi time.Duration) time.Duration {
	d, _ := r.Duration(n, what, lo, hi)
	return d
}

// name reads a name that the user chose, of a lab or of what the course has.
func (r *reader) name(n *document.Node, what string) string {
	return r.named(n, what, nameLetters, "a-z, 0-9 and -")
}

// topologyName reads the name of a guest or of a segment. It may be as they stand on diagrams: R1, srv_1.
func (r *reader) topologyName(n *document.Node, what string) string {
	if n.Is(document.Word) && slices.Contains(commandWords, strings.ToLower(n.Text)) {
		r.fail(n, "%s %q is a word of the commands; choose another", what, n.Text)
		return n.Text
	}
	return r.named(n, what, nameLetters+"ABCDEFGHIJKLMNOPQRSTUVWXYZ_", "letters, 0-9, - and _")
}

func (r *reader) named(n *document.Node, what, letters, are string) string {
	w := r.word(n, what)
	if !r.Failed() {
		if wrong := nameFault(w, letters); wrong != "" {
			r.fail(n, "%s %q %s; use %s, at most %d of them, beginning with a letter", what, w, wrong, are, maxName)
		}
	}
	return w
}

// addr reads an IP address of one family.
func (r *reader) addr(n *document.Node, what string, is6 bool) netip.Addr {
	w := r.word(n, what)
	a, err := netip.ParseAddr(w)
	if !r.Failed() && (err != nil || a.Zone() != "" || a.Is4In6() || a.Is6() != is6) {
		r.fail(n, "%s is %q, which is no %s address; write one like %s", what, w, family(is6), example(is6).Addr().Next())
	}
	return a
}

// prefix reads a subnet of one family that can be given to guests.
func (r *reader) prefix(n *document.Node, what string, is6 bool) netip.Prefix {
	w := r.word(n, what)
	p, err := netip.ParsePrefix(w)
	a := p.Addr()
	lo, hi := 8, 31 // of a link with two ends, RFC 3021
	if is6 {
		lo, hi = 16, 127 // RFC 6164
	}
	switch {
	case r.Failed():
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

// nameLetters are what every name may have. The name of a lab has no others: what it is called on the machine
// (onMachine) goes on with _.
const nameLetters = "abcdefghijklmnopqrstuvwxyz0123456789-"

// IsName says whether a word can be a lab's name.
func IsName(w string) bool { return nameFault(w, nameLetters) == "" }

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

// commandWords mean something else where a guest is named: in the flow of a trace, among the ports of stats, or to
// every machine.
var commandWords = []string{"from", "to", "port", "tcp", "udp", "icmp", "switch", "localhost"}

// bounded reads a word of at most so many bytes.
func (r *reader) bounded(n *document.Node, what string, most int) string {
	w := r.word(n, what)
	if !r.Failed() && len(w) > most {
		r.fail(n, "%s has %d bytes; at most %d are taken", what, len(w), most)
	}
	return w
}

// maxWord bounds the words of a list, in bytes.
const maxWord = 1000

// words reads a list of words; a single one may stand without brackets.
func (r *reader) words(n *document.Node, what string, most int) []string {
	if !n.Is(document.List) {
		return []string{r.bounded(n, what, maxWord)}
	}
	var out []string
	for _, v := range r.List(n, what) {
		out = append(out, r.bounded(v, what, maxWord))
	}
	if len(out) > most {
		r.fail(n, "%s has %d words; at most %d are taken", what, len(out), most)
	}
	return out
}

// choice counts how many of some keys a mapping has, of which it may have only one.
type choice int

// key makes the reader of such a key count it.
func (c *choice) key(read func(*document.Node)) func(*document.Node) {
	return func(v *document.Node) { *c++; read(v) }
}

// once fails where something was said before.
func (r *reader) once(n *document.Node, before bool, what string) {
	if before {
		r.fail(n, "%s stands twice; keep one", what)
	}
}
