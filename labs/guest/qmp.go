package guest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// qmpMost bounds what a QEMU may say in one session, in bytes: who has broken out of a guest speaks for it.
const qmpMost = 1 << 20

// qmpLook is how often QEMU is asked whether it has come so far.
const qmpLook = 2 * time.Millisecond

// qmp is a session with a QEMU's monitor (docs/interop/qmp-spec of QEMU). It ends with its context.
type qmp struct {
	conn    *net.UnixConn
	answers *bufio.Scanner
	stop    func() bool
}

// dialQMP begins a session with the monitor of a guest whose folder is dir.
func dialQMP(ctx context.Context, dir string) (*qmp, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: filepath.Join(dir, monitorSocket), Net: "unix"}) // it listens already
	if err != nil {
		return nil, fmt.Errorf("reach QEMU: %w", err)
	}
	q := &qmp{conn: conn, answers: bufio.NewScanner(io.LimitReader(conn, qmpMost))}
	q.stop = context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	if !q.answers.Scan() {
		q.close()
		return nil, errors.New("QEMU does not greet")
	}
	if err := q.call("qmp_capabilities", nil, nil); err != nil {
		q.close()
		return nil, err
	}
	return q, nil
}

func (q *qmp) close() {
	q.stop()
	q.conn.Close()
}

// call gives a command with its arguments, and reads what it returns; both may be nil. The answer to quit may be that
// QEMU has gone.
func (q *qmp) call(command string, arguments, returned any) error {
	return q.callWith(command, arguments, returned)
}

// callWith is call with files for QEMU, which it takes by getfd.
func (q *qmp) callWith(command string, arguments, returned any, files ...*os.File) error {
	question := map[string]any{"execute": command}
	if arguments != nil {
		question["arguments"] = arguments
	}
	if err := q.ask(question, files); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	for q.answers.Scan() {
		var a struct {
			Return json.RawMessage        `json:"return"`
			Error  *struct{ Desc string } `json:"error"`
		}
		if err := json.Unmarshal(q.answers.Bytes(), &a); err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		switch {
		case a.Error != nil:
			return fmt.Errorf("%s: QEMU: %s", command, a.Error.Desc)
		case a.Return != nil && returned != nil:
			return json.Unmarshal(a.Return, returned)
		case a.Return != nil:
			return nil
		} // else it is an event
	}
	if command == "quit" {
		return nil
	}
	return fmt.Errorf("%s: QEMU does not answer: %w", command, io.ErrUnexpectedEOF)
}

func (q *qmp) ask(question map[string]any, files []*os.File) error {
	b, err := json.Marshal(question)
	if err != nil {
		return err
	}
	var rights []byte
	for _, f := range files {
		rights = append(rights, unix.UnixRights(int(f.Fd()))...)
	}
	_, _, err = q.conn.WriteMsgUnix(b, rights, nil)
	return err
}

// stateName is what QEMU calls the file that it is given.
const stateName = "state"

// migrate has a guest's state written to a file, or read from one. The memory, which lies in a file of its own, stays
// out of it (x-ignore-shared, qapi/migration.json of QEMU).
func (q *qmp) migrate(command string, state *os.File) error {
	ignore := map[string]any{"capability": "x-ignore-shared", "state": true}
	if err := q.call("migrate-set-capabilities", map[string]any{"capabilities": []any{ignore}}, nil); err != nil {
		return err
	}
	if err := q.callWith("getfd", map[string]string{"fdname": stateName}, nil, state); err != nil {
		return err
	}
	return q.call(command, map[string]string{"uri": "fd:" + stateName}, nil)
}

// until asks a question again and again, until the status in its answer is the wanted one. Only while it is one of
// those on the way there it can still become it.
func (q *qmp) until(ctx context.Context, question, wanted string, onTheWay ...string) error {
	tick := time.NewTicker(qmpLook)
	defer tick.Stop()
	for {
		var is struct {
			Status string `json:"status"`
			Why    string `json:"error-desc"`
		}
		if err := q.call(question, nil, &is); err != nil {
			return err
		}
		switch {
		case is.Status == wanted:
			return nil
		case is.Status != "" && !slices.Contains(onTheWay, is.Status):
			return fmt.Errorf("%s: it is %s, not %s: %s", question, is.Status, wanted, is.Why)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: it is still %s: %w", question, is.Status, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
