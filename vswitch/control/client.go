package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"sluice/firewall"
	"sluice/firewall/fault"
	"sluice/firewall/inspect"
	"sluice/vswitch"
)

// Client speaks to one running lab. Any number of goroutines may use it at once.
type Client struct {
	lab  string
	http *http.Client
}

// Dial finds a running lab and sees that it answers. With an empty name it is the one lab that runs. Each way to fail
// has an error of its own, of class fault.BadInput where another command would do: it says which.
func Dial(ctx context.Context, lab string) (*Client, error) {
	if lab == "" {
		var err error
		if lab, err = onlyLab(); err != nil {
			return nil, err
		}
	}
	dir, err := LabDir(lab)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, SocketName)
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, dialError(lab, dir, err)
	}
	conn.Close()
	return &Client{lab: lab, http: &http.Client{Transport: &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		},
	}}}, nil
}

// Lab is the lab's name.
func (c *Client) Lab() string { return c.lab }

// Close gives idle connections back.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// onlyLab is the name of the lab that runs, if one does.
func onlyLab() (string, error) {
	all, err := Labs()
	if err != nil {
		return "", err
	}
	running := slices.DeleteFunc(slices.Clone(all), func(lab string) bool { return !Running(lab) })
	switch {
	case len(running) == 1:
		return running[0], nil
	case len(running) > 1:
		return "", fault.Errorf(fault.BadInput, "%d labs run; say which with --lab: %s", len(running), listNames(running))
	case len(all) > 0:
		return "", fault.Errorf(fault.BadInput, "no lab runs; the process of %s has ended: clean up with `sluice lab destroy %s`",
			listNames(all), all[0])
	}
	return "", fault.Errorf(fault.BadInput, "no lab runs; start one with `sluice lab deploy LAB` (`sluice lab ls` lists them)")
}

// Running says whether a lab's process answers on its socket.
func Running(lab string) bool {
	dir, err := LabDir(lab)
	if err != nil {
		return false
	}
	conn, err := net.Dial("unix", filepath.Join(dir, SocketName))
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func dialError(lab, dir string, err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fault.Errorf(fault.BadInput, "lab %[1]s is dead: its process has ended but left its socket; "+
			"clean up with `sluice lab destroy %[1]s`", lab)
	case errors.Is(err, fs.ErrPermission):
		return fault.Errorf(fault.BadInput, "lab %s belongs to another user: only they and root may use it", lab)
	case errors.Is(err, fs.ErrNotExist):
		if _, statErr := filepath.EvalSymlinks(dir); statErr == nil {
			return fault.Errorf(fault.BadInput, "lab %[1]s does not answer: it is still being deployed, or its process has ended "+
				"(then: `sluice lab destroy %[1]s`)", lab)
		}
		return fault.Errorf(fault.BadInput, "no lab %s runs; `sluice lab ls` lists the labs that there are, and `sluice lab deploy LAB` starts one", lab)
	}
	return fault.Errorf(fault.Failed, "reach lab %s: %w", lab, err)
}

// listNames writes names for a message.
func listNames(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// Inspect describes the lab.
func (c *Client) Inspect(ctx context.Context) (out LabInfo, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/lab", nil, &out)
}

// Status is how the switch is now.
func (c *Client) Status(ctx context.Context) (out vswitch.Status, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/status", nil, &out)
}

// Placement is where the policy is enforced, and the latest receipts.
func (c *Client) Placement(ctx context.Context) (out PlacementInfo, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/placement", nil, &out)
}

// Place changes where the policy is enforced.
func (c *Client) Place(ctx context.Context, to firewall.Placement, o vswitch.PlaceOptions) (out vswitch.Receipt, err error) {
	in := PlaceRequest{To: to.String(), Handover: string(o.Handover), Fail: string(o.Fail)}
	return out, c.call(ctx, http.MethodPut, "/v1/placement", in, &out)
}

// Policy is the policy in force.
func (c *Client) Policy(ctx context.Context) (out PolicyInForce, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/policy", nil, &out)
}

// SetPolicy puts a policy in force, or changes nothing.
func (c *Client) SetPolicy(ctx context.Context, text PolicyText) (out vswitch.PolicyResult, err error) {
	return out, c.call(ctx, http.MethodPut, "/v1/policy", text, &out)
}

// Inventory is what a policy may refer to in the lab.
func (c *Client) Inventory(ctx context.Context) (out firewall.Inventory, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/inventory", nil, &out)
}

// Flows lists the flows.
func (c *Client) Flows(ctx context.Context) (out []firewall.FlowRecord, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/flows", nil, &out)
}

// FDB lists the MACs that the switch knows.
func (c *Client) FDB(ctx context.Context) (out []vswitch.MACEntry, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/fdb", nil, &out)
}

// Stats are the counters now.
func (c *Client) Stats(ctx context.Context) (out vswitch.Stats, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/stats", nil, &out)
}

// Forget makes the switch count from zero, and forget what it has learnt; with history, the receipts, too.
func (c *Client) Forget(ctx context.Context, history bool) error {
	return c.call(ctx, http.MethodPost, "/v1/forget", ForgetRequest{History: history}, &struct{}{})
}

// Watch makes the switch count the frames that fit the sights, from now on; none end the watch.
func (c *Client) Watch(ctx context.Context, sights []vswitch.Sight) error {
	if sights == nil {
		sights = []vswitch.Sight{}
	}
	return c.call(ctx, http.MethodPut, "/v1/watch", WatchRequest{Sights: sights}, &struct{}{})
}

// Watched is what the watch has seen.
func (c *Client) Watched(ctx context.Context) (out vswitch.Watched, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/watch", nil, &out)
}

// Inspections is what the appliance has found in the frames that it looked into.
func (c *Client) Inspections(ctx context.Context) (out inspect.Report, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/inspections", nil, &out)
}

// Trace explains the way of a frame that nobody sends.
func (c *Client) Trace(ctx context.Context, in vswitch.TraceRequest) (out vswitch.TraceResult, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/trace", in, &out)
}

// Appliance does something to the appliance's machine, and returns when it is done.
func (c *Client) Appliance(ctx context.Context, d Drill) error {
	return c.call(ctx, http.MethodPost, "/v1/appliance/"+string(d), nil, &struct{}{})
}

// Stop asks the lab to end; it returns before it has.
func (c *Client) Stop(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/stop", nil, &struct{}{})
}

// call sends in as JSON, if it is not nil, and reads the answer into out.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.do(ctx, method, path, in, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return c.broken(ctx, err)
	}
	return nil
}

// do sends one request; an answer that is a problem becomes its error.
func (c *Client) do(ctx context.Context, method, path string, in any, header http.Header) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("write a request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://lab"+path, body)
	if err != nil {
		return nil, fmt.Errorf("write a request: %w", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.broken(ctx, err)
	}
	if resp.StatusCode < http.StatusBadRequest {
		return resp, nil
	}
	defer resp.Body.Close()
	var p Problem
	if json.NewDecoder(io.LimitReader(resp.Body, maxPolicyBody)).Decode(&p) != nil || p.Status == 0 {
		return nil, fault.Errorf(fault.Failed, "lab %s answered %s: is it of another version of sluice?", c.lab, resp.Status)
	}
	return nil, p.err()
}

// broken is what a connection that fails in the middle means to the user.
func (c *Client) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, gone := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.ECONNREFUSED} {
		if errors.Is(err, gone) {
			return fault.Errorf(fault.Failed, "lab %s ended before it answered", c.lab)
		}
	}
	return fault.Errorf(fault.Failed, "ask lab %s: %w", c.lab, err)
}
