package firewall

import "slices"

// DiffBut is Diff, but for the flows that a rule of another policy matches, whatever that rule says of them: two
// policies may decide those as they like. All three are of the same inventory.
func DiffBut(a, b, but *Policy) Comparison {
	if but == nil || len(but.Rules) == 0 {
		return Diff(a, b)
	}
	c := Diff(a.under(but.Rules, RuleAllow), b.under(but.Rules, RuleAllow))
	for i := range c.Differences {
		for _, d := range []*Decision{&c.Differences[i].A, &c.Differences[i].B} {
			if d.Rule > 0 { // no flow of the first rules differs, so it is one of the policy's own
				d.Rule -= uint32(len(but.Rules))
			}
		}
	}
	return c
}

// under is a policy with rules before its own, all of one action.
func (p *Policy) under(first []Rule, action RuleAction) *Policy {
	q := &Policy{
		File: p.File, Source: p.Source, Default: p.Default, Exclude: p.Exclude, Helpers: p.Helpers, inv: p.inv, excluded: p.excluded,
	}
	q.Rules = slices.Concat(first, p.Rules)
	for i := range first {
		q.Rules[i].Action = action
	}
	q.finish()
	return q
}
