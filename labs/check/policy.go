package check

import (
	"fmt"
	"net/netip"
	"slices"

	"sluice/firewall"
	"sluice/vnic/frame"
)

// The ways in which a policy is compared with the one that is wanted.
const (
	As      = "as"       // it decides every flow alike
	AtLeast = "at-least" // it allows what that one allows; it may allow more
	AtMost  = "at-most"  // it allows nothing that that one denies; it may allow less
)

// Policy compares the policy in force with another, for every flow that there can be, whatever their rules look like;
// or looks where it denies.
type Policy struct {
	How    string // As, AtLeast or AtMost; empty compares nothing
	Wanted *firewall.Policy
	But    *firewall.Policy // the flows that its rules match are left free; nil is none
	Fail   bool             // it also says the same of how the appliance fails
	Ends   bool             // what it denies is denied at the vNIC of who sends it
	Rules  *Condition       // how many rules it may have; nil is any number
	Guests map[netip.Addr]string
}

// What was observed of a policy that differs, for hints.
const (
	tooWide   = "policy-too-wide"   // it allows what it is to deny
	tooNarrow = "policy-too-narrow" // it denies what it is to allow
	otherNo   = "policy-other-no"   // it drops what it is to reject, or rejects what it is to drop
	forgets   = "policy-forgets"    // it allows a flow that is to be remembered, and does not remember it
	endsLate  = "policy-ends-late"  // what it denies reaches the receiver's vNIC
)

func (c *Policy) String() string {
	if c.How == "" {
		return "what the policy denies ends where it begins"
	}
	return map[string]string{As: "the policy decides as it is to", AtLeast: "the policy allows what it is to allow", AtMost: "the policy allows no more than it may"}[c.How]
}

func (c *Policy) judge(s *scene) Finding {
	p, err := s.lab.InForce(s.ctx)
	if err != nil {
		return Finding{Reason: fmt.Sprintf("the policy in force cannot be read: %v", err), Look: "sluice policy show"}
	}
	f := c.Compare(p)
	f.final = !f.Passed
	return f
}

// Compare says how a policy differs from the one that is wanted, by a flow that shows it. It needs no lab.
func (c *Policy) Compare(p *firewall.Policy) Finding {
	if c.How != "" {
		if f := c.compare(p); !f.Passed {
			return f
		}
	}
	if c.Ends {
		return c.source(p)
	}
	return passed()
}

func (c *Policy) compare(p *firewall.Policy) Finding {
	found := firewall.DiffBut(c.Wanted, p, c.But)
	var wrong []firewall.Difference
	var facts []string
	for _, d := range found.Differences {
		if fact, counts := c.counts(d); counts {
			wrong = append(wrong, d)
			if !slices.Contains(facts, fact) {
				facts = append(facts, fact)
			}
		}
	}
	switch {
	case len(wrong) > 0:
		return Finding{Reason: c.says(p, wrong), Look: c.lookAt(wrong[0]), Facts: facts}
	case found.Stopped:
		return Finding{Reason: "the policy is too long to be compared with what is wanted: write it with fewer rules", Look: "sluice policy lint"}
	}
	if f, fits := c.state(p); !fits {
		return f
	}
	switch {
	case c.Fail && p.FailOpen != c.Wanted.FailOpen:
		return Finding{Reason: "the policy says something else of " + c.failures(p) + " than it is to", Look: "sluice policy show"}
	case c.Rules != nil && !c.Rules.Holds(float64(len(p.Rules))):
		return Finding{Reason: fmt.Sprintf("the policy decides as it is to, but in %s; there should be %s", counted(float64(len(p.Rules)), "rule"), c.Rules.many())}
	}
	return passed()
}

// counts says whether a difference is a fault, and of which kind.
func (c *Policy) counts(d firewall.Difference) (fact string, counts bool) {
	switch {
	case d.B.Action == firewall.RuleAllow:
		return tooWide, c.How != AtLeast
	case d.A.Action == firewall.RuleAllow:
		return tooNarrow, c.How != AtMost
	}
	return otherNo, c.How == As
}

var verbs = map[firewall.RuleAction]string{firewall.RuleAllow: "allows", firewall.RuleDrop: "drops", firewall.RuleReject: "rejects"}

// says names the first flow that is decided otherwise, and the rule that does it.
func (c *Policy) says(p *firewall.Policy, wrong []firewall.Difference) string {
	d := wrong[0]
	by := "by its default"
	if d.B.Rule > 0 {
		r := p.Rules[d.B.Rule-1]
		by = fmt.Sprintf("by rule %s in line %d", r.Name, r.Line)
	}
	more := ""
	if n := len(wrong) - 1; n > 0 {
		more = fmt.Sprintf("; it differs in %s more", counted(float64(n), "way"))
	}
	return fmt.Sprintf("the policy %s %s, %s; it is to %s that%s", verbs[d.B.Action], c.flow(d), by, d.A.Action, more)
}

// flow is the flow of a difference, with guests by their names.
func (c *Policy) flow(d firewall.Difference) string {
	t := d.Witness
	from, to := c.end(t.Src.Addr()), c.end(t.Dst.Addr())
	family := ""
	if t.Dst.Addr().Is6() && from+to != t.Src.Addr().String()+t.Dst.Addr().String() {
		family = " over IPv6"
	}
	return t.Between(from, to) + family
}

func (c *Policy) end(a netip.Addr) string {
	if name := c.Guests[a]; name != "" {
		return name
	}
	return a.String()
}

// lookAt is the command that explains the flow of a difference, where a guest can send it.
func (c *Policy) lookAt(d firewall.Difference) string {
	t := d.Witness
	from := c.Guests[t.Src.Addr()]
	names := map[uint8]string{frame.ProtoTCP: "tcp", frame.ProtoUDP: "udp"}
	if from == "" || names[t.Proto] == "" {
		return "sluice policy show"
	}
	to := c.end(t.Dst.Addr())
	if t.Dst.Addr().Is6() {
		to = t.Dst.Addr().String() // a name is traced over IPv4
	}
	return Flow{Proto: names[t.Proto], Port: t.Dst.Port(), From: End{Name: from}, To: End{Name: to}}.traceIt()
}

// failures are those that two policies answer otherwise.
func (c *Policy) failures(p *firewall.Policy) string {
	out := ""
	for f := range p.FailOpen {
		if p.FailOpen[f] != c.Wanted.FailOpen[f] {
			if out != "" {
				out += ", "
			}
			out += firewall.Failure(f).String()
		}
	}
	return "an appliance that is " + out
}
