package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hashicorp/yamux"

	"sluice/firewall"
	"sluice/firewall/appliance"
	"sluice/firewall/fault"
	"sluice/firewall/inspect"
)

// callTimeout bounds a call whose context has no deadline of its own; exec has none.
const callTimeout = 30 * time.Second

// portsPerCall keeps a call well within callTimeout: a port takes an emulated guest up to 90 ms.
const portsPerCall = 64

// flowsPerMessage keeps a message well under maxMessage.
const flowsPerMessage = 1024

// Client is the host's end of one guest's agent. Any number of goroutines may call at once.
type Client struct {
	session *yamux.Session
	guard   *guard
	opening chan struct{} // holds a token while a stream is being opened
}

// Error is what an agent answered where it could not do what it was asked. Its text comes from the guest: it is bounded
// and printable, and it may lie.
type Error struct {
	Call string
	Text string
	// Unsupported says that the guest's kernel lacks something: the error is errors.ErrUnsupported then.
	Unsupported bool
}

func (e *Error) Error() string { return e.Call + ": " + e.Text }

// Is lets errors.Is find errors.ErrUnsupported.
func (e *Error) Is(target error) bool { return e.Unsupported && target == errors.ErrUnsupported }

// Dial says hello over a byte stream to an agent and returns when it has answered. Stale bytes of an earlier client are
// skipped. It owns conn from then on, also when it fails.
func Dial(ctx context.Context, conn net.Conn) (*Client, error) {
	r, err := greetGuest(ctx, conn)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("greet agent: %w", err)
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		conn.Close()
		return nil, fmt.Errorf("greet agent: %w", err)
	}
	g := newGuard(r, conn)
	session, err := yamux.Client(g, sessionConfig())
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("begin session: %w", err)
	}
	return &Client{session: session, guard: g, opening: make(chan struct{}, 1)}, nil
}

// Close ends the session; the agent waits for the next.
func (c *Client) Close() error { return c.session.Close() }

// Done is closed when the session has ended, for whatever reason.
func (c *Client) Done() <-chan struct{} { return c.session.CloseChan() }

// Err is why the session has ended, where it was the guest's doing; nil where it was not, or has not ended.
func (c *Client) Err() error { return c.guard.why() }

// open opens a stream to the agent, for one call.
func (c *Client) open(ctx context.Context) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case c.opening <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("reach agent: %w", context.Cause(ctx))
	}
	opened := make(chan opening, 1)
	go func() {
		s, err := c.session.Open()
		<-c.opening
		opened <- opening{s, err}
	}()
	select {
	case o := <-opened:
		if o.err != nil {
			return nil, fmt.Errorf("reach agent: %w", o.err)
		}
		return o.stream, nil
	case <-ctx.Done():
		go func() {
			if o := <-opened; o.err == nil {
				o.stream.Close()
			}
		}()
		return nil, fmt.Errorf("reach agent: %w", context.Cause(ctx))
	}
}

// opening is what came of opening a stream. The session waits for as long as it takes where an agent has acknowledged
// none of the last AcceptBacklog streams; a caller waits only as long as its context, and at most one of them in there.
type opening struct {
	stream net.Conn
	err    error
}

// call sends one request and hands each body of the answer to each, which may be nil.
func (c *Client) call(ctx context.Context, name string, body any, each func(json.RawMessage) error) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	return c.on(ctx, name, func(s io.ReadWriter) error { return exchange(s, name, body, each) })
}

// on does a call on a stream of its own.
func (c *Client) on(ctx context.Context, name string, do func(io.ReadWriter) error) error {
	s, err := c.open(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { s.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := do(s); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if _, ok := err.(*Error); ok {
			return err
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// exchange is a call on an open stream.
func exchange(s io.ReadWriter, name string, body any, each func(json.RawMessage) error) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	if err := writeLine(s, request{Call: name, Body: b}); err != nil {
		return err
	}
	return readReply(bufio.NewReaderSize(s, 32<<10), name, each)
}

// readReply reads an answer: it is the guest's, so it may be anything.
func readReply(r *bufio.Reader, name string, each func(json.RawMessage) error) error {
	for range maxBodies {
		var rep reply
		if err := readLine(r, &rep); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if rep.Error != "" {
			return &Error{Call: name, Text: fault.Lines(rep.Error, maxError), Unsupported: rep.Unsupported}
		}
		if len(rep.Body) > 0 && each != nil {
			if err := each(rep.Body); err != nil {
				return err
			}
		}
		if rep.End {
			return nil
		}
	}
	return fmt.Errorf("more than %d messages: %w", maxBodies, errTooLong)
}

func into(v any) func(json.RawMessage) error {
	return func(b json.RawMessage) error { return json.Unmarshal(b, v) }
}

// Info asks how the guest is. It answers before Configure too.
func (c *Client) Info(ctx context.Context) (Info, error) {
	var info Info
	err := c.call(ctx, callInfo, nil, into(&info))
	info.Hostname, info.Kernel = fault.Line(info.Hostname, 256), fault.Line(info.Kernel, 256)
	return info, err
}

// Configure brings the guest to what cfg says and returns when its services listen. It may be called again: addresses,
// hosts and neighbours are replaced, services that run already are left alone.
func (c *Client) Configure(ctx context.Context, cfg Config) error {
	return c.call(ctx, callConfigure, cfg, nil)
}

// AddNeighbours adds neighbours beside those that are there.
func (c *Client) AddNeighbours(ctx context.Context, n []appliance.Neighbour) error {
	return c.call(ctx, callNeighbours, n, nil)
}

// Flows reads the appliance's conntrack.
func (c *Client) Flows(ctx context.Context) ([]firewall.FlowRecord, error) {
	var all []firewall.FlowRecord
	err := c.call(ctx, callFlows, nil, func(b json.RawMessage) error {
		var packed []byte
		if err := json.Unmarshal(b, &packed); err != nil {
			return err
		}
		some, err := unpackFlows(packed)
		if err != nil {
			return err
		}
		if len(all)+len(some) > appliance.MaxFlows {
			return fmt.Errorf("more than %d flows: %w", appliance.MaxFlows, errTooLong)
		}
		all = append(all, some...)
		return nil
	})
	return all, err
}

// PutFlows makes or refreshes entries in the appliance's conntrack and says which it did not take.
func (c *Client) PutFlows(ctx context.Context, f []firewall.FlowRecord) (all firewall.Carried, err error) {
	done := 0
	err = inBatches(f, func(some []firewall.FlowRecord) error {
		var one firewall.Carried
		if err := c.call(ctx, callPutFlows, packFlows(some), into(&one)); err != nil {
			return err
		}
		last := -1
		for _, i := range one.Left { // what a guest says is ascending, and of this batch, or not believed
			if i <= last || i >= len(some) {
				return fmt.Errorf("%s: %w: it speaks of flow %d of %d", callPutFlows, errBadFlow, i, len(some))
			}
			all.Left, last = append(all.Left, done+i), i
		}
		if all.Full = all.Full || one.Full; all.Why == "" {
			all.Why = fault.Line(one.Why, maxFlowWhy)
		}
		done += len(some)
		return nil
	})
	return all, err
}

// maxFlowWhy is how much is kept of why a flow was not taken.
const maxFlowWhy = 256

// DeleteFlows removes entries from the appliance's conntrack and says how many were there.
func (c *Client) DeleteFlows(ctx context.Context, f []firewall.FlowRecord) (int, error) {
	total := 0
	err := inBatches(f, func(some []firewall.FlowRecord) error {
		var n int
		if err := c.call(ctx, callDeleteFlows, packFlows(some), into(&n)); err != nil {
			return err
		}
		total += max(0, min(n, len(some)))
		return nil
	})
	return total, err
}

func inBatches(f []firewall.FlowRecord, do func([]firewall.FlowRecord) error) error {
	for len(f) > 0 {
		n := min(len(f), flowsPerMessage)
		if err := do(f[:n]); err != nil {
			return err
		}
		f = f[n:]
	}
	return nil
}

// FlushFlows removes every entry of the appliance's conntrack.
func (c *Client) FlushFlows(ctx context.Context) error {
	return c.call(ctx, callFlushFlows, nil, nil)
}

// Stats reads the appliance's counters.
func (c *Client) Stats(ctx context.Context) (appliance.Stats, error) {
	var s appliance.Stats
	err := c.call(ctx, callStats, nil, into(&s))
	return s, err
}

// Steer makes the appliance ready for the frames of a session, or of more of its ports. errors.ErrUnsupported says that
// its kernel lacks something; the error's text says what.
func (c *Client) Steer(ctx context.Context, s firewall.SteerSpec) error {
	for {
		some := s
		some.Ports = s.Ports[:min(len(s.Ports), portsPerCall)]
		if err := c.call(ctx, callSteer, some, nil); err != nil {
			return err
		}
		if s.Ports = s.Ports[len(some.Ports):]; len(s.Ports) == 0 {
			return nil
		}
	}
}

// EndSteer ends a session: what still comes for it goes nowhere.
func (c *Client) EndSteer(ctx context.Context, session uint8) error {
	return c.call(ctx, callEndSteer, session, nil)
}

// ConfigureInspection says what the appliance's inspector looks for; its flows are forgotten.
func (c *Client) ConfigureInspection(ctx context.Context, cfg appliance.InspectConfig) error {
	return c.call(ctx, callInspect, cfg, nil)
}

// Inspections is what the appliance's inspector has counted. The lists are bounded, and their words printable.
func (c *Client) Inspections(ctx context.Context) (inspect.Report, error) {
	var r inspect.Report
	err := c.call(ctx, callInspections, nil, into(&r))
	r.Sightings = r.Sightings[:min(len(r.Sightings), inspect.MaxSightings)]
	for i := range r.Sightings {
		e := &r.Sightings[i]
		e.What, e.Verdict = fault.Line(e.What, 256), fault.Line(e.Verdict, 256)
	}
	for _, list := range [][]inspect.Count{r.Matches, r.Anomalies} {
		for i := range list {
			list[i].Name = fault.Line(list[i].Name, 256)
		}
	}
	return r, err
}
