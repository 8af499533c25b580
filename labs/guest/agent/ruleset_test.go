package agent

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

// TestRulesetBounds: a ruleset is taken by its length, neither more nor less, and none is too long for a line.
func TestRulesetBounds(t *testing.T) {
	g := newGuest(false)
	for _, c := range []struct {
		name, body, rest string
		want             error
	}{
		{"cut off", `{"bytes": 10}`, "table", io.ErrUnexpectedEOF},
		{"too long", `{"bytes": 67108865}`, "", errTooLong},
		{"less than nothing", `{"bytes": -1}`, "", errTooLong},
	} {
		if err := g.takeRuleset(strings.NewReader(c.rest), json.RawMessage(c.body)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	c := connect(t)
	if err := c.ApplyNFT(t.Context(), strings.Repeat("#", maxRuleset+1)); err == nil || !strings.Contains(err.Error(), "at most 67108864") {
		t.Errorf("a ruleset of more than the bound: %v", err)
	}
	// Longer than a line may be, it comes through; what nft, or the lack of rights, makes of it is told.
	if err := c.ApplyNFT(t.Context(), strings.Repeat("nonsense\n", maxMessage)); errors.Is(err, errTooLong) || err == nil {
		t.Errorf("a ruleset longer than a line: %v", err)
	} else if refused := (*Error)(nil); !errors.As(err, &refused) {
		t.Errorf("a ruleset longer than a line: %v; want what the agent made of it", err)
	}
}
