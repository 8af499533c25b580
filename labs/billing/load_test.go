package billing

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// good uses every key of a scenario.
const good = `title: Every key
until: 2010-12-31
order: [{class: rent}, {amount: largest}, {age: newest}, {share: pro-rata}]
assumptions: [one, two]
charges:
  - {id: a, class: rent, due: 2010-06-15, amount: 60.5}
payments:
  - {id: p, date: 2010-06-15, amount: 60}
overdue:
  - {name: late, of: rent, days: 30, percent: 1.5}
  - {name: flat, days: 20, fee: 10.00, cut-off: false}
  - {name: cut, days: 60, cut-off: true}
`

func TestGoodScenario(t *testing.T) {
	s, err := Parse("good.yaml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case s.Title != "Every key" || s.Until.String() != "2010-12-31" || len(s.Assumptions) != 2:
		t.Errorf("%+v", s)
	case s.Order.String() != "class:rent,amount:largest,age:newest,share:pro-rata":
		t.Errorf("order %s", s.Order)
	case len(s.Charges) != 1 || s.Charges[0] != Charge{"a", "rent", dayOf(2010, 6, 15), 6050}:
		t.Errorf("charges %v", s.Charges)
	case len(s.Payments) != 1 || s.Payments[0] != Payment{"p", dayOf(2010, 6, 15), 6000}:
		t.Errorf("payments %v", s.Payments)
	case len(s.Rules) != 3 || s.Rules[0] != Rule{Name: "flat", Days: 20, Fee: 1000} ||
		s.Rules[1] != Rule{Name: "late", Of: "rent", Days: 30, Percent: 15000} || s.Rules[2] != Rule{Name: "cut", Days: 60, CutOff: true}:
		t.Errorf("rules %v, want them by days", s.Rules)
	}
}

// TestDocumentedScenario: the example of the documentation is a scenario.
func TestDocumentedScenario(t *testing.T) {
	text, err := os.ReadFile("../../docs/billing.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(text), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	if s, err := Parse("docs/billing.md", []byte(example)); err != nil || len(s.Rules) != 3 {
		t.Errorf("%v", err)
	}
}

// TestBadScenarios: good, with one thing replaced; what is said of it, and where.
func TestBadScenarios(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"unknown key", "title:", "titel:", `1:1: the scenario has no key "titel"|it takes assumptions, charges, order, overdue, payments, title, until`},
		{"no title", "title: Every key\n", "", "1:1: the scenario lacks title|add title: with its value"},
		{"empty title", "Every key", "", "1:7: the title is empty"},
		{"title with a control character", "Every key", `"\u001b[31m"`, "1:8: the title cannot be shown"},
		{"key twice", "until:", "title: x\nuntil:", "2:1: the scenario has title twice|keep one of them"},
		{"no date", "2010-12-31", "2010-13-31", `2:8: until "2010-13-31" is no date|write one like 2010-06-15, from 1970-01-01 to 2199-12-31`},
		{"unknown order", "order: [{class: rent}, {amount: largest}, {age: newest}, {share: pro-rata}]", "order: newest", `3:8: no order "newest"|take one of oldest-first, newest-first, pro-rata`},
		{"unknown word in a key", "age: newest", "age: new", `3:49: no age "new"; it is oldest or newest`},
		{"unknown order key", "age: newest", "date: newest", `3:44: an entry of an order has no key "date"|it takes age, amount, class, share`},
		{"two keys in one", "{class: rent}, {amount: largest}", "{class: rent, amount: largest}", "3:9: one entry of an order has the keys class and amount|write each key after a dash of its own"},
		{"an order without keys", "[{class: rent}, {amount: largest}, {age: newest}, {share: pro-rata}]", "[]", "3:8: order has 0 entries|give 1 to 16"},
		{"share first", "[{class: rent}, {amount: largest}, {age: newest}, {share: pro-rata}]", "[{share: pro-rata}, {age: newest}]", "3:8: what comes after share: pro-rata is never asked; put it last"},
		{"a class of fees", "class: rent, due", "class: fee, due", "6:20: the class fee is that of fees|choose another word; fees come from overdue"},
		{"no name", "id: a", "id: a b", `6:10: the charge's id "a b" cannot be a name`},
		{"no charges", "  - {id: a, class: rent, due: 2010-06-15, amount: 60.5}", "  []", "6:3: charges has 0 entries|give 1 to 500"},
		{"charge without an amount", ", amount: 60.5", "", "6:5: a charge lacks amount"},
		{"negative amount", "60.5", "-60.5", `6:51: the amount "-60.5" is no amount|write one like 18 or 18.00, more than 0 and at most 1000000000.00`},
		{"fraction of a cent", "60.5", "60.505", `6:51: the amount "60.505" is no amount`},
		{"too much money", "60.5", "1000000000.01", `is no amount`},
		{"overflow", "60.5", "99999999999999999999999999", `is no amount`},
		{"infinity", "60.5", ".inf", `6:51: the amount ".inf" is no amount`},
		{"hexadecimal", "60.5", "0x10", `6:51: the amount "0x10" is no amount`},
		{"a list for an amount", "60.5", "[1]", "6:51: the amount must be one plain value|write a single word or number"},
		{"two charges of one id", "payments:", "  - {id: a, class: rent, due: 2010-06-15, amount: 1}\npayments:", "7:5: charge a is in line 6 already|give each charge an id of its own"},
		{"one payment, two amounts", "overdue:", "  - {id: p, date: 2010-06-15, amount: 61}\noverdue:", "9:5: payment p was 60.00 on 2010-06-15 before|give another payment another id; the same one must say the same"},
		{"one payment, two dates", "overdue:", "  - {id: p, date: 2010-06-16, amount: 60}\noverdue:", "9:5: payment p was 60.00"},
		{"two rules of one name", "name: flat", "name: late", "11:5: there is a rule late above"},
		{"a rule that does nothing", ", fee: 10.00, cut-off: false", "", "11:5: rule flat does nothing|add fee: 10.00, percent: 1.5 or cut-off: true"},
		{"fee and percent", "percent: 1.5", "percent: 1.5, fee: 1", "10:5: rule late has a fee and a percent"},
		{"no days", "days: 30", "days: 0", `10:34: days is "0"|write a whole number from 1 to 3650`},
		{"percent of more than all", "percent: 1.5", "percent: 100.0001", `percent is "100.0001"`},
		{"cut-off no word", "cut-off: true", "cut-off: maybe", `no cut-off "maybe"|take one of true, false`},
		{"payments no list", "payments:\n  - {id: p, date: 2010-06-15, amount: 60}", "payments: none", "7:11: payments must be a list|write each entry after a dash"},
		{"a charge that is a word", "  - {id: a, class: rent, due: 2010-06-15, amount: 60.5}", "  - a", "6:5: a charge must be a mapping|write it as key: value"},
		{"merge", "title:", "<<: {}\ntitle:", "1:1: the scenario has a key that is no plain word"},
		{"alias of nothing", "60.5", "*a", "6:51: an alias of nothing|write it out"},
		{"anchor", "title: Every key", "title: &a x", "1:8: the title must be one plain value"},
		{"alias", "title: Every key", "title: x\n&a until: 2010-12-31\norder: *a", "2:1: the scenario has a key that is no plain word"},
		{"tag", "60.5", "!!int 60", "6:51: the amount must be one plain value"},
		{"block", "title: Every key", "title: |\n  x", "1:8: the title must be one plain value"},
		{"key that is a number", "title:", "1: x\ntitle:", "1:1: the scenario has a key that is no plain word"},
		{"not YAML", "title: Every key", "title: [", "not YAML"},
		{"nested", "title: Every key", "title: [[[[[[[[[", "1:16: a scenario nests deeper than 8"},
		{"two documents", "title:", "title: x\n---\ntitle:", "a second document; a scenario is one|remove the line ---"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(good, c.old, c.new, 1)
			if text == good {
				t.Fatal("nothing was replaced")
			}
			_, err := Parse("s.yaml", []byte(text))
			checkFault(t, err, text, c.want)
		})
	}
}

// checkFault wants an error of a place of a text: PLACE: MESSAGE|WHAT TO DO, or a part of the message.
func checkFault(t *testing.T, err error, text, want string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a place", err)
	}
	msg, do, _ := strings.Cut(want, "|")
	if !strings.Contains(err.Error(), msg) || !strings.Contains(e.Do, do) {
		t.Errorf("got %v\nwant %s", err, want)
	}
	lines := strings.Split(text, "\n")
	if e.Line < 1 || e.Line > len(lines) || e.Source != printable(lines[e.Line-1]) || e.Col < 1 {
		t.Errorf("line %d, column %d, source %q", e.Line, e.Col, e.Source)
	}
}

func TestFilesOutOfBounds(t *testing.T) {
	for name, text := range map[string]string{
		"empty":   "",
		"comment": "# nothing",
		"large":   "title: " + strings.Repeat("x", maxFile),
		"text":    strings.Replace(good, "Every key", strings.Repeat("x", maxText+1), 1),
		"deep":    strings.Repeat("[\n", maxFile/2),
		"dashes":  strings.Repeat("- ", maxFile/2),
		"aliases": "title: &a x\norder: [" + strings.Repeat("*a, ", maxFile/8) + "]\n",
		"many":    strings.Replace(good, "charges:\n", "charges:\n"+strings.Repeat("  - {}\n", maxItems+1), 1),
	} {
		if _, err := Parse("s.yaml", []byte(text)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestNotes(t *testing.T) {
	s := scenario("a x 0 100,b x 2000 100", "p 0 5,p 0 5,q 1001 5")
	s.Order = mustOrder(t, "class:y,class:fee,class:x")
	want := "payment p is there more than once and counts once|payment q is after 2013-02-25 and does not count|" +
		"charge b is due after 2013-02-25 and does not count|the order names class y, which no charge has"
	if got := strings.Join(s.Notes(), "|"); got != want {
		t.Errorf("%s", got)
	}
}

// FuzzParse: whatever the text, the reader gives an error with a place or a scenario that keeps the books.
func FuzzParse(f *testing.F) {
	for _, path := range []string{article, "../20-billing/winter.yaml", "../20-billing/flat.yaml"} {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(good))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse("s.yaml", text)
		if err != nil {
			checkFuzzed(t, err)
			return
		}
		b := Run(s, s.Order)
		st := b.Statement()
		if len(st.Months) > 12*230+1 || b.Owed() < 0 || b.credit < 0 || b.Owed() > 0 && b.credit > 0 {
			t.Fatalf("%+v", st)
		}
	})
}

func checkFuzzed(t *testing.T, err error) {
	var e *Error
	if !errors.As(err, &e) || e.Line < 1 || e.Col < 1 || strings.ContainsAny(err.Error(), "\x1b\r\x00") {
		t.Fatalf("an error without a place, or unfit for a terminal: %q", err)
	}
}
