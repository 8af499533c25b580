package firewall

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"sluice/firewall/document"
	"sluice/vnic/frame"
)

// names says what a group, service or rule may be called.
var names = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,62}$`)

// noun is one group or service of a policy, for Lint and for errors.
type noun struct {
	name      string
	line, col int
	value     ast.Node // while loading
	used      bool
	addrs     addrSet // groups
	svc       svcSet  // services
	state     uint8   // groups: not yet, being, or already resolved
}

const (
	unresolved = iota
	resolving
	resolved
)

// loader fills a Policy from a file.
type loader struct {
	reader
	p        *Policy
	inv      map[string]addrSet // guests and segments
	vnics    map[string][]frame.PortID
	groups   map[string]*noun
	services map[string]*noun
	rulesAt  map[string]int // the line of each rule
	known    string         // see knownNouns
	copied   int            // see join
}

// maxCopied bounds how many addresses, subnets and ports are copied out of lists into other lists: 128 MB. A list that stands alone is not copied.
const maxCopied = 4 << 20

// join adds what a noun stands for to a list, of which it may be all.
func join[S ~[]E, E any](l *loader, n ast.Node, list, more S) S {
	if list == nil {
		return slices.Clip(more)
	}
	before := l.copied
	l.copied += max(0, len(more)-1)
	if cap(list) == len(list) { // it is not this list's own, or has no room
		l.copied += max(0, len(list)-1)
	}
	switch {
	case l.copied <= maxCopied:
		return append(list, more...)
	case before <= maxCopied:
		l.fail(n, "put fewer lists into other lists", "the lists of addresses and ports are too long, once those in them are written out: at most %d in all", maxCopied)
	}
	return nil // the policy is refused
}

// Load reads a policy. file is for messages only; every noun must be in inv. The error is an ErrorList: each error has
// a line and a column, and says what to do.
func Load(file string, src []byte, inv *Inventory) (*Policy, error) {
	p, err := load(file, src, inv, true)
	if err != nil && len(src) <= document.MaxWhole {
		p, err = load(file, src, inv, false) // read as a whole, it is known better what is wrong
	}
	return p, err
}

func load(file string, src []byte, inv *Inventory, long bool) (*Policy, error) {
	l := &loader{
		reader: reader{file: file, long: long},
		p:      &Policy{File: file, Source: slices.Clone(src), inv: inv, timeouts: &defaultTimeouts},
		inv:    map[string]addrSet{"any": anyAddr}, vnics: map[string][]frame.PortID{},
		groups: map[string]*noun{}, services: map[string]*noun{}, rulesAt: map[string]int{},
	}
	l.inventory()
	if root := l.parse(src); root != nil {
		l.root(root)
	}
	if len(l.errs) > 0 {
		slices.SortStableFunc(l.errs, func(a, b *Error) int { return a.Line - b.Line })
		return nil, l.errs
	}
	l.p.finish()
	return l.p, nil
}

func (l *loader) inventory() {
	for _, s := range l.p.inv.Segments {
		var set addrSet
		for _, p := range s.Prefixes {
			set = append(set, prefixSet(p)...)
		}
		l.inv[s.Name] = set.normal()
	}
	for _, g := range l.p.inv.Guests {
		var set addrSet
		for _, v := range g.VNICs {
			l.vnics[g.Name] = append(l.vnics[g.Name], v.Port)
			for _, a := range v.Addrs {
				set = append(set, oneAddr(a))
			}
		}
		l.inv[g.Name] = set.normal()
	}
}

func (l *loader) root(n ast.Node) {
	later := map[string]ast.Node{} // what needs the groups and services
	hasDefault := false
	for _, e := range l.entries(n, "the policy") {
		switch e.name {
		case "groups":
			l.nouns(e.value, "group", l.groups)
		case "services":
			l.nouns(e.value, "service", l.services)
		case "default":
			l.p.Default, hasDefault = l.action(e.value, "default"), true
		case "midstream":
			l.p.Midstream = l.yes(e.value, "midstream")
		case "tcp-windows":
			l.p.Liberal = l.oneOf(e.value, "tcp-windows", "strict", "liberal") == "liberal"
		case "timeouts":
			l.timeouts(e.value)
		case "fail":
			l.failure(e.value)
		case "limits":
			l.limits(e.value)
		case "exclude", "sections", "rules":
			later[e.name] = e.value
		default:
			l.unknown(e, "the policy", policyKeys...)
		}
	}
	if !hasDefault {
		l.fail(n, "add default: drop", "the policy has no default")
	}
	l.resolveAll()
	if n := later["exclude"]; n != nil {
		l.exclude(n)
	}
	if n := later["sections"]; n != nil {
		l.sections(n)
	}
	if n := later["rules"]; n != nil && n.Type() != ast.NullType {
		l.rules(n, "")
	}
}

var policyKeys = []string{
	"groups", "services", "default", "rules", "sections", "exclude", "midstream", "tcp-windows", "timeouts", "limits", "fail",
}

// nouns notes every group or service, before any of them is resolved: they may refer to each other in any order.
func (l *loader) nouns(n ast.Node, kind string, into map[string]*noun) {
	for _, e := range l.entries(n, kind+"s") {
		switch {
		case !names.MatchString(e.name):
			l.fail(e.key, "use letters, digits, - _ and ., beginning with a letter", "%q cannot be the name of a %s", e.name, kind)
		case e.name == "any":
			l.fail(e.key, "choose another name", "any is a word of the policy's own")
		case kind == "group" && l.inv[e.name] != nil:
			l.fail(e.key, "choose another name", "%s is a guest or a segment already", e.name)
		default:
			line, col := document.Place(e.key)
			into[e.name] = &noun{name: e.name, line: line, col: col, value: e.value}
		}
	}
}

func (l *loader) resolveAll() {
	for _, g := range sorted(l.groups) {
		l.group(g)
		l.p.groups = append(l.p.groups, g)
	}
	for _, s := range sorted(l.services) {
		s.svc = l.service(s.value)
		l.p.services = append(l.p.services, s)
	}
}

// sorted lists nouns in the file's order.
func sorted(m map[string]*noun) []*noun {
	out := make([]*noun, 0, len(m))
	for _, n := range m {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *noun) int { return (a.line-b.line)<<16 + a.col - b.col })
	return out
}

// group resolves a group's members, and those of the groups in it.
func (l *loader) group(g *noun) {
	if g.state != unresolved {
		return
	}
	g.state = resolving
	var set addrSet
	members := 0
	for m := range l.items(g.value, "group "+g.name) {
		members++
		w, ok := l.word(m, "a member of group "+g.name)
		if !ok {
			continue
		}
		if inner := l.groups[w]; inner != nil && inner.state == resolving {
			l.fail(m, "take one of them out of the other", "group %s contains itself through %s", g.name, w)
			continue
		}
		set = join(l, m, set, l.addrs(m, w))
	}
	if g.addrs, g.state = set, resolved; members > 1 { // else it is normal already
		g.addrs = set.normal()
	}
}

// addrs resolves one noun for addresses: any, a guest, a segment, a group, an address or a CIDR.
func (l *loader) addrs(n ast.Node, w string) addrSet {
	if g := l.groups[w]; g != nil {
		l.group(g)
		g.used = true
		return g.addrs
	}
	if s, ok := l.inv[w]; ok {
		return s
	}
	if a, err := netip.ParseAddr(w); err == nil {
		if a.Zone() != "" || a.Is4In6() {
			l.fail(n, "write a plain IPv4 or IPv6 address", "the address %s has a zone, or is IPv4 within IPv6", w)
			return nil
		}
		return addrSet{oneAddr(a)}
	}
	if p, err := netip.ParsePrefix(w); err == nil {
		switch {
		case p.Addr().Is4In6():
			l.fail(n, "write it as IPv4", "the subnet %s is IPv4 within IPv6", w)
		case p.Masked() != p:
			l.fail(n, "write "+p.Masked().String(), "the subnet %s has bits behind its length", w)
		}
		return prefixSet(p)
	}
	l.fail(n, l.knownNouns(), "%q is no guest, segment, group, address or subnet", w)
	return nil
}

// shownNouns is how many names an error lists.
const shownNouns = 12

// knownNouns says what could have been meant. It is worked out once: whoever writes the policy says how many words are unknown.
func (l *loader) knownNouns() string {
	if l.known != "" {
		return l.known
	}
	var words []string
	for w := range l.inv {
		words = append(words, w)
	}
	for w := range l.groups {
		words = append(words, w)
	}
	slices.Sort(words)
	if len(words) > shownNouns {
		words = append(words[:shownNouns], "...")
	}
	l.known = "there are " + strings.Join(words, ", ")
	return l.known
}

func (l *loader) action(n ast.Node, what string) RuleAction {
	w := l.oneOf(n, what, "allow", "drop", "reject")
	return RuleAction(max(0, slices.Index(actionNames[:], w)))
}
