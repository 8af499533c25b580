package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"

	"sluice/firewall/fault"
	"sluice/vswitch"
)

// Exec runs a command in a guest, joined to s, and returns its exit code. An error means that there is none. When ctx
// is done the command is killed.
func (c *Client) Exec(ctx context.Context, guest string, req ExecRequest, s Streams) (int, error) {
	return c.session(ctx, guest, "exec", req, s)
}

// Console runs a shell on a terminal in a guest, as Exec does a command.
func (c *Client) Console(ctx context.Context, guest string, req ExecRequest, s Streams) (int, error) {
	return c.session(ctx, guest, "console", req, s)
}

func (c *Client) session(ctx context.Context, guest, kind string, req ExecRequest, s Streams) (int, error) {
	header := http.Header{"Connection": {"Upgrade"}, "Upgrade": {sessionProtocol}}
	resp, err := c.do(ctx, http.MethodPost, "/v1/guests/"+url.PathEscape(guest)+"/"+kind, req, header)
	if err != nil {
		return 0, err
	}
	conn, ok := resp.Body.(io.ReadWriteCloser)
	if !ok || resp.StatusCode != http.StatusSwitchingProtocols {
		resp.Body.Close()
		return 0, fault.Errorf(fault.Failed, "lab %s answered %s where a session should begin: is it of another version of sluice?",
			c.lab, resp.Status)
	}
	return joinSession(ctx, conn, s)
}

// Events calls begin once with the switch's status, then fn for each event from then on, until ctx is done, the lab
// ends (both give nil) or fn fails.
func (c *Client) Events(ctx context.Context, begin func(vswitch.Status), fn func(vswitch.Event) error) error {
	resp, err := c.do(ctx, http.MethodGet, "/v1/events", nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	kind := ""
	for lines.Scan() {
		if name, ok := bytes.CutPrefix(lines.Bytes(), []byte("event: ")); ok {
			kind = string(name)
		}
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok {
			continue
		}
		if err := dispatch(kind, data, begin, fn); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil && ctx.Err() == nil {
		return c.broken(ctx, err)
	}
	return nil
}

// dispatch hands on what one server-sent event says. Kinds that a later server may add are skipped.
func dispatch(kind string, data []byte, begin func(vswitch.Status), fn func(vswitch.Event) error) error {
	switch kind {
	case "status":
		var st vswitch.Status
		if err := json.Unmarshal(data, &st); err != nil {
			return fault.Errorf(fault.Failed, "read a status: %w", err)
		}
		begin(st)
	case "event":
		var e vswitch.Event
		if err := json.Unmarshal(data, &e); err != nil {
			return fault.Errorf(fault.Failed, "read an event: %w", err)
		}
		return fn(e)
	}
	return nil
}
