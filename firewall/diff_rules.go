package firewall

import (
	"slices"

	"sluice/firewall/classifier"
)

// changed lists the rules of two policies that are not in both, in the same order. What is left out is a longest common
// part; and a rule that an equal one precedes in its own policy, because it never decides.
func changed(a, b []Rule) []*Rule {
	var sets classifier.Interned
	aKeys, bKeys := ruleKeysOf(&sets, a), ruleKeysOf(&sets, b)
	at := map[string]int{}
	for j := len(bKeys) - 1; j >= 0; j-- {
		at[bKeys[j]] = j // the first of equal ones stays
	}
	var mine, theirs []int // indices of rules that are in both
	var out []*Rule
	seen := map[string]bool{}
	for i, k := range aKeys {
		j, inBoth := at[k]
		switch {
		case seen[k]:
		case inBoth:
			mine, theirs = append(mine, i), append(theirs, j)
		default:
			out = append(out, &a[i])
		}
		seen[k] = true
	}
	kept := map[int]bool{} // of b
	for _, n := range longestRising(theirs) {
		kept[theirs[n]] = true
	}
	for n, i := range mine {
		if !kept[theirs[n]] {
			out = append(out, &a[i]) // it has moved: the same rule of b need not be looked at again
		}
	}
	for j, k := range bKeys {
		if !seen[k] {
			out = append(out, &b[j])
			seen[k] = true
		}
	}
	return out
}

// ruleKeysOf gives equal strings to rules that decide the same.
func ruleKeysOf(sets *classifier.Interned, rules []Rule) []string {
	keys := make([]string, len(rules))
	for i := range rules {
		r := &rules[i]
		keys[i] = string(r.match.Append([]byte{byte(r.Action), boolByte(r.Stateless)}, sets))
	}
	return keys
}

// longestRising gives the indices of a longest rising part of a list without equal numbers (patience sorting).
func longestRising(list []int) []int {
	var tails []int // by length - 1: the index of the lowest number that ends a rising part so long
	previous := make([]int, len(list))
	for i, v := range list {
		n, _ := slices.BinarySearchFunc(tails, v, func(t, v int) int { return list[t] - v })
		previous[i] = -1
		if n > 0 {
			previous[i] = tails[n-1]
		}
		if n == len(tails) {
			tails = append(tails, i)
		} else {
			tails[n] = i
		}
	}
	var out []int
	if len(tails) > 0 {
		for i := tails[len(tails)-1]; i >= 0; i = previous[i] {
			out = append(out, i)
		}
	}
	slices.Reverse(out)
	return out
}
