package billing

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const article = "../20-billing/article.yaml"

func load(t testing.TB, path string) *Scenario {
	t.Helper()
	s, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// story tells a book in one line a entry.
func story(b *Book) string {
	var lines []string
	for _, e := range b.Entries {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s %s: %s", e.Day, e.Kind, e.ID, e.Owed, e.did())))
	}
	return strings.Join(lines, "\n")
}

// TestArticle is the story: 18.00 short in June, 47.00 owed and a cut-off in August; under oldest first 18.00.
func TestArticle(t *testing.T) {
	s := load(t, article)
	newest := Run(s, s.Order)
	if got, want := story(newest), strings.TrimSpace(`
2010-06-15 charge june 60.00:
2010-06-15 payment autopay-june 18.00: 42.00 to june
2010-07-15 charge july 78.00:
2010-07-15 payment autopay-july 18.00: 60.00 to july
2010-07-30 fee late-fee/june 28.00: june is still unpaid
2010-08-14 fee disconnection/june 47.00: june is still unpaid
2010-08-14 cut-off disconnection 47.00: june is still unpaid
2010-08-15 charge august 107.00:
2010-08-15 payment autopay-august 47.00: 60.00 to august`); got != want {
		t.Errorf("newest first:\n%s\nwant:\n%s", got, want)
	}
	oldest, _ := namedOrder("oldest-first")
	if b := Run(s, oldest); b.Owed() != 1800 || b.Fees() != 0 || b.CutOff != nil {
		t.Errorf("oldest first: %+v", b.Outcome())
	}
	if len(s.Assumptions) == 0 {
		t.Error("the file says nothing of what is assumed")
	}
}

// TestArticleDoesNotLeanOnTheSplit: whatever way the 29.00 are split and dated, the story is the same. So what the
// article does not say is no part of its result.
func TestArticleDoesNotLeanOnTheSplit(t *testing.T) {
	s := load(t, article)
	oldest, _ := namedOrder("oldest-first")
	rapid.Check(t, func(t *rapid.T) {
		first := Cents(rapid.IntRange(1, 2899).Draw(t, "first fee"))
		changed := *s
		changed.Rules = []Rule{
			{Name: "first", Days: rapid.IntRange(32, 60).Draw(t, "days"), Fee: first},
			{Name: "second", Days: 60, Fee: 2900 - first, CutOff: true},
		}
		bill := Cents(rapid.IntRange(1801, 100000).Draw(t, "bill"))
		changed.Charges, changed.Payments = nil, nil
		for i, c := range s.Charges {
			c.Amount = bill
			p := s.Payments[i]
			p.Amount = bill
			if i == 0 {
				p.Amount -= 1800
			}
			changed.Charges, changed.Payments = append(changed.Charges, c), append(changed.Payments, p)
		}
		if b := Run(&changed, s.Order); b.Owed() != 4700 || b.CutOff == nil || b.CutOff.String() != "2010-08-14" {
			t.Errorf("newest first: %+v", b.Outcome())
		}
		if b := Run(&changed, oldest); b.Owed() != 1800 || b.CutOff != nil {
			t.Errorf("oldest first: %+v", b.Outcome())
		}
	})
}

// day0 is when the small scenarios of these tests begin.
var day0 = dayOf(2010, 6, 1)

// scenario makes a small scenario: charges as id class day cents, payments as id day cents.
func scenario(charges, payments string, rules ...Rule) *Scenario {
	s := &Scenario{Title: "test", Until: day0 + 1000, Rules: rules}
	for line := range strings.FieldsFuncSeq(charges, func(c rune) bool { return c == ',' }) {
		var c Charge
		fmt.Sscan(line, &c.ID, &c.Class, (*int)(&c.Due), (*int64)(&c.Amount))
		c.Due += day0
		s.Charges = append(s.Charges, c)
	}
	for line := range strings.FieldsFuncSeq(payments, func(c rune) bool { return c == ',' }) {
		var p Payment
		fmt.Sscan(line, &p.ID, (*int)(&p.Date), (*int64)(&p.Amount))
		p.Date += day0
		s.Payments = append(s.Payments, p)
	}
	return s
}

func mustOrder(t testing.TB, text string) Order {
	t.Helper()
	o, err := ParseOrder(text)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestAllocation: where one payment goes, under each order.
func TestAllocation(t *testing.T) {
	for _, c := range []struct{ name, order, charges, payment, want string }{
		{"oldest", "oldest-first", "a x 0 500,b x 1 500,c x 2 500", "700", "5.00 to a, 2.00 to b"},
		{"newest", "newest-first", "a x 0 500,b x 1 500,c x 2 500", "700", "5.00 to c, 2.00 to b"},
		{"class, then oldest", "class:y,age:oldest", "a x 0 500,b y 1 500,c y 2 500", "1100", "5.00 to b, 5.00 to c, 1.00 to a"},
		{"class, then newest", "class:y,age:newest", "a x 0 500,b y 1 500,c y 2 500", "1100", "5.00 to c, 5.00 to b, 1.00 to a"},
		{"two classes", "class:z,class:y", "a x 0 500,b y 1 500,c z 2 500", "1100", "5.00 to c, 5.00 to b, 1.00 to a"},
		{"smallest", "amount:smallest", "a x 0 500,b x 1 300,c x 2 400", "500", "3.00 to b, 2.00 to c"},
		{"largest", "amount:largest", "a x 0 300,b x 1 500,c x 2 400", "600", "5.00 to b, 1.00 to c"},
		{"pro rata", "pro-rata", "a x 0 100,b x 1 100,c x 2 100", "100", "0.34 to a, 0.33 to b, 0.33 to c"},
		{"the largest remainder", "pro-rata", "rent x 0 65000,phone x 0 6000,power x 0 5000", "50000", "39.47 to phone, 32.90 to power, 427.63 to rent"},
		{"pro rata of nothing small", "pro-rata", "a x 0 1,b x 0 1,c x 0 1", "1", "0.01 to a"},
		{"class, then pro rata", "class:y,share:pro-rata", "a x 0 400,b y 1 100,c y 2 300", "200", "0.50 to b, 1.50 to c"},
		{"class, and pro rata of the rest", "class:y,share:pro-rata", "a x 0 400,b y 1 100,c x 2 100", "200", "1.00 to b, 0.80 to a, 0.20 to c"},
		{"the same day goes by id", "oldest-first", "b x 0 100,a x 0 100", "150", "1.00 to a, 0.50 to b"},
		{"too much is credit", "newest-first", "a x 0 100", "150", "1.00 to a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := Run(scenario(c.charges, "p 10 "+c.payment), mustOrder(t, c.order))
			last := b.Entries[len(b.Entries)-1]
			if last.did() != c.want {
				t.Errorf("got  %s\nwant %s", last.did(), c.want)
			}
		})
	}
}

// TestTime: what the days decide.
func TestTime(t *testing.T) {
	late := Rule{Name: "late", Days: 30, Fee: 500}
	cut := Rule{Name: "cut", Days: 60, CutOff: true}
	for _, c := range []struct {
		name, charges, payments string
		rules                   []Rule
		owed, fees, credit      Cents
		cut                     int // days after day0; 0: never
	}{
		{"paid on the last day", "a x 0 1000", "p 30 1000", []Rule{late}, 0, 0, 0, 0},
		{"paid a day late", "a x 0 1000", "p 31 1000", []Rule{late}, 500, 500, 0, 0},
		{"a cent is missing", "a x 0 1000", "p 0 999", []Rule{late, cut}, 501, 500, 0, 60},
		{"paid beforehand", "a x 10 1000", "p 0 1000", []Rule{late}, 0, 0, 0, 0},
		{"credit pays in part", "a x 10 1000", "p 0 400", []Rule{late}, 1100, 500, 0, 0},
		{"credit stays", "a x 0 1000", "p 0 1700", []Rule{late}, 0, 0, 700, 0},
		{"fees carry no fees", "a x 0 1000", "", []Rule{late, {Name: "again", Days: 31, Fee: 1}}, 1501, 501, 0, 0},
		{"a percentage", "a x 0 1000", "", []Rule{{Name: "p", Days: 30, Percent: 15000}}, 1015, 15, 0, 0},
		{"half a cent is rounded up", "a x 0 1", "", []Rule{{Name: "p", Days: 30, Percent: wholePercent / 2}}, 2, 1, 0, 0},
		{"less is rounded down", "a x 0 1", "", []Rule{{Name: "p", Days: 30, Percent: wholePercent/2 - 1}}, 1, 0, 0, 0},
		{"a percentage of what is left", "a x 0 1000", "p 1 900", []Rule{{Name: "p", Days: 30, Percent: wholePercent}}, 200, 100, 0, 0},
		{"only of its class", "a x 0 1000,b y 0 1000", "", []Rule{{Name: "l", Of: "y", Days: 30, Fee: 1}}, 2001, 1, 0, 0},
		{"after the end", "a x 0 1000,b x 2000 5", "p 1001 10", []Rule{{Name: "l", Days: 1001, Fee: 1}}, 1000, 0, 0, 0},
		{"cut off once, by the first", "a x 0 1000,b x 5 1000", "", []Rule{cut}, 2000, 0, 0, 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := Run(scenario(c.charges, c.payments, c.rules...), mustOrder(t, "oldest-first"))
			cutOn := 0
			if b.CutOff != nil {
				cutOn = int(*b.CutOff - day0)
			}
			if b.Owed() != c.owed || b.Fees() != c.fees || b.credit != c.credit || cutOn != c.cut {
				t.Errorf("owed %s, fees %s, credit %s, cut %d\n%s", b.Owed(), b.Fees(), b.credit, cutOn, story(b))
			}
		})
	}
}

func TestStatementHasEveryMonth(t *testing.T) {
	s := scenario("a x 0 1000", "p 70 400") // June, August
	s.Until = day0 + 100
	st := Run(s, mustOrder(t, "oldest-first")).Statement()
	var got []string
	for _, m := range st.Months {
		got = append(got, fmt.Sprintf("%s +%s -%s =%s", m.Month, m.Charges, m.Payments, m.Owed))
	}
	want := "2010-06 +10.00 -0.00 =10.00|2010-07 +0.00 -0.00 =10.00|2010-08 +0.00 -4.00 =6.00|2010-09 +0.00 -0.00 =6.00"
	if strings.Join(got, "|") != want {
		t.Errorf("%v", got)
	}
}

func TestParseOrder(t *testing.T) {
	for text, want := range map[string]string{
		"oldest-first":              "",
		"age:oldest":                "",
		"class:rent,age:newest":     "",
		"class:rent,share:pro-rata": "",
		"":                          `no key ""`,
		"oldest":                    `no key "oldest"; the keys are age, amount, class and share`,
		"age:old":                   `no age "old"; it is oldest or newest`,
		"class:":                    `"" is no class`,
		"class:a b":                 `"a b" is no class`,
		"share:pro-rata,age:oldest": "put it last",
		"age:oldest,":               `no key ""`,
		strings.Repeat("class:a,", 16) + "age:oldest": "at most 16 keys",
	} {
		_, err := ParseOrder(text)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
