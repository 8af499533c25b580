package billing_test

import (
	"fmt"

	"sluice/labs/billing"
)

// Example shows what the order costs: June's payment is 18.00 short, and later ones are applied to the newest bill or
// to the oldest.
func Example() {
	s, err := billing.Load("../20-billing/article.yaml")
	if err != nil {
		fmt.Println(err)
		return
	}
	var orders []billing.Order
	for _, name := range []string{"newest-first", "oldest-first"} {
		o, err := billing.ParseOrder(name)
		if err != nil {
			fmt.Println(err)
			return
		}
		orders = append(orders, o)
	}
	for _, o := range billing.Compare(s, orders).Outcomes {
		fmt.Printf("%s: owed %s, of it fees %s, cut off: %v\n", o.Order, o.Owed, o.Fees, o.CutOff != nil)
	}
	// Output:
	// newest-first: owed 47.00, of it fees 29.00, cut off: true
	// oldest-first: owed 18.00, of it fees 0.00, cut off: false
}
