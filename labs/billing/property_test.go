package billing

import (
	"cmp"
	"fmt"
	"math/rand"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// drawScenario makes any small scenario. Few days and classes, so that things meet; amounts from a cent to the largest.
func drawScenario(t *rapid.T) *Scenario {
	amount := rapid.OneOf(rapid.Int64Range(1, 2000), rapid.Int64Range(1, int64(maxAmount)))
	day := rapid.IntRange(0, 200)
	s := &Scenario{Title: "drawn", Until: day0 + Day(rapid.IntRange(0, 250).Draw(t, "until"))}
	for i := range rapid.IntRange(1, 8).Draw(t, "charges") {
		s.Charges = append(s.Charges, Charge{fmt.Sprintf("c%d", i), rapid.SampledFrom([]string{"x", "y"}).Draw(t, "class"), day0 + Day(day.Draw(t, "due")), Cents(amount.Draw(t, "cents"))})
	}
	for i := range rapid.IntRange(0, 8).Draw(t, "payments") {
		s.Payments = append(s.Payments, Payment{fmt.Sprintf("p%d", i), day0 + Day(day.Draw(t, "date")), Cents(amount.Draw(t, "cents"))})
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "rules") {
		r := Rule{Name: fmt.Sprintf("r%d", i), Days: rapid.IntRange(1, 90).Draw(t, "days"), CutOff: rapid.Bool().Draw(t, "cut")}
		if rapid.Bool().Draw(t, "flat") {
			r.Fee = Cents(amount.Draw(t, "fee"))
		} else {
			r.Percent = rapid.Int64Range(1, wholePercent).Draw(t, "percent")
		}
		s.Rules = append(s.Rules, r)
	}
	return s
}

func drawOrder(t *rapid.T) Order {
	keys := []Key{{"class", "x"}, {"class", "fee"}, {"age", "oldest"}, {"age", "newest"}, {"amount", "smallest"}, {"amount", "largest"}}
	o := Order(rapid.SliceOfN(rapid.SampledFrom(keys), 0, 3).Draw(t, "keys"))
	if len(o) == 0 || rapid.Bool().Draw(t, "shared") {
		o = append(o, Key{"share", "pro-rata"})
	}
	return o
}

// TestNoCentMadeOrLost: after every entry, what was charged and raised as fees is what was paid of it and what is owed;
// what came in is what was paid and the credit. Nothing is negative, and nobody has credit and owes.
func TestNoCentMadeOrLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, o := drawScenario(t), drawOrder(t)
		b := Run(s, o)
		var charged, came, applied Cents
		left := map[string]Cents{}
		for _, e := range b.Entries {
			switch e.Kind {
			case kindCharge, kindFee:
				charged += e.Cents
				left[e.ID] += e.Cents
			case kindPayment:
				came += e.Cents
			}
			for _, p := range e.Parts {
				if p.Cents <= 0 {
					t.Fatalf("%s: a part of %s", e.ID, p.Cents)
				}
				applied += p.Cents
				if left[p.Charge] -= p.Cents; left[p.Charge] < 0 {
					t.Fatalf("%s was paid %s too much", p.Charge, -left[p.Charge])
				}
			}
			switch {
			case e.Owed != charged-applied:
				t.Fatalf("%s: owed %s, charged %s, applied %s", e.ID, e.Owed, charged, applied)
			case e.Credit != came-applied:
				t.Fatalf("%s: credit %s, came in %s, applied %s", e.ID, e.Credit, came, applied)
			case e.Owed < 0 || e.Credit < 0:
				t.Fatalf("%s: owed %s, credit %s", e.ID, e.Owed, e.Credit)
			case e.Owed > 0 && e.Credit > 0:
				t.Fatalf("%s: owes %s and has credit of %s", e.ID, e.Owed, e.Credit)
			}
		}
		for _, it := range b.items {
			if it.unpaid != left[it.ID] {
				t.Fatalf("%s: %s is unpaid, the entries say %s", it.ID, it.unpaid, left[it.ID])
			}
		}
	})
}

// TestStatementAddsUp: the months are the entries, and the open charges are what is owed.
func TestStatementAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := Run(drawScenario(t), drawOrder(t))
		s := b.Statement()
		var balance, open, fees Cents
		for _, m := range s.Months {
			balance += m.Charges + m.Fees - m.Payments
			fees += m.Fees
			if balance != m.Owed-m.Credit {
				t.Fatalf("%s: balance %s, owed %s, credit %s", m.Month, balance, m.Owed, m.Credit)
			}
		}
		for _, o := range s.Open {
			open += o.Unpaid
		}
		if open != s.Owed || balance != s.Owed-s.Credit || fees != s.Fees {
			t.Fatalf("owed %s, open %s, balance %s, fees %s of %s", s.Owed, open, balance, fees, s.Fees)
		}
	})
}

// TestPaymentTwice: the same payment applied again counts once, wherever it stands.
func TestPaymentTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, o := drawScenario(t), drawOrder(t)
		if len(s.Payments) == 0 {
			return
		}
		again := s.with([]Payment{rapid.SampledFrom(s.Payments).Draw(t, "again")})
		if diff := gocmp.Diff(Run(s, o).Entries, Run(again, o).Entries); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestLinesOfTheFile: their order is of no account.
func TestLinesOfTheFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, o := drawScenario(t), drawOrder(t)
		rng := rand.New(rand.NewSource(rapid.Int64().Draw(t, "seed")))
		mixed := *s
		mixed.Charges, mixed.Payments = slices.Clone(s.Charges), slices.Clone(s.Payments)
		rng.Shuffle(len(mixed.Charges), func(i, j int) {
			mixed.Charges[i], mixed.Charges[j] = mixed.Charges[j], mixed.Charges[i]
		})
		rng.Shuffle(len(mixed.Payments), func(i, j int) {
			mixed.Payments[i], mixed.Payments[j] = mixed.Payments[j], mixed.Payments[i]
		})
		if diff := gocmp.Diff(Run(s, o).Entries, Run(&mixed, o).Entries); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestOrderChangesOnlyWhereMoneyGoes: without rules about what is overdue, every order leaves the same debt and credit.
func TestOrderChangesOnlyWhereMoneyGoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScenario(t)
		s.Rules = nil
		a, b := Run(s, drawOrder(t)), Run(s, drawOrder(t))
		if a.Owed() != b.Owed() || a.credit != b.credit {
			t.Fatalf("%s: %s owed, %s: %s", a.Order, a.Owed(), b.Order, b.Owed())
		}
	})
}

// TestPaymentInPieces: under orders that do not look at amounts, a payment in two pieces on one day does what one does.
func TestPaymentInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScenario(t)
		o := Order{{"class", "x"}, rapid.SampledFrom([]Key{{"age", "oldest"}, {"age", "newest"}}).Draw(t, "age")}
		if len(s.Payments) == 0 || s.Payments[0].Amount < 2 {
			return
		}
		p := s.Payments[0]
		cut := Cents(rapid.Int64Range(1, int64(p.Amount-1)).Draw(t, "cut"))
		pieces := *s
		pieces.Payments = append(slices.Clone(s.Payments[1:]), Payment{p.ID, p.Date, cut}, Payment{p.ID + "b", p.Date, p.Amount - cut})
		a, b := Run(s, o), Run(&pieces, o)
		if diff := gocmp.Diff(a.Statement(), b.Statement()); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestShares: the sum is exact, nobody gets more than is unpaid, each share is within a cent of its fraction, and more
// unpaid never gets less.
func TestShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unpaid := rapid.SliceOfN(rapid.OneOf(rapid.Int64Range(0, 300), rapid.Int64Range(0, int64(maxAmount))), 1, 12).Draw(t, "unpaid")
		money := Cents(rapid.OneOf(rapid.Int64Range(0, 300), rapid.Int64Range(0, int64(maxAmount)*maxItems)).Draw(t, "money"))
		var group []*item
		var total Cents
		for _, u := range unpaid {
			group = append(group, &item{unpaid: Cents(u)})
			total += Cents(u)
		}
		got := shares(group, money)
		var sum Cents
		for i, g := range got {
			sum += g
			if g < 0 || g > group[i].unpaid {
				t.Fatalf("%s of %s", g, group[i].unpaid)
			}
			if total > 0 {
				low := mulDiv(min(money, total), group[i].unpaid, total)
				if g != low && g != low+1 {
					t.Fatalf("%s, its fraction is %s", g, low)
				}
			}
			for j := range got {
				if cmp.Compare(group[i].unpaid, group[j].unpaid) > 0 && got[i] < got[j] {
					t.Fatalf("%s gets %s, %s gets %s", group[i].unpaid, got[i], group[j].unpaid, got[j])
				}
			}
		}
		if sum != min(money, total) {
			t.Fatalf("the shares of %s come to %s", min(money, total), sum)
		}
	})
}
