package firewall

import (
	"strings"

	"sluice/firewall/classifier"
	"sluice/firewall/document"
)

// maxNegated bounds the different lists with a ! in a policy. Nearly every address is in each of them, and what is
// known of an address is the list of all that it is in.
const maxNegated = 1000

// ends is a list of nouns while it is read: all that it names, or any where it names nothing, but what it names after a
// !.
type ends struct {
	set, not classifier.AddrSet
	written  []string
	negates  bool
	adds     bool
}

// put adds one noun.
func (e *ends) put(l *loader, n *document.Node, w string) {
	e.written = append(e.written, w)
	noun, negated := strings.CutPrefix(w, "!")
	if negated {
		e.negates, e.not = true, join(l, n, e.not, l.addrs(n, noun))
		return
	}
	e.adds, e.set = true, join(l, n, e.set, l.addrs(n, noun))
}

// addrs gives what the list stands for.
func (e *ends) addrs(l *loader, n *document.Node) classifier.AddrSet {
	if len(e.written) > 1 { // else it is normal already
		e.set, e.not = e.set.Normal(), e.not.Normal()
	}
	if !e.negates {
		return e.set
	}
	key := strings.Join(e.written, "\n")
	if known, ok := l.negated[key]; ok {
		return known
	}
	if !e.adds {
		e.set = classifier.AnyAddr
	}
	left := e.set.Minus(e.not)
	switch l.copied += len(left); {
	case l.Faulty():
	case e.not.IsAny():
		l.Fail(n, "remove !any", "nobody is left: !any takes everybody out")
	case len(l.negated) == maxNegated:
		l.Fail(n, "give what is meant a name in groups, and use that", "more than %d different lists with !", maxNegated)
	case l.copied > maxCopied:
		l.Fail(n, "put fewer addresses after a !", "the lists of addresses and ports are too long, once those in them are written out: at most %d in all", maxCopied)
	}
	l.negated[key] = left
	return left
}
