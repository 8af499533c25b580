package firewall

import (
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"sluice/firewall/classifier"
	"sluice/firewall/document"
	"sluice/vnic/frame"
)

// names says what a group, service or rule may be called.
var names = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,62}$`)

// noun is one group or service of a policy, for Lint and for errors.
type noun struct {
	name      string
	line, col int
	value     *document.Node // while loading
	used      bool
	addrs     classifier.AddrSet // groups
	svc       services
	state     uint8 // groups: not yet, being, or already resolved
}

const (
	unresolved = iota
	resolving
	resolved
)

// loader fills a Policy from a file.
type loader struct {
	document.Reader
	p        *Policy
	inv      map[string]classifier.AddrSet // guests and segments
	vnics    map[string][]frame.PortID
	groups   map[string]*noun
	services map[string]*noun
	rulesAt  map[string]int                // the line of each rule
	known    []string                      // see meantNoun
	copied   int                           // see join
	negated  map[string]classifier.AddrSet // lists with a !, once resolved
	ranges   int                           // of the services of the rules so far
	depth    int                           // of the group that is being resolved
	// conditions are those of the policy's services, each once.
	conditions []classifier.Condition
}

// What a policy comes to once it is written out is bounded: what is built of it, and what is said about it, grows with
// that.
const (
	maxCopied  = 1 << 20 // addresses, subnets, ports and vNICs that are copied out of lists into others; a list that stands alone is not copied
	maxRanges  = 1 << 20 // ranges of ports and types in the services of all rules together
	maxNesting = 64      // groups in groups
)

// join adds what a noun stands for to a list, of which it may be all.
func join[S ~[]E, E any](l *loader, n *document.Node, list, more S) S {
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
		l.Fail(n, "put fewer lists into other lists", "the lists of addresses and ports are too long, once those in them are written out: at most %d in all are taken", maxCopied)
	}
	return nil // the policy is refused
}

// MaxSource bounds a policy file, in bytes: one of 100,000 rules has about 10 MB.
const MaxSource = 16 << 20

// Load reads a policy. file is for messages only; every noun must be in inv. The error is an fault.List: each error has
// a line and a column, and says what to do.
func Load(file string, src []byte, inv *Inventory) (*Policy, error) {
	l := &loader{
		Reader: document.NewReader(file, src),
		p:      &Policy{File: file, Source: slices.Clone(src), inv: inv, timeouts: &defaultTimeouts},
		inv:    map[string]classifier.AddrSet{"any": classifier.AnyAddr}, vnics: map[string][]frame.PortID{},
		groups: map[string]*noun{}, services: map[string]*noun{}, rulesAt: map[string]int{}, negated: map[string]classifier.AddrSet{},
	}
	l.inventory()
	if root := l.Parse("policy", "write at least default: drop", MaxSource); root != nil {
		l.root(root)
	}
	if err := l.Err(); err != nil {
		return nil, err
	}
	l.p.finish()
	return l.p, nil
}

func (l *loader) inventory() {
	for _, s := range l.p.inv.Segments {
		var set classifier.AddrSet
		for _, p := range s.Prefixes {
			set = append(set, classifier.PrefixSet(p)...)
		}
		l.inv[s.Name] = set.Normal()
	}
	for _, g := range l.p.inv.Guests {
		var set classifier.AddrSet
		for _, v := range g.VNICs {
			l.vnics[g.Name] = append(l.vnics[g.Name], v.Port)
			for _, a := range v.Addrs {
				set = append(set, classifier.OneAddr(a))
			}
		}
		l.inv[g.Name] = set.Normal()
	}
}

func (l *loader) root(n *document.Node) {
	later := map[string]*document.Node{} // what needs the groups and services
	hasDefault := false
	for _, e := range l.Entries(n, "the policy") {
		switch e.Name {
		case "groups":
			l.nouns(e.Value, "group", l.groups)
		case "services":
			l.nouns(e.Value, "service", l.services)
		case "default":
			l.p.Default, hasDefault = l.action(e.Value, "default"), true
		case "midstream":
			l.p.Midstream = l.yes(e.Value, "midstream")
		case "tcp-windows":
			w, _ := l.OneOf(e.Value, "tcp-windows", "strict", "liberal")
			l.p.Liberal = w == "liberal"
		case "timeouts":
			l.timeouts(e.Value)
		case "fail":
			l.failure(e.Value)
		case "limits":
			l.limits(e.Value)
		case "helpers":
			l.helpers(e.Value)
		case "exclude", "sections", "rules":
			later[e.Name] = e.Value
		default:
			l.Unknown(e, "the policy", policyKeys...)
		}
	}
	if !hasDefault {
		l.Fail(n, "add default: drop", "the policy has no default")
	}
	l.resolveAll()
	if n := later["exclude"]; n != nil {
		l.exclude(n)
	}
	if n := later["sections"]; n != nil {
		l.sections(n)
	}
	if n := later["rules"]; n != nil && !n.Is(document.Nothing) {
		l.rules(n, "")
	}
}

var policyKeys = []string{
	"groups", "services", "default", "rules", "sections", "exclude", "midstream", "tcp-windows", "timeouts", "limits", "fail", "helpers",
}

// nouns notes every group or service, before any of them is resolved: they may refer to each other in any order.
func (l *loader) nouns(n *document.Node, kind string, into map[string]*noun) {
	for _, e := range l.Entries(n, kind+"s") {
		switch {
		case !names.MatchString(e.Name):
			l.Fail(e.Key, "use letters, digits, - _ and ., beginning with a letter", "%q cannot be the name of a %s", e.Name, kind)
		case e.Name == "any":
			l.Fail(e.Key, "choose another name", "any is a word of the policy's own")
		case kind == "group" && l.inv[e.Name] != nil:
			l.Fail(e.Key, "choose another name", "%s is a guest or a segment already", e.Name)
		default:
			line, col := e.Key.Place()
			into[e.Name] = &noun{name: e.Name, line: line, col: col, value: e.Value}
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
	if l.depth++; l.depth > maxNesting {
		l.FailAt(g.line, g.col, "name the addresses in fewer steps", "group %s is a group in more than %d others", g.name, maxNesting)
		return
	}
	defer func() { l.depth-- }()
	var e ends
	for _, m := range l.Items(g.value, "group "+g.name) {
		w, ok := l.Word(m, "a member of group "+g.name)
		if !ok {
			continue
		}
		if inner := l.groups[strings.TrimPrefix(w, "!")]; inner != nil && inner.state == resolving {
			l.Fail(m, "take one of them out of the other", "group %s contains itself through %s", g.name, w)
			continue
		}
		e.put(l, m, w)
	}
	g.addrs, g.state = e.addrs(l, g.value), resolved
}

// addrs resolves one noun for addresses: any, a guest, a segment, a group, an address or a CIDR.
func (l *loader) addrs(n *document.Node, w string) classifier.AddrSet {
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
			l.Fail(n, "write a plain IPv4 or IPv6 address", "the address %s has a zone, or is IPv4 within IPv6", w)
			return nil
		}
		return classifier.AddrSet{classifier.OneAddr(a)}
	}
	if p, err := netip.ParsePrefix(w); err == nil {
		switch {
		case p.Addr().Is4In6():
			l.Fail(n, "write it as IPv4", "the subnet %s is IPv4 within IPv6", w)
		case p.Masked() != p:
			l.Fail(n, "write "+p.Masked().String(), "the subnet %s has bits behind its length", w)
		}
		return classifier.PrefixSet(p)
	}
	l.Fail(n, l.meantNoun(w), "%q is no guest, segment, group, address or subnet", w)
	return nil
}

// shownNouns is how many names an error lists.
const shownNouns = 12

// meantNoun says what could have been meant. The names are listed once: whoever writes the policy says how many words
// are unknown.
func (l *loader) meantNoun(w string) string {
	if l.known == nil {
		l.known = slices.Sorted(maps.Keys(l.inv))
		l.known = append(l.known, slices.Sorted(maps.Keys(l.groups))...)
	}
	return l.Meant(w, "there are "+firstOf(l.known), l.known)
}

// firstOf lists some names.
func firstOf(names []string) string {
	if len(names) > shownNouns {
		return strings.Join(names[:shownNouns], ", ") + ", ..."
	}
	return strings.Join(names, ", ")
}

func (l *loader) action(n *document.Node, what string) RuleAction {
	w, _ := l.OneOf(n, what, "allow", "drop", "reject")
	return RuleAction(max(0, slices.Index(actionNames[:], w)))
}
