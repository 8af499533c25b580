package control

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

	"sluice/firewall/fault"
)

// A session joins a user's terminal or pipes to a command in a guest, over the connection of an upgraded request
// (RFC 9110 section 7.8). It is yamux with four streams that the client opens in this order, so that each has a window
// of its own and a command that reads no input cannot hold up a signal:
//
//	control  JSON lines: sessionInput to the server, one sessionEnd back
//	stdin    to the server; its end is the end of the input
//	stdout   to the client
//	stderr   to the client
const sessionProtocol = "sluice-session/1"

// Limits of a session.
const (
	maxSessions       = 64              // at once, in one lab
	maxControlLine    = 64 << 10        // bytes; the client's are far shorter, a problem with its faults is the longest
	sessionStartLimit = 5 * time.Second // for the client to open its streams
	// A user may suspend the client with Ctrl-Z: nothing is taken from the socket then, and that is no failure. The end
	// of a process is seen at once on a unix socket, so there is no need for keep-alives.
	sessionWriteLimit = 24 * time.Hour
)

// sessionInput is what the client says beside stdin: exactly one field is set.
type sessionInput struct {
	Signal string      `json:"signal,omitempty"`
	Resize *WindowSize `json:"resize,omitempty"`
}

// sessionEnd is the last word of the server: an exit code, or why there is none.
type sessionEnd struct {
	Code    int      `json:"code"`
	Problem *Problem `json:"problem,omitempty"`
}

// sessionSignals are those that a client may send to a command.
var sessionSignals = map[string]bool{"INT": true, "TERM": true, "HUP": true, "QUIT": true}

// errSessionCut is what the client says when the lab process goes away during a session.
var errSessionCut = fault.Errorf(fault.Failed, "the lab ended while the command ran")

func sessionConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.AcceptBacklog = 4
	c.EnableKeepAlive = false
	c.ConnectionWriteTimeout = sessionWriteLimit
	c.StreamOpenTimeout = sessionStartLimit
	c.StreamCloseTimeout = 0 // stdin is often closed long before the command ends
	c.LogOutput = io.Discard
	return c
}

// runFunc is Lab.Exec or Lab.Console, with all but the streams decided.
type runFunc func(context.Context, Streams) (int, error)

// serveSession runs a command for the client at the other end of conn, and returns when it is over.
func serveSession(ctx context.Context, conn io.ReadWriteCloser, run runFunc) error {
	mux, err := yamux.Server(conn, sessionConfig())
	if err != nil {
		return fmt.Errorf("begin a session: %w", err)
	}
	defer mux.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-mux.CloseChan(): // the client has gone: the command must end
		case <-ctx.Done():
		}
		cancel()
	}()

	var streams [4]net.Conn
	startCtx, started := context.WithTimeout(ctx, sessionStartLimit)
	defer started()
	for i := range streams {
		if streams[i], err = mux.AcceptStreamWithContext(startCtx); err != nil {
			return fmt.Errorf("wait for the session's streams: %w", err)
		}
	}
	control, stdin, stdout, stderr := streams[0], streams[1], streams[2], streams[3]
	signals, resizes := make(chan string), make(chan WindowSize)
	go readInputs(ctx, control, signals, resizes)

	code, err := run(ctx, Streams{Stdin: stdin, Stdout: stdout, Stderr: stderr, Signals: signals, Resizes: resizes})
	stdout.Close()
	stderr.Close()
	end := sessionEnd{Code: code}
	if err != nil {
		end.Problem = problemOf(err)
	}
	if err := json.NewEncoder(control).Encode(end); err != nil && !mux.IsClosed() {
		// Once the client has read the end it closes, perhaps before yamux has told the writer that all is well.
		return fmt.Errorf("report the end of a command: %w", err)
	}
	<-ctx.Done() // the client closes once it has read everything
	return nil
}

// readInputs hands on what the client says, until it says something that is not allowed or goes.
func readInputs(ctx context.Context, control io.Reader, signals chan<- string, resizes chan<- WindowSize) {
	lines := bufio.NewScanner(control)
	lines.Buffer(nil, maxControlLine)
	for lines.Scan() {
		var in sessionInput
		if json.Unmarshal(lines.Bytes(), &in) != nil {
			return
		}
		switch {
		case sessionSignals[in.Signal]:
			select {
			case signals <- in.Signal:
			case <-ctx.Done():
				return
			}
		case in.Resize != nil:
			select {
			case resizes <- *in.Resize:
			case <-ctx.Done():
				return
			}
		default:
			return
		}
	}
}

// joinSession is the client's side: it joins s to the command behind conn and returns the exit code.
func joinSession(ctx context.Context, conn io.ReadWriteCloser, s Streams) (int, error) {
	mux, err := yamux.Client(conn, sessionConfig())
	if err != nil {
		return 0, fmt.Errorf("begin a session: %w", err)
	}
	defer mux.Close()
	defer context.AfterFunc(ctx, func() { mux.Close() })()

	var streams [4]net.Conn
	for i := range streams {
		if streams[i], err = mux.Open(); err != nil {
			return 0, sessionError(ctx, err)
		}
	}
	control, stdin, stdout, stderr := streams[0], streams[1], streams[2], streams[3]
	stop := make(chan struct{})
	defer close(stop)
	go writeInputs(stop, control, s)
	go func() {
		io.Copy(stdin, s.Stdin) // an end of either side is the end of the input, no failure
		stdin.Close()
	}()
	errs := make(chan error, 2)
	go copyOutput(errs, s.Stdout, stdout)
	go copyOutput(errs, s.Stderr, stderr)
	for range 2 {
		if err := <-errs; err != nil {
			return 0, sessionError(ctx, err)
		}
	}
	return readEnd(ctx, control)
}

func readEnd(ctx context.Context, control io.Reader) (int, error) {
	var end sessionEnd
	if err := json.NewDecoder(io.LimitReader(control, maxControlLine)).Decode(&end); err != nil {
		return 0, sessionError(ctx, err)
	}
	if end.Problem != nil {
		return 0, end.Problem.err()
	}
	return end.Code, nil
}

func copyOutput(errs chan<- error, to io.Writer, from io.Reader) {
	_, err := io.Copy(to, from)
	errs <- err
}

func writeInputs(stop <-chan struct{}, control io.Writer, s Streams) {
	enc := json.NewEncoder(control)
	for {
		var in sessionInput
		select {
		case <-stop:
			return
		case sig, ok := <-s.Signals:
			if !ok {
				s.Signals = nil
				continue
			}
			in.Signal = sig
		case size, ok := <-s.Resizes:
			if !ok {
				s.Resizes = nil
				continue
			}
			in.Resize = &size
		}
		if enc.Encode(in) != nil {
			return
		}
	}
}

// sessionError is what a broken session means to its user.
func sessionError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, gone := range []error{io.EOF, net.ErrClosed, yamux.ErrSessionShutdown, yamux.ErrConnectionReset} {
		if errors.Is(err, gone) {
			return errSessionCut
		}
	}
	return err
}
