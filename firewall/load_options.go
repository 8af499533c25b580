package firewall

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/firewall/document"
	"sluice/vnic/frame"
)

// Limits bound what one vNIC may begin. 0 means that the policy sets no bound.
type Limits struct {
	Flows        int `json:"flows"`          // held at once
	NewPerSecond int `json:"new_per_second"` // begun in a second; a tenth of it at once
	// PerSource bounds what each source address may begin, whatever vNIC it is at.
	PerSource SourceLimits `json:"per_source,omitzero"`
}

// SourceLimits bound what one source address may begin. 0 means that the policy sets no bound.
type SourceLimits struct {
	Flows        int `json:"flows"`
	NewPerSecond int `json:"new_per_second"`
}

// timeoutNames are the states whose timeouts a policy may set. Those of udp are for ICMP and all other protocols too.
var timeoutNames = map[string][]state{
	"tcp-first": {tcpFirst}, "tcp-open": {tcpOpen, tcpBoth}, "tcp-established": {tcpEstablished},
	"tcp-closing": {tcpFinWait, tcpCloseWait}, "tcp-fin-wait": {tcpLastAck, tcpTimeWait}, "tcp-closed": {tcpClosed},
	"udp-first": {datagramFirst}, "udp-single": {datagramSingle}, "udp-multiple": {datagramMultiple},
}

// The bounds of a timeout: a flow's time counts in 31 bits of milliseconds.
const (
	minTimeout = time.Second
	maxTimeout = 24 * 24 * time.Hour
)

// timeouts reads {tcp-established: 1h, udp-single: 10s}.
func (l *loader) timeouts(n *document.Node) {
	t := defaultTimeouts
	for _, e := range l.Entries(n, "timeouts") {
		which, known := timeoutNames[e.Name]
		if !known {
			l.Unknown(e, "timeouts", sortedKeys(timeoutNames)...)
			continue
		}
		w, ok := l.Word(e.Value, e.Name)
		d, err := time.ParseDuration(w)
		if ok && (err != nil || d < minTimeout || d > maxTimeout) {
			l.Fail(e.Value, "write for example 30s, 2m or 12h; from 1s to 576h", "%q is no timeout", w)
			continue
		}
		for _, s := range which {
			t[s] = uint32(d / time.Millisecond)
		}
	}
	l.p.timeouts = &t
}

// maxLimit is the highest number that a limit can be.
const maxLimit = 1 << 20

// limits reads {flows: 1000, new-per-second: 100, per-source: {flows: 50}}.
func (l *loader) limits(n *document.Node) {
	p := &l.p.Limits
	for _, e := range l.Entries(n, "limits") {
		switch e.Name {
		case "flows":
			p.Flows, _ = l.Number(e.Value, "flows", 1, maxLimit)
		case "new-per-second":
			p.NewPerSecond, _ = l.Number(e.Value, "new-per-second", 1, maxLimit)
		case "per-source":
			l.perSource(e.Value, &p.PerSource)
		default:
			l.Unknown(e, "limits", "flows", "new-per-second", "per-source")
		}
	}
}

func (l *loader) perSource(n *document.Node, p *SourceLimits) {
	for _, e := range l.Entries(n, "per-source") {
		switch e.Name {
		case "flows":
			p.Flows, _ = l.Number(e.Value, "flows", 1, maxLimit)
		case "new-per-second":
			p.NewPerSecond, _ = l.Number(e.Value, "new-per-second", 1, maxLimit)
		default:
			l.Unknown(e, "per-source", "flows", "new-per-second")
		}
	}
}

// exclude reads the guests that the policy is not for.
func (l *loader) exclude(n *document.Node) {
	var ports []frame.PortID
	l.p.Exclude, ports = l.appliedTo(n)
	for _, p := range ports {
		for len(l.p.excluded) <= int(p) {
			l.p.excluded = append(l.p.excluded, 0)
		}
		l.p.excluded[p] = 1
	}
}

// sections reads [{name: base, rules: [...]}, ...]: rules in named groups, which are for people only; their order is
// the order of all.
func (l *loader) sections(n *document.Node) {
	seen := map[string]bool{}
	for _, v := range l.List(n, "sections") {
		name := ""
		var rules *document.Node
		for _, e := range l.Entries(v, "a section") {
			switch e.Name {
			case "name":
				name, _ = l.Word(e.Value, "the section's name")
			case "rules":
				rules = e.Value
			default:
				l.Unknown(e, "a section", "name", "rules")
			}
		}
		switch {
		case !names.MatchString(name):
			l.Fail(v, "add name: base; letters, digits, - _ and .", "the section has no proper name")
		case seen[name]:
			l.Fail(v, "choose another name", "there is a section %s already", name)
		case rules == nil:
			l.Fail(v, "add rules: [...]", "section %s has no rules", name)
		default:
			seen[name] = true
			l.rules(rules, name)
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// yes reads true or false.
func (l *loader) yes(n *document.Node, what string) bool {
	w, _ := l.OneOf(n, what, "true", "false")
	return w == "true"
}

// logPrefix is what nft takes within quotes; maxPrefix leaves room for it in a line of the kernel's log, which cuts at
// 127.
var logPrefix = regexp.MustCompile(`^[A-Za-z0-9_.:/=()+ -]{1,64}$`)

// The bounds of a rule's rate; all rules together have 128 notes in a second (logRoom).
const (
	maxPerSecond = 100
	maxPerLonger = 1000
)

// log reads true, false, or {prefix: web, rate: 5/second}.
func (l *loader) log(n *document.Node, r *Rule) {
	if n.Kind != document.Map {
		r.Log = l.yes(n, "log")
		return
	}
	r.Log = true
	for _, e := range l.Entries(n, "log") {
		w, ok := "", false
		if e.Name == "prefix" || e.Name == "rate" {
			w, ok = l.Word(e.Value, e.Name)
		}
		switch {
		case e.Name == "prefix" && ok && !logPrefix.MatchString(w):
			l.Fail(e.Value, "use letters, digits, blanks and _.:/=()+-, at most 64 of them", "%q cannot be a log's prefix", w)
		case e.Name == "prefix":
			r.LogPrefix = w
		case e.Name == "rate" && ok:
			r.LogRate = l.logRate(e.Value, w)
		case e.Name == "rate":
		default:
			l.Unknown(e, "log", "prefix", "rate")
		}
	}
}

func (l *loader) logRate(n *document.Node, w string) (r LogRate) {
	notes, per, _ := strings.Cut(w, "/")
	v, err := strconv.Atoi(notes)
	most := maxPerLonger
	if per == "second" {
		most = maxPerSecond
	}
	if err != nil || v < 1 || v > most || logUnits[per] == 0 {
		l.Fail(n, "write for example 5/second, 30/minute or 10/hour; at most 100 a second, or 1000 a minute or an hour", "%q is no rate", w)
		return r
	}
	return LogRate{v, per}
}
