package course

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"sluice/firewall"
	"sluice/labs/check"
	"sluice/labs/probe"
	"sluice/vswitch"
	"sluice/vswitch/control"
)

// evidence stands before a lab and keeps what checks asked it and were told, so that a mark can be explained later.
type evidence struct {
	lab check.Lab

	mu     sync.Mutex
	kept   map[string][]entry
	policy string // in force at the end
}

// entry is one question and its answer.
type entry struct {
	Time   time.Time `json:"time"`
	Asked  any       `json:"asked,omitempty"`
	Answer any       `json:"answer"`
	Error  string    `json:"error,omitempty"`
}

// keep remembers an entry under the name of the file that it goes to.
func (e *evidence) keep(file string, asked, answer any, err error) {
	x := entry{Time: time.Now(), Asked: asked, Answer: answer}
	if err != nil {
		x.Error = err.Error()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.kept == nil {
		e.kept = map[string][]entry{}
	}
	e.kept[file] = append(e.kept[file], x)
}

func (e *evidence) Probe(ctx context.Context, guest string, targets []probe.Target, within time.Duration) ([]probe.Result, error) {
	res, err := e.lab.Probe(ctx, guest, targets, within)
	e.keep("attempts", guest, res, err)
	return res, err
}

func (e *evidence) Exec(ctx context.Context, guest string, argv []string) (check.Output, error) {
	out, err := e.lab.Exec(ctx, guest, argv)
	e.keep("commands", append([]string{"in " + guest}, argv...), out, err)
	return out, err
}

func (e *evidence) Script(ctx context.Context, file string) (check.Output, error) {
	out, err := e.lab.Script(ctx, file)
	e.keep("commands", file, out, err)
	return out, err
}

func (e *evidence) Watch(ctx context.Context, sights []vswitch.Sight) error {
	return e.lab.Watch(ctx, sights)
}

func (e *evidence) Watched(ctx context.Context) (vswitch.Watched, error) {
	out, err := e.lab.Watched(ctx)
	for _, f := range out.Frames {
		e.keep("frames", nil, f, nil)
	}
	return out, err
}

func (e *evidence) Stats(ctx context.Context) (vswitch.Stats, error) {
	out, err := e.lab.Stats(ctx)
	e.keep("stats", nil, out, err)
	return out, err
}

func (e *evidence) Flows(ctx context.Context) ([]firewall.FlowRecord, error) {
	out, err := e.lab.Flows(ctx)
	e.keep("flows", nil, out, err)
	return out, err
}

func (e *evidence) Trace(ctx context.Context, r vswitch.TraceRequest) (vswitch.TraceResult, error) {
	out, err := e.lab.Trace(ctx, r)
	e.keep("walks", r, out, err)
	return out, err
}

func (e *evidence) Placement(ctx context.Context) (firewall.Placement, []vswitch.Receipt, error) {
	return e.lab.Placement(ctx)
}

func (e *evidence) Place(ctx context.Context, to firewall.Placement, o vswitch.PlaceOptions) (vswitch.Receipt, error) {
	r, err := e.lab.Place(ctx, to, o)
	e.keep("receipts", to.String(), r, err)
	return r, err
}

// end keeps what is only known at the end.
func (e *evidence) end(ctx context.Context, c *control.Client) error {
	p, err := c.Policy(ctx)
	e.policy = p.Source
	return err
}

// write writes a folder: the report, the policy in force, and a file of JSON lines for each kind of thing that was met.
func (e *evidence) write(dir string, report any) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(report, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "report.json"), append(b, '\n'), 0o644)
	}
	if err != nil || e == nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(e.policy), 0o644); err != nil {
		return err
	}
	for name, entries := range e.kept {
		if err := writeLines(filepath.Join(dir, name+".jsonl"), entries); err != nil {
			return err
		}
	}
	return nil
}

func writeLines(path string, entries []entry) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	enc := json.NewEncoder(f)
	for _, x := range entries {
		if err := enc.Encode(x); err != nil {
			return err
		}
	}
	return nil
}
