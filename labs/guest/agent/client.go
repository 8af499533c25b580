package agent

import (
	"context"
	"errors"
	"io"
	"net"

	"sluice/firewall"
	"sluice/firewall/appliance"
)

// Client is the host's end of one guest's agent. Any number of goroutines may call at once.
type Client struct{}

// Size is a terminal's, in characters.
type Size struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// Command is what Exec runs in a guest. Nil readers and writers are as empty as /dev/null.
type Command struct {
	Args   []string // the program and its arguments; looked up in the guest's PATH
	Env    []string // KEY=value, added to the agent's own
	Dir    string   // working folder; empty means /root
	TTY    bool     // a terminal of its own, so that job control works; Stderr then gets nothing
	Size   Size     // of the terminal
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Resize <-chan Size // changes of the terminal's size, may be nil
}

var errSkeleton = errors.New("not built yet")

// Dial says hello over a byte stream to an agent and returns when it has answered. Stale bytes of an earlier client are
// skipped. It owns conn from then on, also when it fails.
func Dial(ctx context.Context, conn net.Conn) (*Client, error) { return nil, errSkeleton }

// Close ends the session; the agent waits for the next.
func (c *Client) Close() error { return errSkeleton }

// Done is closed when the session has ended, for whatever reason.
func (c *Client) Done() <-chan struct{} { return nil }

// Info asks how the guest is. It answers before Configure too.
func (c *Client) Info(ctx context.Context) (Info, error) { return Info{}, errSkeleton }

// Configure brings the guest to what cfg says and returns when its services listen. It may be called again: addresses,
// hosts and neighbours are replaced, services that run already are left alone.
func (c *Client) Configure(ctx context.Context, cfg Config) error { return errSkeleton }

// Exec runs a command and waits for it. code is what a shell would say of it: the exit code, or 128 and the signal's
// number; 127 if there is no such program, 126 if it cannot be run. err is only for what is not the command's doing.
// When ctx ends, the command's whole process group is killed.
func (c *Client) Exec(ctx context.Context, cmd Command) (code int, err error) { return 0, errSkeleton }

// Stream opens a raw stream to the agent, for a relay: whoever holds its far end may run ExecOver on it.
func (c *Client) Stream(ctx context.Context) (net.Conn, error) { return nil, errSkeleton }

// ExecOver is Exec over a stream that Client.Stream opened, here or in another process. It closes the stream.
func ExecOver(ctx context.Context, stream net.Conn, cmd Command) (code int, err error) {
	return 0, errSkeleton
}

// AddNeighbours adds permanent neighbours beside those that are there.
func (c *Client) AddNeighbours(ctx context.Context, n []appliance.Neighbour) error {
	return errSkeleton
}

// ApplyNFT replaces the appliance's whole ruleset with script, atomically, and returns when it is in force. An error
// means that nothing has changed, and holds nft's own words.
func (c *Client) ApplyNFT(ctx context.Context, script string) error { return errSkeleton }

// Flows reads the appliance's conntrack.
func (c *Client) Flows(ctx context.Context) ([]firewall.FlowRecord, error) { return nil, errSkeleton }

// PutFlows makes or refreshes entries in the appliance's conntrack and says how many are there now.
func (c *Client) PutFlows(ctx context.Context, f []firewall.FlowRecord) (int, error) {
	return 0, errSkeleton
}

// DeleteFlows removes entries from the appliance's conntrack, those that are not there counting as removed.
func (c *Client) DeleteFlows(ctx context.Context, f []firewall.FlowRecord) error { return errSkeleton }

// FlushFlows removes every entry of the appliance's conntrack.
func (c *Client) FlushFlows(ctx context.Context) error { return errSkeleton }

// Stats reads the appliance's counters.
func (c *Client) Stats(ctx context.Context) (appliance.Stats, error) {
	return appliance.Stats{}, errSkeleton
}
