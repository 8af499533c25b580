package billing

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// grid is a table of words. Columns whose heading begins with > are aligned to the right, for amounts.
type grid struct{ lines [][]string }

func newGrid(head ...string) *grid { return &grid{[][]string{head}} }

func (g *grid) row(cells ...any) {
	line := make([]string, len(cells))
	for i, c := range cells {
		line[i] = fmt.Sprint(c)
	}
	g.lines = append(g.lines, line)
}

func (g *grid) write(w io.Writer) {
	width := make([]int, len(g.lines[0]))
	right := make([]bool, len(g.lines[0]))
	for i, h := range g.lines[0] {
		g.lines[0][i] = strings.TrimPrefix(h, ">")
		right[i] = g.lines[0][i] != h
	}
	for _, line := range g.lines {
		for i, cell := range line {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, line := range g.lines {
		var b strings.Builder
		for i, cell := range line {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if right[i] {
				cell = pad + cell
			} else {
				cell += pad
			}
			b.WriteString(cell + "  ")
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// money is an amount in a table: nothing where there is none.
func money(c Cents) string {
	if c == 0 {
		return "-"
	}
	return c.String()
}

// never is a date in a table.
func never(d *Day) string {
	if d == nil {
		return "never"
	}
	return d.String()
}

func (s Statement) write(w io.Writer) {
	fmt.Fprintf(w, "%s  (order %s)\n", s.Title, s.Order)
	g := newGrid("MONTH", ">CHARGES", ">PAYMENTS", ">FEES", ">OWED", ">CREDIT", "SERVICE")
	service := "on"
	for _, m := range s.Months {
		if m.CutOff {
			service = "cut off on " + never(s.CutOff)
		}
		g.row(m.Month, money(m.Charges), money(m.Payments), money(m.Fees), money(m.Owed), money(m.Credit), service)
		if m.CutOff {
			service = "cut off"
		}
	}
	g.write(w)
	if len(s.Open) > 0 {
		fmt.Fprintf(w, "\nWhat the %s consist of\n", s.Owed)
		g = newGrid("ID", "CLASS", "DUE", ">AMOUNT", ">UNPAID")
		for _, o := range s.Open {
			g.row(o.ID, o.Class, o.Due, o.Amount, o.Unpaid)
		}
		g.write(w)
	}
	writeAssumptions(w, s.Assumptions)
}

func writeAssumptions(w io.Writer, assumptions []string) {
	for i, a := range assumptions {
		if i == 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, "Assumed:", a)
	}
}

// Timeline is every event of an account, under one order.
type Timeline struct {
	Title       string   `json:"title"`
	Order       Order    `json:"order"`
	Entries     []Entry  `json:"entries"`
	Owed        Cents    `json:"owed_cents"`
	CutOff      *Day     `json:"cut_off"`
	Assumptions []string `json:"assumptions"`
}

// Timeline is the book, for those who read it.
func (b *Book) Timeline() Timeline {
	return Timeline{b.Scenario.Title, b.Order, append([]Entry{}, b.Entries...), b.Owed(), b.CutOff, append([]string{}, b.Scenario.Assumptions...)}
}

func (t Timeline) write(w io.Writer) {
	fmt.Fprintf(w, "%s  (order %s)\n", t.Title, t.Order)
	g := newGrid("DATE", "EVENT", ">AMOUNT", ">OWED", ">CREDIT", "WHAT IT DID")
	for _, e := range t.Entries {
		event := e.Kind + " " + e.ID
		if e.Kind == kindFee {
			event = e.ID // late-fee/june
		}
		if e.Kind == kindCutOff {
			event = "SERVICE CUT OFF"
		}
		g.row(e.Day, event, money(e.Cents), money(e.Owed), money(e.Credit), e.did())
	}
	g.write(w)
	fmt.Fprintf(w, "\nIn the end %s is owed; service was cut off: %s.\n", t.Owed, never(t.CutOff))
	writeAssumptions(w, t.Assumptions)
}

// did says where the money of an entry went, or what brought it about.
func (e Entry) did() string {
	words := make([]string, len(e.Parts))
	for i, p := range e.Parts {
		words[i] = fmt.Sprintf("%s to %s", p.Cents, p.Charge)
	}
	switch {
	case e.Of != "":
		return e.Of + " is still unpaid"
	case e.Kind == kindCharge && len(words) > 0:
		return "from credit " + strings.Join(words, ", ")
	}
	return strings.Join(words, ", ")
}

// Comparison is what each order leads to.
type Comparison struct {
	Title       string    `json:"title"`
	Outcomes    []Outcome `json:"outcomes"`
	Assumptions []string  `json:"assumptions"`
}

// Compare runs a scenario under several orders.
func Compare(s *Scenario, orders []Order) Comparison {
	c := Comparison{Title: s.Title, Outcomes: []Outcome{}, Assumptions: append([]string{}, s.Assumptions...)}
	for _, o := range orders {
		c.Outcomes = append(c.Outcomes, Run(s, o).Outcome())
	}
	return c
}

func (c Comparison) write(w io.Writer) {
	fmt.Fprintln(w, c.Title)
	g := newGrid("ORDER", ">OWED", ">FEES", ">CREDIT", "CUT OFF")
	for _, o := range c.Outcomes {
		g.row(o.Order, money(o.Owed), money(o.Fees), money(o.Credit), never(o.CutOff))
	}
	g.write(w)
	writeAssumptions(w, c.Assumptions)
}

// RateTable is what being late cost, as rates.
type RateTable struct {
	Title       string   `json:"title"`
	Order       Order    `json:"order"`
	Rates       []Rates  `json:"rates"`
	Assumptions []string `json:"assumptions"`
}

// RateTable is the rates of the book's loans.
func (b *Book) RateTable() RateTable {
	t := RateTable{b.Scenario.Title, b.Order, []Rates{}, append([]string{}, b.Scenario.Assumptions...)}
	for _, l := range b.Loans() {
		t.Rates = append(t.Rates, l.Rates())
	}
	return t
}

func (t RateTable) write(w io.Writer) {
	fmt.Fprintf(w, "%s  (order %s)\n", t.Title, t.Order)
	if len(t.Rates) == 0 {
		fmt.Fprintln(w, "No fees, so no rate.")
	}
	for _, r := range t.Rates {
		fmt.Fprintf(w, "%s was short by %s, which cost %s in %d days: %s %%\n", r.Charge, r.Short, r.Fees, r.Days, r.Period)
		g := newGrid("A YEAR", ">RATE", "HOW")
		fraction := fmt.Sprintf("%s / %s", r.Fees, r.Short)
		g.row("stated", r.Stated+" %", fmt.Sprintf("%s * %d / %d", fraction, statedYear, r.Days))
		g.row("APR", r.APR+" %", fmt.Sprintf("%s * %d / %d", fraction, aprYear, r.Days))
		g.row("APY", r.APY+" %", fmt.Sprintf("(1 + %s) ^ (%d / %d) - 1", fraction, aprYear, r.Days))
		g.write(w)
	}
	writeAssumptions(w, t.Assumptions)
}
