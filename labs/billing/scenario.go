package billing

// Scenario is a file that passed every check: its ids are unique, its amounts and dates are in bounds.
type Scenario struct {
	File        string
	Title       string
	Assumptions []string // what the author of the file did not know, for whoever reads the result
	Until       Day      // the last day of the account that is looked at
	Order       Order    // in which the creditor applies payments
	Charges     []Charge
	Payments    []Payment
	Rules       []Rule
}

// Charge is something to be paid. Only its due day counts: a bill that is not due is not owed.
type Charge struct {
	ID     string
	Class  string // what it is for: rent, phone. feeClass is kept for fees
	Due    Day
	Amount Cents
}

// feeClass is the class of all fees.
const feeClass = "fee"

// Payment is money that came in. Its ID makes it one: the same payment told twice counts once.
type Payment struct {
	ID     string
	Date   Day
	Amount Cents
}

// Rule says what happens to a charge of which something is still unpaid so many days after it was due: a fee, a
// cut-off, or both. Fees themselves are charged no fees and cut nobody off.
type Rule struct {
	Name    string
	Of      string // the class it is for; empty is every class
	Days    int
	Fee     Cents
	Percent int64 // the fee as ten-thousandths of a percent of what is unpaid, in place of Fee
	CutOff  bool
}

// wholePercent is 100 % in the unit of Rule.Percent.
const wholePercent = 100 * 10_000

// fee is what the rule costs, rounded half up to a cent. The bounds of amounts and percents keep the product in an
// int64.
func (r Rule) fee(unpaid Cents) Cents {
	if r.Percent == 0 {
		return r.Fee
	}
	return (unpaid*Cents(r.Percent) + wholePercent/2) / wholePercent
}

// with is the scenario with more payments.
func (s *Scenario) with(more []Payment) *Scenario {
	c := *s
	c.Payments = append(append([]Payment(nil), s.Payments...), more...)
	return &c
}
