package billing

import (
	"cmp"
	"slices"
	"strings"
)

// Book is what became of a scenario under one order.
type Book struct {
	Scenario *Scenario
	Order    Order
	Entries  []Entry
	CutOff   *Day    // when service was cut; nil if it never was
	items    []*item // by age
	credit   Cents
}

// The kinds of entries.
const (
	kindCharge  = "charge"
	kindPayment = "payment"
	kindFee     = "fee"
	kindCutOff  = "cut-off"
)

// Entry is one event of the account, and what the account is after it.
type Entry struct {
	Day    Day    `json:"date"`
	Kind   string `json:"kind"`
	ID     string `json:"id"`
	Of     string `json:"of,omitempty"` // the unpaid charge, of a fee and of a cut-off
	Cents  Cents  `json:"cents"`
	Parts  []Part `json:"parts,omitempty"` // what was paid by it, or by credit when it fell due
	Owed   Cents  `json:"owed_cents"`
	Credit Cents  `json:"credit_cents"`
}

// item is a charge or a fee on the account.
type item struct {
	Charge
	unpaid Cents
	short  Cents // unpaid when its due day ended
}

// event is a thing that may happen: what it does depends on what is unpaid then.
type event struct {
	day  Day
	rank int // on one day charges come first, then payments, then what is overdue: who pays on the last day is in time
	id   string
	run  func()
}

// Run plays a scenario under an order. The order of lines in the file is of no account: events go by date, on one day
// charges before payments before fees, and those by id.
func Run(s *Scenario, o Order) *Book {
	b := &Book{Scenario: s, Order: o}
	events := b.events()
	slices.SortStableFunc(events, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.rank, b.rank), strings.Compare(a.id, b.id))
	})
	for _, e := range events {
		if e.day <= s.Until {
			e.run()
		}
	}
	return b
}

func (b *Book) events() (events []event) {
	s := b.Scenario
	for _, c := range s.Charges {
		it := &item{Charge: c, unpaid: c.Amount}
		events = append(events, event{c.Due, 0, c.ID, func() { b.charge(it) }})
		for i, r := range s.Rules {
			if r.Of == "" || r.Of == c.Class {
				events = append(events, event{c.Due + Day(r.Days), 2 + i, c.ID, func() { b.overdue(it, r) }})
			}
		}
	}
	counted := map[string]bool{}
	for _, p := range s.Payments {
		if !counted[p.ID] {
			counted[p.ID] = true
			events = append(events, event{p.Date, 1, p.ID, func() { b.pay(p) }})
		}
	}
	return events
}

func (b *Book) charge(it *item) {
	b.items = append(b.items, it)
	b.note(Entry{Day: it.Due, Kind: kindCharge, ID: it.ID, Cents: it.Amount, Parts: b.spend(it.Due)})
}

func (b *Book) pay(p Payment) {
	b.credit += p.Amount
	b.note(Entry{Day: p.Date, Kind: kindPayment, ID: p.ID, Cents: p.Amount, Parts: b.spend(p.Date)})
}

// overdue does what a rule says of a charge, if something of it is unpaid. There is then no credit that could pay a
// fee.
func (b *Book) overdue(it *item, r Rule) {
	if it.unpaid == 0 {
		return
	}
	day := it.Due + Day(r.Days)
	if fee := r.fee(it.unpaid); fee > 0 {
		id := r.Name + "/" + it.ID // no id of a file has a slash
		b.items = append(b.items, &item{Charge: Charge{id, feeClass, day, fee}, unpaid: fee})
		b.note(Entry{Day: day, Kind: kindFee, ID: id, Of: it.ID, Cents: fee})
	}
	if r.CutOff && b.CutOff == nil {
		b.CutOff = &day
		b.note(Entry{Day: day, Kind: kindCutOff, ID: r.Name, Of: it.ID})
	}
}

// spend applies the money at hand to what is open.
func (b *Book) spend(today Day) (parts []Part) {
	var open []*item
	for _, it := range b.items {
		if it.unpaid > 0 {
			open = append(open, it)
		}
	}
	parts, b.credit = b.Order.allocate(open, b.credit)
	for _, it := range open {
		if it.Due == today {
			it.short = it.unpaid
		}
	}
	return parts
}

func (b *Book) note(e Entry) {
	e.Owed, e.Credit = b.Owed(), b.credit
	b.Entries = append(b.Entries, e)
}

// Owed is what is due and unpaid. Money that is left over is credit, never a negative debt.
func (b *Book) Owed() (sum Cents) {
	for _, it := range b.items {
		sum += it.unpaid
	}
	return sum
}

// Fees is what fees came to, paid or not.
func (b *Book) Fees() (sum Cents) {
	for _, it := range b.items {
		if it.Class == feeClass {
			sum += it.Amount
		}
	}
	return sum
}
