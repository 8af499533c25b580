// Package billing shows what the order costs in which payments are applied to what is owed. A scenario (charges,
// payments, what happens to what stays unpaid) and an order give a book: each event, with every cent's way. Statements,
// comparisons, rates and the checks of lab 20 are read off the book. It knows nothing of switches, firewalls or labs,
// imports nothing of ours, and moves no real money.
package billing

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Cents are an amount of money. There are no floats: a cent is never made or lost by rounding.
type Cents int64

// The bounds of a scenario. They keep every sum far below what an int64 holds: at most maxItems charges, each with at
// most maxRules fees, and none is larger than maxAmount.
const (
	maxItems = 500 // charges, and payments
	maxRules = 8   // about what is overdue
)

const maxAmount Cents = 1_000_000_000_00 // of one charge, payment or fee

func (c Cents) String() string {
	sign := ""
	if c < 0 {
		sign, c = "-", -c
	}
	return fmt.Sprintf("%s%d.%02d", sign, c/100, c%100)
}

// parseCents reads 18, 18.5 or 18.00: an amount that is more than nothing.
func parseCents(s string) (Cents, bool) {
	n, ok := parseDecimal(s, 2)
	return Cents(n), ok && n > 0 && Cents(n) <= maxAmount
}

// parseDecimal reads digits with at most n decimals, as a whole number of the n-th decimal.
func parseDecimal(s string, n int) (int64, bool) {
	whole, part, dot := strings.Cut(s, ".")
	if whole == "" || dot && part == "" || len(whole) > 12 || len(part) > n || strings.Trim(whole+part, "0123456789") != "" {
		return 0, false
	}
	v, err := strconv.ParseInt(whole+part+strings.Repeat("0", n-len(part)), 10, 64)
	return v, err == nil
}

// Day is a date, counted from 1 January 1970. There are no time zones: a due day ends when the day does.
type Day int

const dayLayout = "2006-01-02"

// The days that a scenario may use.
var firstDay, lastDay = dayOf(1970, 1, 1), dayOf(2199, 12, 31)

func dayOf(year int, month time.Month, day int) Day {
	return Day(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

func parseDay(s string) (Day, bool) {
	t, err := time.Parse(dayLayout, s)
	if err != nil {
		return 0, false
	}
	d := Day(t.Unix() / 86400)
	return d, t.Unix() >= 0 && d >= firstDay && d <= lastDay
}

func (d Day) time() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

func (d Day) String() string { return d.time().Format(dayLayout) }

// MarshalText writes the date as people do.
func (d Day) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// month is the first day of the day's month, and next the first of the one after.
func (d Day) month() Day {
	t := d.time()
	return dayOf(t.Year(), t.Month(), 1)
}

func (d Day) next() Day {
	t := d.time()
	return dayOf(t.Year(), t.Month()+1, 1)
}
