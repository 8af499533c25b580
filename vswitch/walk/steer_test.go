package walk

import (
	"math/rand/v2"
	"testing"
)

// TestReplays compares the window with a set: no ticket is taken twice, and none that lags little is refused.
func TestReplays(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		var r replays
		seen := map[uint64]bool{}
		var highest uint64
		for range 50000 {
			seq := highest + 1
			switch random.IntN(4) {
			case 0:
				seq += uint64(random.IntN(3 * replayWindow / (1 + random.IntN(5000))))
			case 1:
				seq -= min(seq, uint64(random.IntN(replayWindow-128)))
			case 2:
				seq -= min(seq, uint64(random.IntN(5*replayWindow)))
			}
			near := seq != 0 && seq+replayWindow-128 > highest
			got := r.first(seq)
			if got && seen[seq] || !got && near && !seen[seq] {
				t.Fatalf("ticket %d after %d: taken %v, seen %v", seq, highest, got, seen[seq])
			}
			if got {
				seen[seq] = true
				highest = max(highest, seq)
			}
		}
	}
}
