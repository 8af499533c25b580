package billing

// Statement is an account by month, under one order.
type Statement struct {
	Title       string   `json:"title"`
	Order       Order    `json:"order"`
	Months      []Month  `json:"months"`
	Open        []Open   `json:"open"` // what is unpaid in the end
	Owed        Cents    `json:"owed_cents"`
	Credit      Cents    `json:"credit_cents"`
	Fees        Cents    `json:"fees_cents"`
	CutOff      *Day     `json:"cut_off"` // null: never
	Assumptions []string `json:"assumptions"`
}

// Month is what happened in one month, and what is owed when it ends.
type Month struct {
	Month    string `json:"month"` // 2010-06
	Charges  Cents  `json:"charges_cents"`
	Payments Cents  `json:"payments_cents"`
	Fees     Cents  `json:"fees_cents"`
	Owed     Cents  `json:"owed_cents"`
	Credit   Cents  `json:"credit_cents"`
	CutOff   bool   `json:"cut_off"` // in this month
}

// Open is a charge or fee of which something is unpaid.
type Open struct {
	ID     string `json:"id"`
	Class  string `json:"class"`
	Due    Day    `json:"due"`
	Amount Cents  `json:"cents"`
	Unpaid Cents  `json:"unpaid_cents"`
}

// Statement sums the book up. Months in which nothing happened are there too: what is owed in them is still owed.
func (b *Book) Statement() Statement {
	s := Statement{
		Title: b.Scenario.Title, Order: b.Order, Months: []Month{}, Open: []Open{}, Owed: b.Owed(), Credit: b.credit,
		Fees: b.Fees(), CutOff: b.CutOff, Assumptions: append([]string{}, b.Scenario.Assumptions...),
	}
	for _, it := range b.items {
		if it.unpaid > 0 {
			s.Open = append(s.Open, Open{it.ID, it.Class, it.Due, it.Amount, it.unpaid})
		}
	}
	if len(b.Entries) == 0 {
		return s
	}
	rest := b.Entries
	var m Month // what is owed is carried from month to month
	for at := rest[0].Day.month(); at <= b.Scenario.Until; at = at.next() {
		m = Month{Month: at.String()[:len("2010-06")], Owed: m.Owed, Credit: m.Credit}
		for len(rest) > 0 && rest[0].Day < at.next() {
			m.add(rest[0])
			rest = rest[1:]
		}
		s.Months = append(s.Months, m)
	}
	return s
}

func (m *Month) add(e Entry) {
	switch e.Kind {
	case kindCharge:
		m.Charges += e.Cents
	case kindPayment:
		m.Payments += e.Cents
	case kindFee:
		m.Fees += e.Cents
	case kindCutOff:
		m.CutOff = true
	}
	m.Owed, m.Credit = e.Owed, e.Credit
}

// Outcome is what one order leads to.
type Outcome struct {
	Order  Order `json:"order"`
	Owed   Cents `json:"owed_cents"`
	Fees   Cents `json:"fees_cents"`
	Credit Cents `json:"credit_cents"`
	CutOff *Day  `json:"cut_off"`
}

// Outcome is the end of the book.
func (b *Book) Outcome() Outcome {
	return Outcome{b.Order, b.Owed(), b.Fees(), b.credit, b.CutOff}
}
