package check

import (
	"fmt"
	"strings"

	"sluice/firewall"
	"sluice/vswitch"
)

// Seen counts the frames of a flow that came to an insertion point while the task was tried.
type Seen struct {
	Flow
	At       string
	Min, Max *uint64
}

func (c *Seen) String() string {
	var bounds []string
	if c.Min != nil {
		bounds = append(bounds, fmt.Sprintf("at least %d", *c.Min))
	}
	if c.Max != nil {
		bounds = append(bounds, fmt.Sprintf("at most %d", *c.Max))
	}
	return fmt.Sprintf("%s is seen at %s %s", c.Flow, c.At, strings.Join(bounds, " and "))
}

func (c *Seen) judge(s *scene) Finding {
	n := s.seenBy(c)[0].Frames
	of := "of"
	if c.From.Name == "" && c.To.Name == "" && c.Port != 0 {
		of = "to"
	}
	came := fmt.Sprintf("%s %s %s reached %s", counted(float64(n), "frame"), of, c.Flow, c.At)
	switch {
	case c.Min != nil && n < *c.Min:
		return Finding{Reason: fmt.Sprintf("%s; at least %d must", came, *c.Min), Look: "sluice stats", doubt: true}
	case c.Max != nil && n > *c.Max && *c.Max == 0:
		return Finding{Reason: came + "; none may", Look: c.lookAt(s)}
	case c.Max != nil && n > *c.Max:
		return Finding{Reason: fmt.Sprintf("%s; at most %d may", came, *c.Max), Look: c.lookAt(s)}
	}
	return passed()
}

// lookAt is the command that explains how the first of the frames came there.
func (c *Seen) lookAt(s *scene) string {
	for _, f := range s.watched.Frames {
		src, dst := f.Src.Addr().Unmap(), f.Dst.Addr().Unmap()
		if f.Point != c.At || !vswitch.ProtoIs(c.Proto, f.Proto) || c.Proto == "" || c.Port != 0 && c.Port != f.Dst.Port() || !c.From.has(src) || !c.To.has(dst) {
			continue
		}
		one := Flow{Proto: c.Proto, From: End{Name: src.String()}, To: End{Name: dst.String()}}
		if c.Proto != "icmp" {
			one.Port = f.Dst.Port()
		}
		return one.traceIt()
	}
	return "sluice stats"
}

// Walk asks the switch what would become of a flow's first frame.
type Walk struct {
	Flow
	Verdict string // pass, drop, reject or answered
	By      string // the reason of a drop
	Rule    string
	At      string   // the last insertion point that was asked
	Crosses *bool    // whether it meets the appliance
	Reaches []string // all vNICs that it is delivered to, in any order; nil is any
}

func (c *Walk) String() string {
	words := []string{"the walk of " + c.Flow.String()}
	for _, w := range []struct{ what, value string }{{"is", c.Verdict}, {"by", c.By}, {"by rule", c.Rule}, {"at", c.At}} {
		if w.value != "" {
			words = append(words, w.what, w.value)
		}
	}
	if c.Crosses != nil {
		words = append(words, crossing(*c.Crosses))
	}
	if c.Reaches != nil {
		words = append(words, "reaches", strings.Join(c.Reaches, ", "))
	}
	return strings.Join(words, " ")
}

func crossing(is bool) string {
	if is {
		return "crosses the appliance"
	}
	return "does not cross the appliance"
}

func (c *Walk) judge(s *scene) Finding {
	res, err := s.lab.Trace(s.ctx, c.request())
	if err != nil {
		return Finding{Reason: fmt.Sprintf("%s: %v", c.Flow, err), Look: c.traceIt()}
	}
	var wrong []string
	differ := func(what, want, got string) {
		if want != "" && want != got {
			wrong = append(wrong, fmt.Sprintf("%s is %s, not %s", what, orNone(got), want))
		}
	}
	differ("the verdict", c.Verdict, res.Verdict)
	differ("the reason", c.By, res.Reason)
	differ("the rule", c.Rule, res.Rule)
	differ("the last point", c.At, lastPoint(res))
	if c.Crosses != nil && *c.Crosses != res.Crosses {
		wrong = append(wrong, "it "+crossing(res.Crosses))
	}
	if c.Reaches != nil && !sameSet(c.Reaches, res.Reaches) {
		wrong = append(wrong, fmt.Sprintf("it reaches %s, not %s", orNone(strings.Join(res.Reaches, ", ")), strings.Join(c.Reaches, ", ")))
	}
	if len(wrong) > 0 {
		return Finding{Reason: fmt.Sprintf("the walk of %s: %s", c.Flow, strings.Join(wrong, ", ")), Look: c.traceIt()}
	}
	return passed()
}

// lastPoint is where a walk's last verdict was said.
func lastPoint(res vswitch.TraceResult) string {
	at := ""
	for _, s := range res.Steps {
		if s.What == "verdict" {
			at = s.Point
		}
	}
	return at
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// Flows counts the entries of the flow table that fit.
type Flows struct {
	Flow
	State string
	Rule  string
	Is    Condition
}

func (c *Flows) String() string {
	what := fmt.Sprintf("flows that are %s", c.Flow)
	if c.State != "" {
		what += ", " + c.State
	}
	if c.Rule != "" {
		what += ", by rule " + c.Rule
	}
	return what + ": " + c.Is.String()
}

// found says how many there are, and how many there should be.
func (c *Flows) found(n int) string {
	what := counted(float64(n), "flow") + " of " + c.Flow.String()
	if c.State != "" {
		what += " in state " + c.State
	}
	if c.Rule != "" {
		what += " by rule " + c.Rule
	}
	return fmt.Sprintf("%s %s noted; there should be %s", what, are(float64(n)), c.Is.many())
}

func (c *Flows) judge(s *scene) Finding {
	flows, err := s.lab.Flows(s.ctx)
	if err != nil {
		return Finding{Reason: err.Error()}
	}
	n := 0
	for _, f := range flows {
		if c.fits(f) && (c.State == "" || c.State == f.State) && (c.Rule == "" || c.Rule == f.Rule) {
			n++
		}
	}
	if !c.Is.Holds(float64(n)) {
		return Finding{Reason: c.found(n), Look: "sluice flows '" + c.Flow.String() + "'", doubt: n == 0}
	}
	return passed()
}

// Receipt looks at the last changes of placement that the student made. In a submission nobody has made one yet: the
// runner makes it, under load if the check says so.
type Receipt struct {
	From, To *firewall.Placement // nil is any
	Handover string
	Changes  int // how many of the last ones; at least 1
	Is       []FieldCondition
	Load     *Flow // what runs through the change that the runner makes
}

// FieldCondition is what one figure of a receipt must be.
type FieldCondition struct {
	Field string
	Is    Condition
}

// ReceiptFields are the figures of a receipt by the names that checks use.
var ReceiptFields = map[string]func(vswitch.Receipt) float64{
	"gap": func(r vswitch.Receipt) float64 { return r.GapMS }, "lost": func(r vswitch.Receipt) float64 { return float64(r.Lost) },
	"leaked":     func(r vswitch.Receipt) float64 { return float64(r.Leaked) },
	"duplicated": func(r vswitch.Receipt) float64 { return float64(r.Duplicated) },
	"reordered":  func(r vswitch.Receipt) float64 { return float64(r.Reordered) },
	"observed":   func(r vswitch.Receipt) float64 { return float64(r.Observed) },
	"delivered":  func(r vswitch.Receipt) float64 { return float64(r.Delivered) },
	"carried":    func(r vswitch.Receipt) float64 { return float64(r.FlowsCarried) },
}

func (c *Receipt) String() string {
	what := "the receipt of the change"
	if c.From != nil {
		what += " from " + c.From.String()
	}
	if c.To != nil {
		what += " to " + c.To.String()
	}
	for _, f := range c.Is {
		what += fmt.Sprintf(", %s %s", f.Field, f.Is)
	}
	return what
}

func (c *Receipt) fits(r vswitch.Receipt) bool {
	return (c.From == nil || *c.From == r.From) && (c.To == nil || *c.To == r.To) && (c.Handover == "" || c.Handover == string(r.Handover))
}

func (c *Receipt) judge(s *scene) Finding {
	found, err := s.receipts(c)
	if err != nil {
		return Finding{Reason: fmt.Sprintf("%s: %v", c, err), Look: "sluice place --history"}
	}
	if len(found) < c.Changes {
		return Finding{Reason: fmt.Sprintf("%s: %d such changes were made, and there should be %d", c, len(found), c.Changes), Look: "sluice place --history"}
	}
	for _, r := range found[len(found)-c.Changes:] {
		for _, f := range c.Is {
			if v := ReceiptFields[f.Field](r); !f.Is.Holds(v) {
				return Finding{Reason: fmt.Sprintf("the change from %s to %s: %s is %s; it should be %s", r.From, r.To, f.Field, figure(v), f.Is.words()), Look: "sluice place --history", doubt: s.options.Submission}
			}
		}
	}
	return passed()
}
