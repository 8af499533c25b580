package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

const (
	// maxRuleset is how many bytes of ruleset an appliance takes: some 300,000 rules.
	maxRuleset = 64 << 20
	// A ruleset takes nft a few seconds for each MiB, and an emulated processor many times as long.
	rulesetMiB = time.Minute
)

// rulesetBody is the argument of callNFT. So many bytes of script follow its line, as they are.
type rulesetBody struct {
	Bytes int `json:"bytes"`
}

// rulesetTime is how long an appliance may take for a ruleset of so many bytes.
func rulesetTime(bytes int) time.Duration {
	return callTimeout + rulesetMiB*time.Duration(bytes)/(1<<20)
}

// ApplyNFT replaces the appliance's whole ruleset with script, atomically, and returns when it is in force. An error
// means that nothing has changed, and holds nft's own words.
func (c *Client) ApplyNFT(ctx context.Context, script string) error {
	if len(script) > maxRuleset {
		return fmt.Errorf("%s: the ruleset has %d bytes; an appliance takes at most %d", callNFT, len(script), maxRuleset)
	}
	ctx, cancel := context.WithTimeout(ctx, rulesetTime(len(script)))
	defer cancel()
	return c.on(ctx, callNFT, func(s io.ReadWriter) error {
		body, err := json.Marshal(rulesetBody{len(script)})
		if err != nil {
			return err
		}
		if err := writeLine(s, request{Call: callNFT, Body: body}); err != nil {
			return err
		}
		if _, err := io.WriteString(s, script); err != nil {
			return err
		}
		return readReply(bufio.NewReaderSize(s, 32<<10), callNFT, nil)
	})
}

// takeRuleset reads the script behind a request, and applies it.
func (g *guest) takeRuleset(r io.Reader, body json.RawMessage) error {
	return with(body, func(b rulesetBody) error {
		if b.Bytes < 0 || b.Bytes > maxRuleset {
			return fmt.Errorf("a ruleset of %d bytes: %w", b.Bytes, errTooLong)
		}
		script, err := io.ReadAll(io.LimitReader(r, int64(b.Bytes))) // it grows with what comes, not with what is promised
		if err != nil {
			return err
		}
		if len(script) < b.Bytes {
			return io.ErrUnexpectedEOF
		}
		return g.appliance.ApplyNFT(string(script))
	})
}
