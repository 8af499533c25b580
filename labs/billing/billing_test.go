package billing

import (
	"testing"
)

func TestParseCents(t *testing.T) {
	for _, c := range []struct {
		text string
		want Cents
		ok   bool
	}{
		{"18", 1800, true},
		{"18.5", 1850, true},
		{"18.00", 1800, true},
		{"0.01", 1, true},
		{"1000000000", maxAmount, true},
		{"1000000000.01", 0, false},
		{"0", 0, false},
		{"0.00", 0, false},
		{"18.001", 0, false},
		{"18.", 0, false},
		{".5", 0, false},
		{"-1", 0, false},
		{"+1", 0, false},
		{"1e3", 0, false},
		{"1,000", 0, false},
		{"1_0", 0, false},
		{"", 0, false},
		{"99999999999999999999", 0, false},
	} {
		got, ok := parseCents(c.text)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%q: %d %v, want %d %v", c.text, got, ok, c.want, c.ok)
		}
	}
}

func TestCentsString(t *testing.T) {
	for c, want := range map[Cents]string{0: "0.00", 5: "0.05", 1800: "18.00", 123456: "1234.56", -5: "-0.05", -1850: "-18.50"} {
		if c.String() != want {
			t.Errorf("%d: %s, want %s", int64(c), c, want)
		}
	}
}

func TestParseDay(t *testing.T) {
	for text, ok := range map[string]bool{
		"2010-06-15": true, "1970-01-01": true, "2199-12-31": true, "2012-02-29": true,
		"2010-02-29": false, "1969-12-31": false, "2200-01-01": false, "2010-6-15": false, "15.06.2010": false, "": false,
	} {
		d, got := parseDay(text)
		if got != ok || ok && d.String() != text {
			t.Errorf("%q: %s %v, want %v", text, d, got, ok)
		}
	}
}

func TestMonths(t *testing.T) {
	for _, c := range []struct{ day, month, next string }{
		{"2010-06-15", "2010-06-01", "2010-07-01"},
		{"2010-12-31", "2010-12-01", "2011-01-01"},
		{"2012-01-31", "2012-01-01", "2012-02-01"},
	} {
		d, _ := parseDay(c.day)
		if d.month().String() != c.month || d.next().String() != c.next {
			t.Errorf("%s: %s, %s", c.day, d.month(), d.next())
		}
	}
}
