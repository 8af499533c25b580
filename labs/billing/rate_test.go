package billing

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// mulDiv is a*b/c rounded down, worked out another way than shares does.
func mulDiv(a, b, c Cents) Cents {
	n := new(big.Int).Mul(big.NewInt(int64(a)), big.NewInt(int64(b)))
	return Cents(n.Quo(n, big.NewInt(int64(c))).Int64())
}

func TestRates(t *testing.T) {
	for _, c := range []struct {
		fees, short Cents
		days        int
		want        string
	}{
		{2900, 1800, 60, "161.1 966.7 980.1 34231.1"}, // the article
		{100, 10000, 365, "1.0 1.0 1.0 1.0"},
		{100, 10000, 360, "1.0 1.0 1.0 1.0"},
		{1000, 10000, 730, "10.0 4.9 5.0 4.9"},
		{1, 10000, 1, "0.0 3.6 3.7 3.7"},
		{1800, 1800, 1, "100.0 36000.0 36500.0 more than 1000000000"},
	} {
		l := Loan{Short: c.short, Fees: c.fees, Days: c.days}
		r := l.Rates()
		if got := fmt.Sprint(r.Period, " ", r.Stated, " ", r.APR, " ", r.APY); got != c.want {
			t.Errorf("%s for %s over %d days: %s, want %s", c.fees, c.short, c.days, got, c.want)
		}
	}
	if got := (&Loan{Short: 1800, Fees: 2900, Days: 60}).Stated().FloatString(2); got != "9.67" {
		t.Errorf("stated is %s, the article says 967 %%", got)
	}
}

// TestAPYAgreesWithFloats: the digits are those of the power, as far as floats know it.
func TestAPYAgreesWithFloats(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Loan{
			Short: Cents(rapid.Int64Range(1, int64(maxAmount)).Draw(t, "short")),
			Fees:  Cents(rapid.Int64Range(1, int64(maxAmount)).Draw(t, "fees")),
			Days:  rapid.IntRange(1, maxDays).Draw(t, "days"),
		}
		want := 100 * math.Expm1(math.Log1p(float64(l.Fees)/float64(l.Short))*aprYear/float64(l.Days))
		text, ok := l.APY(3)
		if !ok {
			if want < maxAPY*0.999 {
				t.Fatalf("%+v: too much, floats say %g", l, want)
			}
			return
		}
		got, err := strconv.ParseFloat(text, 64)
		if err != nil || math.Abs(got-want) > 0.00051+want*1e-9 {
			t.Fatalf("%+v: %s, floats say %g (%v)", l, text, want, err)
		}
	})
}

func TestLoans(t *testing.T) {
	rules := []Rule{{Name: "a", Days: 30, Fee: 100}, {Name: "b", Days: 50, Fee: 50}}
	for _, c := range []struct{ name, charges, payments, want string }{
		{"none", "a x 0 1000", "p 0 1000", ""},
		{"paid in part before the fee", "a x 0 1000", "p 0 400,q 5 100", "a 6.00 1.50 50;"},
		{"paid between the fees", "a x 0 1000", "p 40 1100", "a 10.00 1.00 30;"},
		{"credit on the due day", "a x 10 1000", "p 0 400", "a 6.00 1.50 50;"},
		{"two", "a x 0 1000,b x 10 500", "", "a 10.00 1.50 50;b 5.00 1.50 50;"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			for _, l := range Run(scenario(c.charges, c.payments, rules...), mustOrder(t, "oldest-first")).Loans() {
				got += fmt.Sprintf("%s %s %s %d;", l.Charge, l.Short, l.Fees, l.Days)
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
