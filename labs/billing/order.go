package billing

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// Order says which of several open charges a payment goes to. Its keys are asked one after the other, as in sorting:
// the first that tells two charges apart decides. What no key tells apart goes by age, oldest first, unless the last
// key says that it is shared.
type Order []Key

// Key is one thing to order by.
type Key struct {
	By    string // class, age, amount or share
	Value string // a class; oldest or newest; smallest or largest; pro-rata
}

func (k Key) String() string { return k.By + ":" + k.Value }

// keyValues are the words that each key takes; a class is free.
var keyValues = map[string][]string{
	"class":  nil,
	"age":    {"oldest", "newest"},
	"amount": {"smallest", "largest"},
	"share":  {"pro-rata"},
}

// orders are those with a name, in the order in which they are compared.
var orders = []struct {
	name  string
	order Order
}{
	{"oldest-first", Order{{"age", "oldest"}}},
	{"newest-first", Order{{"age", "newest"}}},
	{"pro-rata", Order{{"share", "pro-rata"}}},
}

func orderNames() (names []string) {
	for _, o := range orders {
		names = append(names, o.name)
	}
	return names
}

func namedOrder(name string) (Order, bool) {
	for _, o := range orders {
		if o.name == name {
			return o.order, true
		}
	}
	return nil, false
}

// maxKeys bounds an order: no bill needs more.
const maxKeys = 16

// fault says what is wrong with an order as a whole; empty where nothing is.
func (o Order) fault() string {
	switch shared := slices.IndexFunc(o, func(k Key) bool { return k.By == "share" }); {
	case len(o) == 0:
		return "an order needs a key; write for example age: oldest"
	case len(o) > maxKeys:
		return fmt.Sprintf("an order has at most %d keys; leave some out", maxKeys)
	case shared >= 0 && shared != len(o)-1:
		return "what comes after share: pro-rata is never asked; put it last"
	}
	return ""
}

// String is the order's name, or its keys as --order takes them.
func (o Order) String() string {
	for _, named := range orders {
		if slices.Equal(o, named.order) {
			return named.name
		}
	}
	words := make([]string, len(o))
	for i, k := range o {
		words[i] = k.String()
	}
	return strings.Join(words, ",")
}

// MarshalText is String, for scripts.
func (o Order) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// ParseOrder reads what --order takes: a name, or keys with commas between them (class:rent,age:oldest).
func ParseOrder(s string) (Order, error) {
	if o, ok := namedOrder(s); ok {
		return o, nil
	}
	var o Order
	for word := range strings.SplitSeq(s, ",") {
		by, value, _ := strings.Cut(word, ":")
		k := Key{by, value}
		if fault := k.fault(); fault != "" {
			return nil, fmt.Errorf("order %q: %s\n    take %s, or keys like class:rent,age:oldest", s, fault, strings.Join(orderNames(), ", "))
		}
		o = append(o, k)
	}
	if fault := o.fault(); fault != "" {
		return nil, fmt.Errorf("order %q: %s", s, fault)
	}
	return o, nil
}

// fault says what is wrong with a key; empty where nothing is.
func (k Key) fault() string {
	values, known := keyValues[k.By]
	switch {
	case !known:
		return fmt.Sprintf("no key %q; the keys are age, amount, class and share", k.By)
	case values == nil && !isName(k.Value):
		return fmt.Sprintf("%q is no class; %s", k.Value, nameHelp)
	case values != nil && !slices.Contains(values, k.Value):
		return fmt.Sprintf("no %s %q; it is %s", k.By, k.Value, strings.Join(values, " or "))
	}
	return ""
}

// compare is below zero where a comes before b by this key alone.
func (k Key) compare(a, b *item) int {
	switch k.By {
	case "class":
		return cmp.Compare(btoi(b.Class == k.Value), btoi(a.Class == k.Value))
	case "age":
		if k.Value == "newest" {
			return cmp.Compare(b.Due, a.Due)
		}
		return cmp.Compare(a.Due, b.Due)
	case "amount":
		if k.Value == "largest" {
			return cmp.Compare(b.unpaid, a.unpaid)
		}
		return cmp.Compare(a.unpaid, b.unpaid)
	}
	return 0 // share tells nobody apart
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (o Order) compare(a, b *item) int {
	for _, k := range o {
		if c := k.compare(a, b); c != 0 {
			return c
		}
	}
	return 0
}

// Part is what one charge got of a payment.
type Part struct {
	Charge string `json:"charge"`
	Cents  Cents  `json:"cents"`
}

// allocate pays open charges out of money, marks them as paid, and gives the parts and what is left. The charges come
// by age, and those that no key tells apart stay so.
func (o Order) allocate(open []*item, money Cents) ([]Part, Cents) {
	shared := o[len(o)-1].By == "share"
	queue := slices.Clone(open)
	slices.SortStableFunc(queue, o.compare)
	var parts []Part
	for len(queue) > 0 && money > 0 {
		n := 1
		for shared && n < len(queue) && o.compare(queue[0], queue[n]) == 0 {
			n++
		}
		for i, share := range shares(queue[:n], money) {
			if share > 0 {
				parts = append(parts, Part{queue[i].ID, share})
			}
			queue[i].unpaid -= share
			money -= share
		}
		queue = queue[n:]
	}
	return parts, money
}

// shares divides money over charges by what is unpaid of each, in exact cents: what rounding down leaves goes, a cent
// each, to those with the largest remainders, and among equals to the first. Nobody gets more than is unpaid.
func shares(group []*item, money Cents) []Cents {
	var total Cents
	for _, it := range group {
		total += it.unpaid
	}
	money = min(money, total)
	out := make([]Cents, len(group))
	if total == 0 {
		return out
	}
	rest := make([]uint64, len(group))
	byRest := make([]int, len(group))
	left := money
	for i, it := range group {
		hi, lo := bits.Mul64(uint64(money), uint64(it.unpaid)) // 128 bits: money times unpaid need not fit 64
		share, r := bits.Div64(hi, lo, uint64(total))
		out[i], rest[i], byRest[i] = Cents(share), r, i
		left -= out[i]
	}
	slices.SortStableFunc(byRest, func(a, b int) int { return cmp.Compare(rest[b], rest[a]) })
	for _, i := range byRest[:left] {
		out[i]++
	}
	return out
}
