package running_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/vswitch"
)

// pairs are the receipts of changes, by where they led from and to.
type pairs struct {
	placements []string
	receipts   map[[2]string][]vswitch.Receipt
}

func newPairs(placements []string) *pairs {
	return &pairs{placements: placements, receipts: map[[2]string][]vswitch.Receipt{}}
}

// next chooses where to go from a placement: where the walk has been least, so that it goes through every ordered pair
// before it repeats one often. From each placement there are as many ways out as in, so it never gets stuck.
func (p *pairs) next(at string, rng *rand.Rand) string {
	others := slices.DeleteFunc(slices.Clone(p.placements), func(o string) bool { return o == at })
	rng.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	been := func(from, to string) int { return len(p.receipts[[2]string{from, to}]) }
	left := func(from string) (n int) { // ways out that have been taken least
		least := 1 << 30
		for _, o := range p.placements {
			if o != from {
				least = min(least, been(from, o))
			}
		}
		for _, o := range p.placements {
			if o != from && been(from, o) == least {
				n++
			}
		}
		return n
	}
	return slices.MinFunc(others, func(a, b string) int {
		if d := been(at, a) - been(at, b); d != 0 {
			return d
		}
		return left(b) - left(a)
	})
}

func (p *pairs) add(from, to string, r vswitch.Receipt) {
	key := [2]string{from, to}
	p.receipts[key] = append(p.receipts[key], r)
}

// write puts the table between its marks in a file, as its maker's last word.
func (p *pairs) write(t *testing.T, path, kind string) {
	t.Helper()
	var b bytes.Buffer
	var total vswitch.Receipt
	n := 0
	fmt.Fprintf(&b, "| from | to | changes | gap, median ms | gap, longest ms | observed | lost | duplicated | reordered | leaked | drained | carried, median |\n")
	fmt.Fprintf(&b, "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, from := range p.placements {
		for _, to := range p.placements {
			list := p.receipts[[2]string{from, to}]
			if len(list) == 0 {
				continue
			}
			var s vswitch.Receipt
			var gaps []float64
			var carried []int
			for _, r := range list {
				gaps, carried = append(gaps, r.GapMS), append(carried, r.FlowsCarried)
				s.Observed += r.Observed
				s.Lost += r.Lost
				s.Duplicated += r.Duplicated
				s.Reordered += r.Reordered
				s.Leaked += r.Leaked
				s.Drained += r.Drained
			}
			slices.Sort(gaps)
			slices.Sort(carried)
			fmt.Fprintf(&b, "| %s | %s | %d | %.1f | %.1f | %d | %d | %d | %d | %d | %d | %d |\n", from, to, len(list),
				gaps[len(gaps)/2], gaps[len(gaps)-1], s.Observed, s.Lost, s.Duplicated, s.Reordered, s.Leaked, s.Drained, carried[len(carried)/2])
			n += len(list)
			total.Observed += s.Observed
			total.Lost += s.Lost
			total.Leaked += s.Leaked
		}
	}
	fmt.Fprintf(&b, "\n%d changes on %s guests, %s: %d frames observed, %d lost, %d leaked.\n", n, kind, time.Now().UTC().Format("2 January 2006 15:04 UTC"),
		total.Observed, total.Lost, total.Leaked)
	path = filepath.Join("..", "..", path)
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- changes: begin -->\n", "<!-- changes: end -->"
	head, rest, ok1 := strings.Cut(string(old), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s lacks the marks of the table", path)
	}
	if err := os.WriteFile(path, []byte(head+begin+"\n"+b.String()+"\n"+end+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}
