package labfile

import (
	"io/fs"
	"regexp"
	"slices"
	"time"

	"sluice/firewall/document"
	"sluice/labs/check"
	"sluice/vnic/frame"
)

// kinds read what a check looks at, by its key.
func (l *labReader) kinds() map[string]func(*document.Node) check.Kind {
	return map[string]func(*document.Node) check.Kind{
		"reach":   func(n *document.Node) check.Kind { return l.reach(n) },
		"seen":    func(n *document.Node) check.Kind { return l.seen(n) },
		"walk":    func(n *document.Node) check.Kind { return l.walk(n) },
		"flows":   func(n *document.Node) check.Kind { return l.flows(n) },
		"receipt": func(n *document.Node) check.Kind { return l.receipt(n) },
		"counter": func(n *document.Node) check.Kind {
			c := l.counter(n)
			if !l.Failed() && c.Is.Op == "" {
				l.fail(n, "counter needs is; as in {port: fw, count: out-frames, is: \"= 0\"}")
			}
			return c
		},
		"answer": func(n *document.Node) check.Kind { return l.answer(n) },
		"speed":  func(n *document.Node) check.Kind { return l.speed(n) },
		"policy": func(n *document.Node) check.Kind { return l.policyAs(n) },
		"run":    func(n *document.Node) check.Kind { return l.run(n) },
	}
}

func (l *labReader) reach(n *document.Node) *check.Reach {
	r := &check.Reach{Within: 2 * time.Second}
	keys := l.service(&r.Flow)
	keys["family"] = func(v *document.Node) { r.Family = l.oneOf(v, "family", "ipv4", "ipv6") }
	keys["expect"] = func(v *document.Node) { r.Expect = l.oneOf(v, "expect", check.Outcomes...) }
	keys["within"] = func(v *document.Node) { r.Within = l.duration(v, "within", 100*time.Millisecond, 30*time.Second) }
	var from *document.Node
	keys["from"] = func(v *document.Node) { from = v; r.From = l.sender(v) }
	l.Fields(n, "reach", keys)
	switch {
	case l.Failed():
	case r.Proto == "" || from == nil || r.To.Name == "" || r.Expect == "":
		l.fail(n, "reach needs from, to, expect and one of tcp, udp, icmp; as in {from: client, to: server, tcp: 80, expect: open}")
	case len(r.Targets()) == 0:
		l.fail(n, "%s and %s have no addresses of one family; choose other ends", r.From.Name, r.To.Name)
	}
	return r
}

func (l *labReader) seen(n *document.Node) *check.Seen {
	s := &check.Seen{}
	keys := l.service(&s.Flow)
	count := func(to **uint64, what string) func(*document.Node) {
		return func(v *document.Node) { u := uint64(l.number(v, what, 0, 1_000_000_000)); *to = &u }
	}
	keys["at"] = func(v *document.Node) { s.At = l.point(v, "at") }
	keys["min"], keys["max"] = count(&s.Min, "min"), count(&s.Max, "max")
	l.Fields(n, "seen", keys)
	if !l.Failed() && (s.At == "" || s.Min == nil && s.Max == nil) {
		l.fail(n, "seen needs at, and min or max; as in {at: client/from-guest, tcp: 23, min: 1}")
	}
	return s
}

// walk reads what a trace must say.
func (l *labReader) walk(n *document.Node) *check.Walk {
	w := &check.Walk{}
	family := ""
	l.Fields(n, "walk", map[string]func(*document.Node){
		"flow":    func(v *document.Node) { w.Flow = l.packet(v) },
		"family":  func(v *document.Node) { family = l.oneOf(v, "family", "ipv4", "ipv6") },
		"verdict": func(v *document.Node) { w.Verdict = l.oneOf(v, "verdict", "pass", "drop", "reject", "answered") },
		"by":      func(v *document.Node) { w.By = l.reason(v, "by") },
		"rule":    func(v *document.Node) { w.Rule = l.bounded(v, "rule", maxWord) },
		"at":      func(v *document.Node) { w.At = l.point(v, "at") },
		"crosses": func(v *document.Node) { yes := l.oneOf(v, "crosses", "true", "false") == "true"; w.Crosses = &yes },
		"reaches": func(v *document.Node) { w.Reaches = l.portList(v, "reaches") },
	})
	w.IPv6 = family == "ipv6"
	if !l.Failed() && w.Proto == "" {
		l.fail(n, "walk needs a flow; as in {flow: tcp from client to server port 80, verdict: pass}")
	}
	return w
}

// reason reads why frames are dropped.
func (l *labReader) reason(n *document.Node, what string) string {
	var known []string
	for r := frame.ReasonNone + 1; int(r) < frame.Reasons; r++ {
		known = append(known, r.String())
	}
	return l.oneOf(n, what, known...)
}

// condition reads what a number must be.
func (l *labReader) condition(n *document.Node, what string) check.Condition {
	w := l.word(n, what)
	c, err := check.ParseCondition(w)
	if !l.Failed() && err != nil {
		l.fail(n, "%s: %v", what, err)
	}
	return c
}

func (l *labReader) flows(n *document.Node) *check.Flows {
	f := &check.Flows{}
	f.Is, _ = check.ParseCondition(">= 1")
	l.Fields(n, "flows", map[string]func(*document.Node){
		"flow":  func(v *document.Node) { f.Flow = l.flow(v) },
		"state": func(v *document.Node) { f.State = l.bounded(v, "state", maxWord) },
		"rule":  func(v *document.Node) { f.Rule = l.bounded(v, "rule", maxWord) },
		"is":    func(v *document.Node) { f.Is = l.condition(v, "is") },
	})
	if !l.Failed() && f.Proto == "" {
		l.fail(n, "flows needs a flow; as in {flow: tcp from client to server port 80, is: \">= 1\"}")
	}
	return f
}

func (l *labReader) receipt(n *document.Node) *check.Receipt {
	r := &check.Receipt{Changes: 1}
	keys := map[string]func(*document.Node){
		"from":     func(v *document.Node) { r.From = l.onePlacement(v) },
		"to":       func(v *document.Node) { r.To = l.onePlacement(v) },
		"handover": func(v *document.Node) { r.Handover = l.oneOf(v, "handover", "carry", "keep", "cut") },
		"changes":  func(v *document.Node) { r.Changes = l.number(v, "changes", 1, 20) },
		"load":     func(v *document.Node) { f := l.flow(v); r.Load = &f },
	}
	for field := range check.ReceiptFields {
		keys[field] = func(v *document.Node) {
			r.Is = append(r.Is, check.FieldCondition{Field: field, Is: l.condition(v, field)})
		}
	}
	l.Fields(n, "receipt", keys)
	if !l.Failed() && r.Load != nil && (r.Load.Proto == "icmp" || !r.Load.From.Guest || !r.Load.To.Guest) {
		l.fail(n, "the load of a receipt is tcp or udp from a guest to a guest")
	}
	if !l.Failed() && r.Load != nil && r.Load.SrcPort != 0 {
		l.fail(n, "the load of a receipt takes a source port by itself; leave out port %d", r.Load.SrcPort)
	}
	return r
}

func (l *labReader) counter(n *document.Node) *check.Counter {
	c := &check.Counter{}
	var of choice
	var count *document.Node
	l.Fields(n, "counter", map[string]func(*document.Node){
		"port":   of.key(func(v *document.Node) { c.Port = l.oneOf(v, "port", append(l.portNames(), "switch")...) }),
		"rule":   of.key(func(v *document.Node) { c.Rule = l.bounded(v, "rule", maxWord) }),
		"reason": of.key(func(v *document.Node) { c.Reason = l.reason(v, "reason") }),
		"share":  of.key(func(v *document.Node) { c.Share = l.oneOf(v, "share", "fast", "slow") }),
		"count":  func(v *document.Node) { count = v },
		"change": func(v *document.Node) { c.Change = l.oneOf(v, "change", "true", "false") == "true" },
		"is":     func(v *document.Node) { c.Is = l.condition(v, "is") },
	})
	if !l.Failed() && of != 1 {
		l.fail(n, "counter needs one of port, rule, reason and share; as in {port: fw, count: out-frames, is: \"= 0\"}")
	}
	l.count(n, count, c)
	return c
}

// count reads which figure of a port, a rule or a side is meant.
func (l *labReader) count(n, at *document.Node, c *check.Counter) {
	switch {
	case l.Failed():
	case at == nil && c.Rule != "":
		c.Count = "frames"
	case at == nil && c.Port != "":
		l.fail(n, "counter of a port needs count; as in {port: fw, count: out-frames}")
	case at == nil:
	case c.Port != "":
		known := []string{}
		for name := range check.PortCounts {
			known = append(known, name)
		}
		for r := frame.ReasonNone + 1; int(r) < frame.Reasons; r++ {
			known = append(known, "dropped/"+r.String())
		}
		slices.Sort(known)
		c.Count = l.oneOf(at, "count", known...)
	case c.Rule != "", c.Share != "":
		c.Count = l.oneOf(at, "count", "frames", "bytes")
	default:
		l.fail(at, "count is of a port, a rule or a share; remove it")
	}
}

func (l *labReader) run(n *document.Node) *check.Run {
	r := &check.Run{Timeout: 10 * time.Second}
	l.Fields(n, "run", map[string]func(*document.Node){
		"in":      func(v *document.Node) { r.In = l.guestIn(v, "in") },
		"command": func(v *document.Node) { r.Command = l.words(v, "command", 64) },
		"script":  func(v *document.Node) { r.Script = l.script(v) },
		"exit":    func(v *document.Node) { r.Exit = l.number(v, "exit", 0, 255) },
		"stdout":  func(v *document.Node) { r.Stdout = l.regex(v, "stdout") },
		"timeout": func(v *document.Node) { r.Timeout = l.duration(v, "timeout", 100*time.Millisecond, maxWait) },
	})
	if !l.Failed() && ((r.Script == "") == (r.In == "") || (r.In == "") != (r.Command == nil)) {
		l.fail(n, "run needs in and command, or script; as in {in: client, command: [ip, route]}")
	}
	return r
}

// script reads the name of one of the lab's own files; a student's may not be run on this machine.
func (l *labReader) script(n *document.Node) string {
	w := l.word(n, "script")
	switch {
	case l.Failed():
	case !validFile(w) || slices.Contains(l.lab.Theirs, w):
		l.fail(n, "script %q is no file of the lab's own folder; a student's files are never run", w)
	default:
		if _, err := ReadBounded(l.lab.Files, w); err != nil {
			l.fail(n, "script %s cannot be read: %v", w, err)
		}
	}
	return w
}

func validFile(name string) bool { return fs.ValidPath(name) && name != "." && len(name) <= 255 }

// regex reads a regular expression of Go's, whose time is bounded by its text's length (RE2).
func (l *labReader) regex(n *document.Node, what string) *regexp.Regexp {
	w := l.bounded(n, what, maxWord)
	re, err := regexp.Compile(w)
	if !l.Failed() && err != nil {
		l.fail(n, "%s: %v", what, err)
	}
	return re
}
