package firewall

import (
	"fmt"
	"slices"
)

// Finding is one thing that Lint has to say of a policy.
type Finding struct {
	Kind   string `json:"kind"` // shadowed, empty, unused-group or unused-service
	Rule   string `json:"rule,omitempty"`
	Line   int    `json:"line"`
	Col    int    `json:"col"`
	Detail string `json:"detail"` // one line for a person
}

// Lint lists what is allowed but looks wrong, in the order of the file.
func (p *Policy) Lint() (out []Finding) {
	for _, g := range p.groups {
		if !g.used {
			out = append(out, Finding{"unused-group", "", g.line, g.col, fmt.Sprintf("no rule uses group %s", g.name)})
		}
	}
	for _, s := range p.services {
		if !s.used {
			out = append(out, Finding{"unused-service", "", s.line, s.col, fmt.Sprintf("no rule uses service %s", s.name)})
		}
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		if len(r.from) == 0 || len(r.to) == 0 || r.ports != nil && len(r.ports) == 0 {
			out = append(out, Finding{"empty", r.Name, r.Line, r.Col, fmt.Sprintf("rule %s matches nothing: a group in it is empty", r.Name)})
			continue
		}
		if by := p.shadow(i); by != nil {
			out = append(out, Finding{"shadowed", r.Name, r.Line, r.Col, fmt.Sprintf("rule %s is never reached: %s at line %d matches all of it before", r.Name, by.Name, by.Line)})
		}
	}
	return out
}

// shadow finds an earlier rule that matches all that rule i matches; nil where none does.
func (p *Policy) shadow(i int) *Rule {
	r := &p.Rules[i]
	for j := range i {
		e := &p.Rules[j]
		if e.dirs&r.dirs == r.dirs && portsCover(e, r) && e.svc.covers(r.svc) && e.from.covers(r.from) && e.to.covers(r.to) {
			return e
		}
	}
	return nil
}

func portsCover(e, r *Rule) bool {
	if e.ports == nil {
		return true
	}
	if r.ports == nil {
		return false
	}
	for _, p := range r.ports {
		if !slices.Contains(e.ports, p) {
			return false
		}
	}
	return true
}
