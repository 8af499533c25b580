package agent

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"sluice/firewall/fault"
)

// Size is a terminal's, in characters.
type Size struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// Command is what Exec runs in a guest. Nil readers and writers are as empty as /dev/null.
type Command struct {
	Args    []string      `json:"args"`          // the program and its arguments; looked up in the guest's PATH
	Env     []string      `json:"env,omitempty"` // KEY=value, added to the agent's own
	Dir     string        `json:"dir,omitempty"` // working folder; empty means /root
	TTY     bool          `json:"tty,omitempty"` // a terminal of its own, so that job control works; Stderr then gets nothing
	Size    Size          `json:"size,omitzero"` // of the terminal
	Stdin   io.Reader     `json:"-"`
	Stdout  io.Writer     `json:"-"`
	Stderr  io.Writer     `json:"-"`
	Resize  <-chan Size   `json:"-"` // changes of the terminal's size, may be nil
	Signals <-chan string `json:"-"` // HUP, INT, QUIT or TERM, for the command's process group; may be nil
}

// Exec runs a command and waits for it. code is what a shell would say of it: the exit code, or 128 and the signal's
// number; 127 if there is no such program, 126 if it cannot be run. err is only for what is not the command's doing.
// When ctx ends, the command's whole process group is killed. A read from cmd.Stdin that blocks may outlive the call,
// and what it reads is lost.
func (c *Client) Exec(ctx context.Context, cmd Command) (code int, err error) {
	stream, err := c.open(ctx)
	if err != nil {
		return 0, fmt.Errorf("exec: %w", err)
	}
	defer stream.Close()
	stop := context.AfterFunc(ctx, func() { stream.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	code, err = execOver(stream, cmd)
	switch {
	case err == nil:
		return code, nil
	case ctx.Err() != nil:
		return 0, fmt.Errorf("exec: %w", context.Cause(ctx))
	default:
		return 0, fmt.Errorf("exec: %w", err)
	}
}

func execOver(stream io.ReadWriter, cmd Command) (int, error) {
	body, err := json.Marshal(cmd)
	if err != nil {
		return 0, err
	}
	if err := writeLine(stream, request{Call: callExec, Body: body}); err != nil {
		return 0, err
	}
	up := &upstream{w: stream, done: make(chan struct{}), taken: make(chan struct{}, 1), credit: stdinWindow}
	defer close(up.done)
	go up.pumpStdin(cmd.Stdin)
	go up.pumpControls(cmd.Resize, cmd.Signals)
	return readExec(bufio.NewReaderSize(stream, maxFrame), cmd, up.addCredit)
}

// readExec reads what the guest says of a command until it has ended. The guest may say anything.
func readExec(r io.Reader, cmd Command, taken func(uint32)) (int, error) {
	buf := make([]byte, maxFrame)
	for {
		t, p, err := readFrame(r, buf)
		if errors.Is(err, io.EOF) {
			err = errors.New("the guest has gone away")
		}
		if err != nil {
			return 0, err
		}
		switch {
		case t == frameStdout:
			err = deliver(cmd.Stdout, p)
		case t == frameStderr:
			err = deliver(cmd.Stderr, p)
		case t == frameTaken && len(p) == 4:
			taken(binary.BigEndian.Uint32(p))
		case t == frameExit && len(p) == 4:
			return int(binary.BigEndian.Uint32(p) & 0xff), nil
		case t == frameFailed:
			return 0, &Error{Call: callExec, Text: fault.Lines(string(p), maxError)}
		default:
			err = fmt.Errorf("frame of type %d: %w", t, errForbidden)
		}
		if err != nil {
			return 0, err
		}
	}
}

func deliver(w io.Writer, p []byte) error {
	if w == nil {
		return nil
	}
	_, err := w.Write(p)
	return err
}

// upstream is what goes to a running command: stdin, held back by what the command has taken, terminal sizes and
// signals.
type upstream struct {
	w     io.Writer
	done  chan struct{}
	taken chan struct{} // credit has grown

	mu     sync.Mutex // one frame at a time, and credit
	credit int
}

func (u *upstream) addCredit(n uint32) {
	u.mu.Lock()
	u.credit = min(u.credit+int(n), stdinWindow)
	u.mu.Unlock()
	select {
	case u.taken <- struct{}{}:
	default:
	}
}

// reserve waits until the guest can take at least a byte, and says how many up to want.
func (u *upstream) reserve(want int) int {
	for {
		u.mu.Lock()
		n := min(want, u.credit)
		u.credit -= n
		u.mu.Unlock()
		if n > 0 {
			return n
		}
		select {
		case <-u.taken:
		case <-u.done:
			return 0
		}
	}
}

func (u *upstream) send(t frameType, p []byte) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return writeFrame(u.w, t, p)
}

func (u *upstream) pumpStdin(r io.Reader) {
	if r == nil {
		u.send(frameStdin, nil)
		return
	}
	buf := make([]byte, maxFrame)
	for {
		n, err := r.Read(buf)
		for p := buf[:n]; len(p) > 0; {
			m := u.reserve(len(p))
			if m == 0 || u.send(frameStdin, p[:m]) != nil {
				return
			}
			p = p[m:]
		}
		if err != nil {
			u.send(frameStdin, nil)
			return
		}
	}
}

func (u *upstream) pumpControls(sizes <-chan Size, signals <-chan string) {
	for {
		var err error
		select {
		case s, ok := <-sizes:
			if !ok {
				sizes = nil
				continue
			}
			p := binary.BigEndian.AppendUint16(nil, s.Rows)
			err = u.send(frameResize, binary.BigEndian.AppendUint16(p, s.Cols))
		case name, ok := <-signals:
			if !ok {
				signals = nil
				continue
			}
			err = u.send(frameSignal, []byte(name))
		case <-u.done:
			return
		}
		if err != nil {
			return
		}
	}
}
