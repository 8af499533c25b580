package billing

import (
	_ "embed"
	"math/big"
	"strings"

	"go.yaml.in/yaml/v4"
)

// AnswerSchema is the JSON schema of what students hand in, for editors.
//
//go:embed schema/answers.schema.json
var AnswerSchema []byte

// Answer is what a student hands in. What is not there, or is left empty, is not answered yet.
type Answer struct {
	File   string
	Order  Order            // nil: not answered
	Owed   map[string]Cents // by the name of the order
	CutOff *Day
	Rate   struct {
		Short, Fees      *Cents
		Days             *int
		Stated, APR, APY *decimal
	}
	Shares map[string]Cents // by the charge
}

// decimal is a number as it was written: how many decimals there are says how exact it means to be.
type decimal struct {
	text     string
	decimals int
	value    *big.Rat
}

// maxDecimals bounds how exact a percentage can be asked to be.
const maxDecimals = 4

// LoadAnswer reads and checks an answer file.
func LoadAnswer(path string) (*Answer, error) {
	text, shown, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return parseAnswer(shown, text)
}

func parseAnswer(file string, text []byte) (*Answer, error) {
	a := &Answer{File: file, Owed: map[string]Cents{}, Shares: map[string]Cents{}}
	err := read(file, text, "an answer", func(r *reader, n *yaml.Node) {
		r.fields(n, "the answer", answered(map[string]func(*yaml.Node){
			"order":   func(v *yaml.Node) { a.Order = r.order(v) },
			"owed":    func(v *yaml.Node) { r.owed(v, a.Owed) },
			"cut-off": func(v *yaml.Node) { d := r.day(v, "cut-off"); a.CutOff = &d },
			"rate":    func(v *yaml.Node) { r.rate(v, a) },
			"shares":  func(v *yaml.Node) { r.shares(v, a.Shares) },
		}))
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// answered makes readers pass over what is left empty.
func answered(known map[string]func(*yaml.Node)) map[string]func(*yaml.Node) {
	for key, read := range known {
		known[key] = func(v *yaml.Node) {
			if !isNull(v) {
				read(v)
			}
		}
	}
	return known
}

func (r *reader) owed(n *yaml.Node, owed map[string]Cents) {
	known := map[string]func(*yaml.Node){}
	for _, name := range orderNames() {
		known[name] = func(v *yaml.Node) { owed[name] = r.cents(v, "what is owed under "+name) }
	}
	r.fields(n, "owed", answered(known))
}

func (r *reader) rate(n *yaml.Node, a *Answer) {
	amount := func(to **Cents, what string) func(*yaml.Node) {
		return func(v *yaml.Node) { c := r.cents(v, what); *to = &c }
	}
	percent := func(to **decimal, what string) func(*yaml.Node) {
		return func(v *yaml.Node) { *to = r.decimal(v, what) }
	}
	r.fields(n, "the rate", answered(map[string]func(*yaml.Node){
		"short":  amount(&a.Rate.Short, "what was short"),
		"fees":   amount(&a.Rate.Fees, "the fees"),
		"days":   func(v *yaml.Node) { d := r.number(v, "days", 1, maxDays); a.Rate.Days = &d },
		"stated": percent(&a.Rate.Stated, "the stated rate"),
		"apr":    percent(&a.Rate.APR, "the APR"),
		"apy":    percent(&a.Rate.APY, "the APY"),
	}))
}

// decimal reads a percentage with any number of decimals up to maxDecimals.
func (r *reader) decimal(n *yaml.Node, what string) *decimal {
	w := r.word(n, what)
	_, ok := parseDecimal(w, maxDecimals)
	if r.err == nil && !ok {
		r.fail(n, "write one like 12 or 12.3: percent, without the sign, at most 4 decimals", "%s is %q", what, w)
	}
	if r.err != nil {
		return nil
	}
	v, _ := new(big.Rat).SetString(w)
	_, part, _ := strings.Cut(w, ".")
	return &decimal{w, len(part), v}
}

func (r *reader) shares(n *yaml.Node, shares map[string]Cents) {
	for _, v := range r.items(n, "shares", 0, maxItems) {
		var id string
		var got Cents
		r.fields(v, "a share", map[string]func(*yaml.Node){
			"charge": func(v *yaml.Node) { id = r.name(v, "the charge") },
			"gets":   func(v *yaml.Node) { got = r.cents(v, "what it gets") },
		}, "charge", "gets")
		if _, twice := shares[id]; twice {
			r.fail(v, "keep one of them", "charge %s is there twice", id)
		}
		shares[id] = got
	}
}
