package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"

	"sluice/firewall/appliance/admin"
	"sluice/firewall/fault"
)

// answerTimeout bounds how long the guest may take to read an answer.
const answerTimeout = 10 * time.Second

// Desk is the host's end of the appliance's desk, where the policy is administered: it says what the administrator asks
// for. The stream is the host's, opened by it; no other guest is listened to.
type Desk struct {
	stream net.Conn
	r      *bufio.Reader
}

// OpenDesk opens the desk in place of an earlier one, and returns when the administrator can use it.
func (c *Client) OpenDesk(ctx context.Context, o admin.Opening) (*Desk, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { s.SetDeadline(time.Unix(1, 0)) })
	d := &Desk{stream: s, r: bufio.NewReaderSize(s, maxFrame)}
	err = d.open(o)
	if !stop() && err == nil { // the deadline is set already
		err = context.Cause(ctx)
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("%s: %w", callDesk, err)
	}
	return d, nil
}

func (d *Desk) open(o admin.Opening) error {
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	if err := writeLine(d.stream, request{Call: callDesk, Body: body}); err != nil {
		return err
	}
	var yes bool
	if err := readDesk(d.r, &yes); err != nil {
		return err
	}
	if !yes {
		return errForbidden
	}
	return nil
}

// Next waits for the next request. It has been checked, and may lie.
func (d *Desk) Next() (req admin.Request, err error) {
	if err := readDesk(d.r, &req); err != nil {
		return admin.Request{}, err
	}
	if err := req.Check(); err != nil {
		return admin.Request{}, fmt.Errorf("%w: %w", errForbidden, err)
	}
	return req, nil
}

// Answer answers the request that Next gave.
func (d *Desk) Answer(a admin.Answer) error {
	a.Error = a.Error[:min(len(a.Error), maxError)]
	if err := d.stream.SetWriteDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	return writeLine(d.stream, a)
}

// Stop makes Next fail; a request that it gave before may still be answered.
func (d *Desk) Stop() { d.stream.SetReadDeadline(time.Unix(1, 0)) }

// Close closes the desk.
func (d *Desk) Close() error { return d.stream.Close() }

// readDesk reads one message of the guest's strictly.
func readDesk(r *bufio.Reader, v any) error {
	var rep reply
	if err := readLine(r, &rep); err != nil {
		return err
	}
	switch {
	case rep.Error != "":
		return &Error{Call: callDesk, Text: fault.Lines(rep.Error, maxError)}
	case rep.End || len(rep.Body) == 0:
		return fmt.Errorf("no body: %w", errForbidden)
	}
	dec := json.NewDecoder(bytes.NewReader(rep.Body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", errForbidden, err)
	}
	return nil
}
