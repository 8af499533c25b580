package billing

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
)

// kind is a way to check. fits says what keeps a task from being checked so, for those who write tasks; empty is
// nothing.
type kind struct {
	fits  func(Task) string
	check func(Task, *Answer) (passed bool, reason string)
}

// kindOrder is the kind that judges the student's order: it is compared with the best that has a name, so no task names
// one.
const kindOrder = "order"

// kinds are the ways to check, by the word that tasks use.
var kinds = map[string]kind{
	"owed":    {fitsOwed, checkOwed},
	kindOrder: {fitsAny, checkOrder},
	"rate":    {fitsRate, checkRate},
	"shares":  {fitsShares, checkShares},
}

var kindNames = slices.Sorted(maps.Keys(kinds))

func fitsAny(Task) string { return "" }

func fitsOwed(t Task) string {
	if _, named := namedOrder(t.Order.String()); !named || t.Order.String() == orderNames()[0] {
		return "owed is asked for under oldest-first and another order that has a name"
	}
	if Run(t.Scenario, t.Order).CutOff == nil {
		return fmt.Sprintf("nobody is cut off under %s, so there is nothing to ask for", t.Order)
	}
	return ""
}

// checkOwed: what is owed in the end under the task's order and under oldest first, and when service is cut under the
// former.
func checkOwed(t Task, a *Answer) (bool, string) {
	var wrong []string
	for _, name := range []string{t.Order.String(), orderNames()[0]} {
		o, _ := namedOrder(name)
		got, answered := a.Owed[name]
		switch {
		case !answered:
			return false, fmt.Sprintf("owed: %s is not answered", name)
		case got != Run(t.Scenario, o).Owed():
			wrong = append(wrong, fmt.Sprintf("%s is not what is owed under %s", got, name))
		}
	}
	book := Run(t.Scenario, t.Order)
	switch {
	case len(wrong) > 0:
		return false, strings.Join(wrong, ", and ")
	case a.CutOff == nil:
		return false, "cut-off is not answered"
	case *a.CutOff != *book.CutOff:
		return false, fmt.Sprintf("service is not cut off on %s: a charge must be unpaid for the whole time that the rule names", a.CutOff)
	}
	return true, fmt.Sprintf("%s is owed under %s, and service is cut off on %s", book.Owed(), t.Order, book.CutOff)
}

// checkOrder: the student's order is as good as the best that has a name. Fees are all that can differ in what is owed.
func checkOrder(t Task, a *Answer) (bool, string) {
	if a.Order == nil {
		return false, "order is not answered"
	}
	got, want := Run(t.Scenario, a.Order), best(t.Scenario)
	found := fmt.Sprintf("under %s %s is owed", a.Order, got.Owed())
	if fees := got.Fees(); fees > 0 {
		found += fmt.Sprintf(", after fees of %s", fees)
	}
	if got.CutOff != nil {
		found += fmt.Sprintf(", and service is cut off on %s", got.CutOff)
	}
	if got.Fees() != want.Fees() || (got.CutOff == nil) != (want.CutOff == nil) {
		return false, fmt.Sprintf("%s: %s; another order is better", t.Scenario.Title, found)
	}
	return true, fmt.Sprintf("%s: %s", t.Scenario.Title, found)
}

// best is the book under the order with a name that costs least: nobody is cut off if that can be, and the fees are
// lowest.
func best(s *Scenario) *Book {
	var best *Book
	for _, o := range orders {
		b := Run(s, o.order)
		cut := best != nil && b.CutOff != nil && best.CutOff == nil
		saves := best != nil && b.CutOff == nil && best.CutOff != nil
		if best == nil || saves || !cut && b.Fees() < best.Fees() {
			best = b
		}
	}
	return best
}

func fitsRate(t Task) string {
	loans := Run(t.Scenario, t.Order).Loans()
	if len(loans) != 1 {
		return fmt.Sprintf("%d charges cause fees under %s, and a rate needs one", len(loans), t.Order)
	}
	if _, ok := loans[0].APY(maxDecimals); !ok {
		return "the APY is too large to ask for"
	}
	return ""
}

// checkRate: first what the rates are made from, then the rates, rounded as the student did.
func checkRate(t Task, a *Answer) (bool, string) {
	l := Run(t.Scenario, t.Order).Loans()[0]
	r := a.Rate
	switch {
	case r.Short == nil || r.Fees == nil || r.Days == nil:
		return false, "rate: short, fees and days are not all answered"
	case *r.Short != l.Short:
		return false, fmt.Sprintf("%s is not what was short when the bill was due", *r.Short)
	case *r.Fees != l.Fees:
		return false, fmt.Sprintf("%s is not what that cost in fees", *r.Fees)
	case *r.Days != l.Days:
		return false, fmt.Sprintf("it is not %d days from the due day to the last fee", *r.Days)
	}
	for _, c := range []struct {
		name string
		got  *decimal
		want func(decimals int) string
	}{
		{"stated", r.Stated, func(n int) string { return percent(l.Stated(), n) }},
		{"apr", r.APR, func(n int) string { return percent(l.APR(), n) }},
		{"apy", r.APY, l.apyText},
	} {
		switch {
		case c.got == nil:
			return false, fmt.Sprintf("rate: %s is not answered", c.name)
		case !c.got.is(c.want):
			return false, fmt.Sprintf("%s: %s %% is not right%s", c.name, c.got.text, l.mistake(c.got, c.want))
		}
	}
	return true, fmt.Sprintf("%s for %s over %d days: stated %s %%, APR %s %%, APY %s %%", l.Fees, l.Short, l.Days, r.Stated.text, r.APR.text, r.APY.text)
}

func (l *Loan) apyText(decimals int) string {
	text, _ := l.APY(decimals)
	return text
}

// is says whether a number is another one, rounded to as many decimals as it has, or cut off there.
func (d *decimal) is(exact func(decimals int) string) bool {
	const beyond = 3
	longer := exact(d.decimals + beyond)
	cut := strings.TrimSuffix(longer[:max(0, len(longer)-beyond)], ".")
	for _, text := range []string{exact(d.decimals), cut} {
		if want, ok := new(big.Rat).SetString(text); ok && d.value.Cmp(want) == 0 {
			return true
		}
	}
	return false
}

// percents is a number that was written as a fraction of one, in percent.
func (d *decimal) percents() *decimal {
	return &decimal{d.text, max(0, d.decimals-2), new(big.Rat).Mul(d.value, big.NewRat(100, 1))}
}

// mistake guesses how a wrong rate came about.
func (l *Loan) mistake(got *decimal, want func(decimals int) string) string {
	if got.percents().is(want) {
		return ": give it in percent"
	}
	period := l.forPeriod()
	for _, m := range []struct {
		rate *big.Rat
		says string
	}{
		{period, fmt.Sprintf(": that is for %d days, not for a year", l.Days)},
		{l.Stated(), fmt.Sprintf(": that is with a year of %d days", statedYear)},
		{l.APR(), fmt.Sprintf(": that is with a year of %d days, without compounding", aprYear)},
		{new(big.Rat).Mul(period, big.NewRat(12, 1)), ": that takes the whole time for a month"},
	} {
		if got.is(func(n int) string { return percent(m.rate, n) }) {
			return m.says
		}
	}
	return ""
}

func fitsShares(t Task) string {
	if len(t.Scenario.Payments) == 0 {
		return "there is no payment to share"
	}
	return ""
}

// checkShares: what each charge gets of the scenario's first payment.
func checkShares(t Task, a *Answer) (bool, string) {
	if len(a.Shares) == 0 {
		return false, "shares is not answered"
	}
	p := t.Scenario.Payments[0]
	want := map[string]Cents{}
	for _, e := range Run(t.Scenario, t.Order).Entries {
		if e.Kind == kindPayment && e.ID == p.ID {
			for _, part := range e.Parts {
				want[part.Charge] = part.Cents
			}
		}
	}
	var sum Cents
	for id, got := range a.Shares {
		if _, there := want[id]; !there {
			return false, fmt.Sprintf("%s gets nothing of payment %s", id, p.ID)
		}
		sum += got
	}
	switch {
	case len(a.Shares) != len(want):
		return false, fmt.Sprintf("%d charges get something, not %d", len(want), len(a.Shares))
	case sum < p.Amount:
		return false, fmt.Sprintf("the shares come to %s of %s: %s is lost", sum, p.Amount, p.Amount-sum)
	case sum > p.Amount:
		return false, fmt.Sprintf("the shares come to %s of %s: %s is made from nothing", sum, p.Amount, sum-p.Amount)
	case !maps.Equal(a.Shares, want):
		return false, "the sum is right, but a cent went to the wrong charge: the largest remainder has the first claim"
	}
	return true, fmt.Sprintf("%d shares, %s in all", len(want), sum)
}
