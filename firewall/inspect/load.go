package inspect

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"sluice/firewall/document"
	"sluice/vnic/frame"
)

// The bounds of a signature file.
const (
	// MaxSource is the longest signature file in bytes: one that the agent takes in one message, whatever is in it.
	MaxSource     = 128 << 10
	maxSignatures = 512
	minString     = 3   // bytes: shorter ones are everywhere
	maxString     = 512 // bytes
	maxStrings    = 16 << 10
	maxRegexes    = 32
	maxRegex      = 512 // letters
	maxPorts      = 16
	// maxBehind is how many bytes before a segment a regular expression is looked for in; so many bytes of a match are
	// found however they are cut.
	maxBehind = 4 << 10
)

var names = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,62}$`)

// Default looks for the EICAR test file only.
func Default() *Config {
	c := begin()
	c.finish()
	return c
}

func begin() *Config {
	c := &Config{}
	for a, k := range anomalyKinds {
		c.anomalies[a] = k.verdict
	}
	c.signatures = []signature{{name: "eicar", bytes: EICAR(), verdict: frame.VerdictReset}}
	return c
}

// Load reads a signature file; an empty one is Default. file is for messages only. The error is fault.List.
func Load(file string, src []byte) (*Config, error) {
	if len(src) == 0 {
		return Default(), nil
	}
	l := &loader{Reader: document.NewReader(file, src), c: begin(), seen: map[string]int{"eicar": 0}}
	if root := l.Parse("signature file", "remove it: EICAR is looked for without one", MaxSource); root != nil {
		l.Fields(root, "the file", map[string]func(*document.Node){"signatures": l.signatures, "anomalies": l.anomalies})
	}
	if err := l.Err(); err != nil {
		return nil, err
	}
	l.c.finish()
	return l.c, nil
}

// loader fills a Config from a file.
type loader struct {
	document.Reader
	c       *Config
	seen    map[string]int // line of each name
	strings int            // bytes of all strings
	regexes int
}

// fail notes an error, unless there is one in this part already, of which it may be a consequence.
func (l *loader) fail(n *document.Node, do, format string, args ...any) {
	if !l.Failed() {
		l.Fail(n, do, format, args...)
	}
}

func (l *loader) word(n *document.Node, what string) string {
	w, _ := l.Word(n, what)
	return w
}

func (l *loader) says(n *document.Node, what string, pass bool) frame.Verdict {
	w := l.word(n, what)
	verdict, known := verdictNames[w]
	do := "take one of drop, reset, quarantine"
	if pass {
		do += ", pass"
	}
	if !known || verdict == frame.VerdictPass && !pass {
		l.fail(n, do, "%s cannot be %q", what, w)
	}
	return verdict
}

func (l *loader) anomalies(n *document.Node) {
	known := map[string]func(*document.Node){}
	for a, k := range anomalyKinds {
		known[k.name] = func(n *document.Node) { l.c.anomalies[a] = l.says(n, k.name, k.pass) }
	}
	l.Fields(n, "anomalies", known)
}

func (l *loader) signatures(n *document.Node) {
	for i, m := range l.List(n, "signatures") {
		if i == maxSignatures {
			l.Fail(m, fmt.Sprintf("at most %d are taken", maxSignatures), "too many signatures")
			return
		}
		l.Apart(func() { l.signature(m) })
	}
}

// signature reads one entry of the list.
func (l *loader) signature(n *document.Node) {
	s := signature{verdict: frame.VerdictReset}
	var how, ports *document.Node
	l.Fields(n, "a signature", map[string]func(*document.Node){
		"name":     func(v *document.Node) { s.name = l.name(v) },
		"text":     func(v *document.Node) { how = l.one(how, v); s.bytes = []byte(l.word(v, "text")); l.length(v, s.bytes) },
		"hex":      func(v *document.Node) { how = l.one(how, v); s.bytes = l.hex(v); l.length(v, s.bytes) },
		"regex":    func(v *document.Node) { how = l.one(how, v); s.regex = l.regex(v) },
		"action":   func(v *document.Node) { s.verdict = l.says(v, "action", false) },
		"protocol": func(v *document.Node) { s.proto = l.protocol(v) },
		"port":     func(v *document.Node) { ports = v; s.ports = l.ports(v) },
	})
	switch {
	case l.Failed():
	case s.name == "":
		l.fail(n, "add name: my-signature", "a signature has no name")
	case how == nil:
		l.fail(n, "add text, hex or regex", "signature %s looks for nothing", s.name)
	case ports != nil && s.proto != 0 && s.proto != frame.ProtoTCP && s.proto != frame.ProtoUDP:
		l.fail(ports, "remove it", "this protocol has no ports")
	default:
		l.c.signatures = append(l.c.signatures, s)
	}
}

// one fails where a signature looks for two things.
func (l *loader) one(before, n *document.Node) *document.Node {
	if before != nil {
		l.fail(n, "write two signatures", "a signature is one of text, hex and regex")
	}
	return n
}

func (l *loader) name(n *document.Node) string {
	w := l.word(n, "name")
	line, _ := n.Place()
	first, taken := l.seen[w]
	switch {
	case l.Failed():
	case !names.MatchString(w):
		l.fail(n, "use letters, digits, - _ and ., beginning with a letter", "%q cannot be the name of a signature", w)
	case taken && first == 0:
		l.fail(n, "choose another name", "%s is looked for without being written here", w)
	case taken:
		l.fail(n, "choose another name", "%s is at line %d already", w, first)
	}
	l.seen[w] = line
	return w
}

func (l *loader) length(n *document.Node, b []byte) {
	l.strings += len(b)
	switch {
	case l.Failed():
	case len(b) < minString || len(b) > maxString:
		l.fail(n, fmt.Sprintf("write %d to %d", minString, maxString), "the signature has %d bytes", len(b))
	case l.strings > maxStrings:
		l.fail(n, fmt.Sprintf("at most %d are taken", maxStrings), "the strings together have too many bytes")
	}
}

func (l *loader) hex(n *document.Node) []byte {
	w := l.word(n, "hex")
	b, err := hex.DecodeString(strings.ReplaceAll(w, " ", ""))
	if err != nil {
		l.fail(n, "write two digits a byte, such as 'de ad be ef'", "%q is not hexadecimal", w)
	}
	return b
}

func (l *loader) regex(n *document.Node) *regexp.Regexp {
	w := l.word(n, "regex")
	l.regexes++
	switch {
	case l.Failed():
		return nil
	case len(w) > maxRegex:
		l.fail(n, fmt.Sprintf("at most %d are taken", maxRegex), "the regular expression has %d letters", len(w))
		return nil
	case l.regexes > maxRegexes:
		l.fail(n, fmt.Sprintf("at most %d are taken; text and hex cost less", maxRegexes), "too many regular expressions")
		return nil
	}
	parsed, err := syntax.Parse(w, syntax.Perl)
	switch {
	case err != nil:
		l.fail(n, "see https://pkg.go.dev/regexp/syntax", "not a regular expression: %v", err)
		return nil
	case anchored(parsed):
		l.fail(n, `leave out ^, $, \A, \z and \b`, "a stream has no lines and no ends to anchor a regular expression to")
		return nil
	}
	r, err := regexp.Compile(w)
	if err != nil || r.Match(nil) {
		l.fail(n, "write what must be there", "the regular expression finds nothing, which is everywhere")
		return nil
	}
	return r
}

// anchored says whether an expression asks what lies before or after it.
func anchored(r *syntax.Regexp) bool {
	switch r.Op {
	case syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return true
	}
	return slices.ContainsFunc(r.Sub, anchored)
}

func (l *loader) protocol(n *document.Node) uint8 {
	w := l.word(n, "protocol")
	p := map[string]uint8{"tcp": frame.ProtoTCP, "udp": frame.ProtoUDP, "icmp": frame.ProtoICMP}[w]
	if p == 0 {
		l.fail(n, "take one of tcp, udp, icmp", "no protocol %q", w)
	}
	return p
}

// ports reads 80, 8000-8010, or a list of them.
func (l *loader) ports(n *document.Node) (out []portRange) {
	list := l.Items(n, "port")
	if len(list) == 0 || len(list) > maxPorts {
		l.fail(n, fmt.Sprintf("write 1 to %d", maxPorts), "port lists %d ports", len(list))
	}
	for _, m := range list {
		w := l.word(m, "port")
		from, to, isRange := strings.Cut(w, "-")
		if !isRange {
			to = from
		}
		lo, err1 := strconv.ParseUint(from, 10, 16)
		hi, err2 := strconv.ParseUint(to, 10, 16)
		if err1 != nil || err2 != nil || lo == 0 || hi < lo {
			l.fail(m, "write a number from 1 to 65535, or a range such as 8000-8010", "%q is no port", w)
			return nil
		}
		out = append(out, portRange{uint16(lo), uint16(hi)})
	}
	return out
}
