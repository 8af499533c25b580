package fault

import "strings"

// Suggest gives the one of the known words that was probably meant; empty where none is near.
func Suggest(written string, known []string) string {
	best, bestAt := "", max(1, len(written)/3) // of a short word more would be another word
	for _, k := range known {
		if len(k)-len(written) > bestAt || len(written)-len(k) > bestAt {
			continue
		}
		if d := distance(written, k); d <= bestAt {
			best, bestAt = k, d-1
		}
	}
	return best
}

// maxNear is the longest word in bytes for which there are suggestions: the work grows with the square.
const maxNear = 64

// distance is how many letters must be changed, added, taken away or swapped with their neighbour.
func distance(a, b string) int {
	if len(a) > maxNear || len(b) > maxNear {
		return maxNear
	}
	var before, last, cur [maxNear + 1]int
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(last[j]+1, cur[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, last = last, cur
	}
	return last[len(b)]
}

// Instead says of a word that is none of the known ones what to take: the one that was meant, or which there are.
func Instead(written string, known []string) string {
	if meant := Suggest(written, known); meant != "" {
		return "; did you mean " + meant + "?"
	}
	if len(known) == 0 {
		return ": there are none"
	}
	return ": " + strings.Join(known, ", ")
}
