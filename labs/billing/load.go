package billing

import (
	"cmp"
	_ "embed"
	"fmt"
	"io"
	"os"
	"slices"

	"go.yaml.in/yaml/v4"
)

// ScenarioSchema is the JSON schema of scenarios, for editors.
//
//go:embed schema/scenario.schema.json
var ScenarioSchema []byte

// Load reads and checks a scenario file; - is standard input.
func Load(path string) (*Scenario, error) {
	text, shown, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(shown, text)
}

// readFile reads a small file, and no more of it than may be. shown is its name for people.
func readFile(path string) (text []byte, shown string, err error) {
	in, shown := os.Stdin, "standard input"
	if path != "-" {
		shown = path
		if in, err = os.Open(path); err != nil {
			return nil, "", err
		}
		defer in.Close()
	}
	text, err = io.ReadAll(io.LimitReader(in, maxFile+1)) // what is longer is refused when it is parsed
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", shown, err)
	}
	return text, shown, nil
}

// Parse makes a scenario of a file's text. Every error names its place.
func Parse(file string, text []byte) (*Scenario, error) {
	l := &scenarioReader{s: &Scenario{File: file}}
	err := read(file, text, "a scenario", func(r *reader, n *yaml.Node) {
		l.reader = r
		l.root(n)
	})
	if err != nil {
		return nil, err
	}
	return l.s, nil
}

type scenarioReader struct {
	*reader
	s *Scenario
}

func (l *scenarioReader) root(n *yaml.Node) {
	s := l.s
	l.fields(n, "the scenario", map[string]func(*yaml.Node){
		"title":       func(v *yaml.Node) { s.Title = l.text(v, "the title") },
		"until":       func(v *yaml.Node) { s.Until = l.day(v, "until") },
		"order":       func(v *yaml.Node) { s.Order = l.order(v) },
		"assumptions": func(v *yaml.Node) { l.assumptions(v) },
		"charges":     func(v *yaml.Node) { l.charges(v) },
		"payments":    func(v *yaml.Node) { l.payments(v) },
		"overdue":     func(v *yaml.Node) { l.rules(v) },
	}, "title", "until", "order", "charges")
}

func (l *scenarioReader) assumptions(n *yaml.Node) {
	for _, v := range l.items(n, "assumptions", 0, 20) {
		l.s.Assumptions = append(l.s.Assumptions, l.text(v, "an assumption"))
	}
}

func (l *scenarioReader) charges(n *yaml.Node) {
	places := map[string]*yaml.Node{}
	for _, v := range l.items(n, "charges", 1, maxItems) {
		var c Charge
		l.fields(v, "a charge", map[string]func(*yaml.Node){
			"id":     func(v *yaml.Node) { c.ID = l.name(v, "the charge's id") },
			"class":  func(v *yaml.Node) { c.Class = l.class(v) },
			"due":    func(v *yaml.Node) { c.Due = l.day(v, "due") },
			"amount": func(v *yaml.Node) { c.Amount = l.cents(v, "the amount") },
		}, "id", "class", "due", "amount")
		if first, taken := places[c.ID]; taken {
			l.fail(v, "give each charge an id of its own", "charge %s is in line %d already", c.ID, first.Line)
		}
		if l.err != nil {
			return
		}
		places[c.ID] = v
		l.s.Charges = append(l.s.Charges, c)
	}
}

// class reads the class of charges.
func (l *scenarioReader) class(n *yaml.Node) string {
	w := l.name(n, "the class")
	if w == feeClass {
		l.fail(n, "choose another word; fees come from overdue", "the class %s is that of fees", w)
	}
	return w
}

// payments reads payments. One that is there twice counts once: that is what its id is for. But it must then be the
// same.
func (l *scenarioReader) payments(n *yaml.Node) {
	known := map[string]Payment{}
	for _, v := range l.items(n, "payments", 0, maxItems) {
		var p Payment
		l.fields(v, "a payment", map[string]func(*yaml.Node){
			"id":     func(v *yaml.Node) { p.ID = l.name(v, "the payment's id") },
			"date":   func(v *yaml.Node) { p.Date = l.day(v, "the date") },
			"amount": func(v *yaml.Node) { p.Amount = l.cents(v, "the amount") },
		}, "id", "date", "amount")
		first, told := known[p.ID]
		if told && first != p {
			l.fail(v, "give another payment another id; the same one must say the same", "payment %s was %s on %s before", p.ID, first.Amount, first.Date)
		}
		if l.err != nil {
			return
		}
		known[p.ID] = p
		l.s.Payments = append(l.s.Payments, p)
	}
}

// maxDays is how late a charge may be for a rule.
const maxDays = 3650

func (l *scenarioReader) rules(n *yaml.Node) {
	names := map[string]bool{}
	for _, v := range l.items(n, "overdue", 0, maxRules) {
		var r Rule
		l.fields(v, "a rule", map[string]func(*yaml.Node){
			"name":    func(v *yaml.Node) { r.Name = l.name(v, "the rule's name") },
			"of":      func(v *yaml.Node) { r.Of = l.class(v) },
			"days":    func(v *yaml.Node) { r.Days = l.number(v, "days", 1, maxDays) },
			"fee":     func(v *yaml.Node) { r.Fee = l.cents(v, "the fee") },
			"percent": func(v *yaml.Node) { r.Percent = l.percent(v) },
			"cut-off": func(v *yaml.Node) { r.CutOff = l.oneOf(v, "cut-off", "true", "false") == "true" },
		}, "name", "days")
		switch {
		case names[r.Name]:
			l.fail(v, "give each rule a name of its own", "there is a rule %s above", r.Name)
		case r.Fee != 0 && r.Percent != 0:
			l.fail(v, "keep one of them, or write two rules", "rule %s has a fee and a percent", r.Name)
		case r.Fee == 0 && r.Percent == 0 && !r.CutOff:
			l.fail(v, "add fee: 10.00, percent: 1.5 or cut-off: true", "rule %s does nothing", r.Name)
		}
		if l.err != nil {
			return
		}
		names[r.Name] = true
		l.s.Rules = append(l.s.Rules, r)
	}
	slices.SortStableFunc(l.s.Rules, func(a, b Rule) int { return cmp.Compare(a.Days, b.Days) })
}

// percent reads a share of what is unpaid. It is at most the whole, so that a fee is never larger than an amount may
// be.
func (r *reader) percent(n *yaml.Node) int64 {
	w := r.word(n, "percent")
	v, ok := parseDecimal(w, 4)
	if r.err == nil && (!ok || v < 1 || v > wholePercent) {
		r.fail(n, "write one like 1.5, more than 0 and at most 100, with at most 4 decimals", "percent is %q", w)
	}
	return v
}

// order reads an order: a name, or a list of keys.
func (r *reader) order(n *yaml.Node) Order {
	if n.Kind != yaml.SequenceNode {
		o, _ := namedOrder(r.oneOf(n, "order", orderNames()...))
		return o
	}
	var o Order
	for _, v := range r.items(n, "order", 1, maxKeys) {
		o = append(o, r.key(v))
	}
	if fault := o.fault(); r.err == nil && fault != "" {
		r.fail(n, "see docs/billing.md for the keys", "%s", fault)
	}
	return o
}

func (r *reader) key(n *yaml.Node) Key {
	var k Key
	known := map[string]func(*yaml.Node){}
	for by := range keyValues {
		known[by] = func(v *yaml.Node) {
			if k.By != "" {
				r.fail(n, "write each key after a dash of its own", "one entry of an order has the keys %s and %s", k.By, by)
			}
			k = Key{by, r.word(v, by)}
			if fault := k.fault(); r.err == nil && fault != "" {
				r.fail(v, "", "%s", fault)
			}
		}
	}
	r.fields(n, "an entry of an order", known)
	if r.err == nil && k.By == "" {
		r.fail(n, "write for example age: oldest", "an entry of an order is empty")
	}
	return k
}

// Notes are what is allowed in a scenario, but hardly meant.
func (s *Scenario) Notes() (notes []string) {
	seen := map[string]bool{}
	for _, p := range s.Payments {
		if seen[p.ID] {
			notes = append(notes, fmt.Sprintf("payment %s is there more than once and counts once", p.ID))
		}
		seen[p.ID] = true
		if p.Date > s.Until {
			notes = append(notes, fmt.Sprintf("payment %s is after %s and does not count", p.ID, s.Until))
		}
	}
	classes := map[string]bool{feeClass: true}
	for _, c := range s.Charges {
		classes[c.Class] = true
		if c.Due > s.Until {
			notes = append(notes, fmt.Sprintf("charge %s is due after %s and does not count", c.ID, s.Until))
		}
	}
	for _, k := range s.Order {
		if k.By == "class" && !classes[k.Value] {
			notes = append(notes, fmt.Sprintf("the order names class %s, which no charge has", k.Value))
		}
	}
	return notes
}
