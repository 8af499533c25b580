package billing

import (
	"math/big"
	"strings"
)

// Loan is a charge that was paid late, seen as a loan: so much was borrowed, for so many days, at the price of the
// fees.
type Loan struct {
	Charge string `json:"charge"`
	Short  Cents  `json:"short_cents"` // unpaid when its due day ended
	Fees   Cents  `json:"fees_cents"`  // that it caused
	Days   int    `json:"days"`        // from its due day to the last of them
}

// Loans are the charges that caused fees, in the order in which they first did.
func (b *Book) Loans() (loans []*Loan) {
	items := map[string]*item{}
	for _, it := range b.items {
		items[it.ID] = it
	}
	byCharge := map[string]*Loan{}
	for _, e := range b.Entries {
		if e.Kind != kindFee {
			continue
		}
		l := byCharge[e.Of]
		c := items[e.Of]
		if l == nil {
			l = &Loan{Charge: e.Of, Short: c.short}
			byCharge[e.Of] = l
			loans = append(loans, l)
		}
		l.Fees += e.Cents
		l.Days = int(e.Day - c.Due)
	}
	return loans
}

// The years that rates are for. The story's author counts twelve months of thirty days, so that 60 days times six are a
// year; an APR has a year of 365.
const (
	statedYear = 360
	aprYear    = 365
)

// Stated is the rate by the author's convention: fees over what was short, times 360 days over the days that it took.
func (l *Loan) Stated() *big.Rat { return l.simple(statedYear) }

// APR is the annual percentage rate: the same with 365 days, without compounding.
func (l *Loan) APR() *big.Rat { return l.simple(aprYear) }

func (l *Loan) simple(year int64) *big.Rat {
	return new(big.Rat).Mul(l.forPeriod(), big.NewRat(year, int64(l.Days)))
}

// forPeriod is the price of the loan for the time that it took.
func (l *Loan) forPeriod() *big.Rat { return big.NewRat(int64(l.Fees), int64(l.Short)) }

// percent writes a rate rounded to some decimals, half up.
func percent(rate *big.Rat, decimals int) string {
	return new(big.Rat).Mul(rate, big.NewRat(100, 1)).FloatString(decimals)
}

// maxAPY is the largest APY that is worked out, in percent: above it nobody reads the digits.
const maxAPY = 1_000_000_000

// APY is the annual percentage yield, in percent, rounded half up: the loan made again and again for a year of 365
// days, its price added to the debt each time. It is (1 + fees/short) to the power of 365/days, less 1. The power is no
// fraction, so the answer is found by its digits, with whole numbers only. ok is false above maxAPY.
func (l *Loan) APY(decimals int) (text string, ok bool) {
	growth := new(big.Rat).Add(l.forPeriod(), big.NewRat(1, 1))
	power := big.NewRat(aprYear, int64(l.Days)) // shortens the fraction
	p, q := power.Num(), power.Denom()
	num := new(big.Int).Exp(growth.Num(), p, nil)
	den := new(big.Int).Exp(growth.Denom(), p, nil)
	// The answer is the largest n with (n-1/2)/unit <= growth^(p/q): take both to the power of q, and away with
	// fractions.
	unit := int64(100) // one percent
	for range decimals {
		unit *= 10
	}
	num.Mul(num, new(big.Int).Exp(big.NewInt(2*unit), q, nil))
	reached := func(n *big.Int) bool {
		twice := new(big.Int).Lsh(n, 1)
		twice.Sub(twice, big.NewInt(1)).Exp(twice, q, nil)
		return twice.Mul(twice, den).Cmp(num) <= 0
	}
	lo, hi := big.NewInt(unit), big.NewInt(unit/100*(maxAPY+100))
	if reached(hi) {
		return "", false
	}
	for one := big.NewInt(1); new(big.Int).Sub(hi, lo).Cmp(one) > 0; {
		mid := new(big.Int).Add(lo, hi)
		mid.Rsh(mid, 1)
		if reached(mid) {
			lo = mid
		} else {
			hi = mid
		}
	}
	lo.Sub(lo, big.NewInt(unit))
	return new(big.Rat).SetFrac(lo, big.NewInt(unit/100)).FloatString(decimals), true
}

// Rates are a loan's rates as they are shown, in percent.
type Rates struct {
	Loan
	Period string `json:"period_percent"` // for the days that it took, not for a year
	Stated string `json:"stated_percent"`
	APR    string `json:"apr_percent"`
	APY    string `json:"apy_percent"`
}

// Rates rounds to one decimal.
func (l *Loan) Rates() Rates {
	apy, ok := l.APY(1)
	if !ok {
		apy = "more than 1" + strings.Repeat("0", 9)
	}
	return Rates{*l, percent(l.forPeriod(), 1), percent(l.Stated(), 1), percent(l.APR(), 1), apy}
}
