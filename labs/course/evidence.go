package course

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"sluice/firewall"
	"sluice/firewall/fault"
	"sluice/labs/check"
	"sluice/labs/probe"
	"sluice/vswitch"
	"sluice/vswitch/control"
)

// evidence is a check.Lab that passes every question on to another. It keeps what checks asked and were told, so that a
// mark can be explained later.
type evidence struct {
	lab check.Lab

	mu       sync.Mutex
	task     string // that is tried
	attempt  int    // at the task, from 1
	kept     map[string]*file
	captures map[string]*capture // by task
	policy   string              // in force at the end
}

// file is what will be a file of JSON lines.
type file struct {
	entries []entry
	missed  int // earlier ones, which are not kept
}

// maxEntries bounds a file of evidence: a task that waits may be tried hundreds of times. The last ones are kept, for
// by them it was judged.
const maxEntries = 2000

// entry is one question and its answer.
type entry struct {
	Time    time.Time `json:"time"`
	Task    string    `json:"task,omitempty"`
	Attempt int       `json:"attempt,omitempty"`
	Asked   any       `json:"asked,omitempty"`
	Answer  any       `json:"answer"`
	Error   string    `json:"error,omitempty"`
}

// command is an entry's answer where something was done: what a student would have typed, and what came of it.
type command struct {
	check.Output
	MS float64 `json:"ms"`
}

// tries notes that what comes now belongs to an attempt at a task.
func (e *evidence) tries(task string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.task != task {
		e.task, e.attempt = task, 0
	}
	e.attempt++
}

// keep remembers an entry under the name of the file that it goes to.
func (e *evidence) keep(name string, asked, answer any, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := entry{Time: time.Now(), Task: e.task, Attempt: e.attempt, Asked: asked, Answer: answer}
	if err != nil {
		x.Error = err.Error()
	}
	if e.kept == nil {
		e.kept = map[string]*file{}
	}
	f := e.kept[name]
	if f == nil {
		f = &file{}
		e.kept[name] = f
	}
	f.entries = append(f.entries, x)
	if over := len(f.entries) - maxEntries; over > 0 {
		f.entries, f.missed = slices.Delete(f.entries, 0, over), f.missed+over
	}
}

// did writes a command into the log, which is in the order in which commands ended.
func (e *evidence) did(begun time.Time, out check.Output, err error, words ...string) {
	if err != nil && out.Code == 0 {
		out.Code = int(fault.ClassOf(err))
	}
	out.Stdout, out.Stderr = cut(out.Stdout), cut(out.Stderr)
	e.keep("commands", words, command{out, float64(time.Since(begun).Microseconds()) / 1000}, err)
}

// cut bounds what the log keeps of an output.
func cut(s string) string {
	const most = 8 << 10 // bytes
	if len(s) <= most {
		return s
	}
	return fmt.Sprintf("%s\n(and %d more bytes)", s[:most], len(s)-most)
}

func (e *evidence) Probe(ctx context.Context, guest string, targets []probe.Target, within time.Duration) ([]probe.Result, error) {
	begun := time.Now()
	res, err := e.lab.Probe(ctx, guest, targets, within)
	e.keep("attempts", guest, res, err)
	said, _ := json.Marshal(res) // they came as JSON
	e.did(begun, check.Output{Stdout: string(said)}, err, append([]string{"sluice", "exec", guest, "--"}, probe.Argv(targets, within)...)...)
	return res, err
}

func (e *evidence) Download(ctx context.Context, guest string, from probe.Target, during time.Duration) (probe.Download, error) {
	begun := time.Now()
	d, err := e.lab.Download(ctx, guest, from, during)
	said, _ := json.Marshal(d) // it came as JSON
	e.did(begun, check.Output{Stdout: string(said)}, err, append([]string{"sluice", "exec", guest, "--"}, probe.DownloadArgv(from, during)...)...)
	return d, err
}

func (e *evidence) Exec(ctx context.Context, guest string, argv []string) (check.Output, error) {
	begun := time.Now()
	out, err := e.lab.Exec(ctx, guest, argv)
	e.did(begun, out, err, append([]string{"sluice", "exec", guest, "--"}, argv...)...)
	return out, err
}

func (e *evidence) Script(ctx context.Context, file string) (check.Output, error) {
	begun := time.Now()
	out, err := e.lab.Script(ctx, file)
	e.did(begun, out, err, "sh", file)
	return out, err
}

func (e *evidence) Watch(ctx context.Context, sights []vswitch.Sight) error {
	return e.lab.Watch(ctx, sights)
}

func (e *evidence) Watched(ctx context.Context) (vswitch.Watched, error) {
	out, err := e.lab.Watched(ctx)
	e.capture(out)
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

func (e *evidence) InForce(ctx context.Context) (*firewall.Policy, error) { return e.lab.InForce(ctx) }

func (e *evidence) Trace(ctx context.Context, r vswitch.TraceRequest) (vswitch.TraceResult, error) {
	out, err := e.lab.Trace(ctx, r)
	e.keep("walks", r, out, err)
	return out, err
}

func (e *evidence) Placement(ctx context.Context) (firewall.Placement, []vswitch.Receipt, error) {
	return e.lab.Placement(ctx)
}

func (e *evidence) Place(ctx context.Context, to firewall.Placement, o vswitch.PlaceOptions) (vswitch.Receipt, error) {
	begun := time.Now()
	r, err := e.lab.Place(ctx, to, o)
	e.keep("receipts", to.String(), r, err)
	words := []string{"sluice", "place", to.String()}
	if o.Handover != "" {
		words = append(words, "--handover", string(o.Handover))
	}
	e.did(begun, check.Output{}, err, words...)
	return r, err
}

// end keeps what is only known at the end.
func (e *evidence) end(ctx context.Context, c *control.Client) error {
	e.tries("")
	p, err := c.Policy(ctx)
	e.policy = p.Source
	return err
}

// missing says what was met and is not kept.
func (e *evidence) missing() (out []string) {
	for _, name := range slices.Sorted(maps.Keys(e.kept)) {
		if n := e.kept[name].missed; n > 0 {
			out = append(out, fmt.Sprintf("%s.jsonl: %d earlier entries", name, n))
		}
	}
	for _, task := range slices.Sorted(maps.Keys(e.captures)) {
		out = append(out, e.captures[task].missing(task)...)
	}
	return out
}

// write writes a folder: the report, the policy in force, the frames of each task as a capture, and a file of JSON
// lines for each kind of thing that was met. What an earlier grading has left there goes.
func (e *evidence) write(dir string, m mark) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := removeOld(dir); err != nil {
		return err
	}
	var frames []capturedFrame
	for _, task := range slices.Sorted(maps.Keys(e.captures)) {
		c := e.captures[task]
		c.number()
		frames = append(frames, c.frames...)
		if err := c.write(filepath.Join(dir, task+".pcapng")); err != nil {
			return err
		}
	}
	m.Missing = e.missing()
	b, err := json.MarshalIndent(m, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "report.json"), append(b, '\n'), 0o644)
	}
	if err == nil && e.policy != "" {
		err = os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(e.policy), 0o644)
	}
	for i := range frames {
		frames[i].Data = nil // they are in the capture
	}
	if err == nil && len(frames) > 0 {
		err = writeLines(filepath.Join(dir, "frames.jsonl"), frames)
	}
	for name, f := range e.kept {
		if err == nil {
			err = writeLines(filepath.Join(dir, name+".jsonl"), f.entries)
		}
	}
	return err
}

// removeOld removes what write writes, and no other file.
func removeOld(dir string) error {
	here, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, x := range here {
		ours := slices.ContainsFunc([]string{"report.json", "policy.yaml", "*.jsonl", "*.pcapng"}, func(pattern string) bool {
			fits, _ := filepath.Match(pattern, x.Name())
			return fits
		})
		if ours && !x.IsDir() {
			if err := os.Remove(filepath.Join(dir, x.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeLines[T any](path string, lines []T) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	enc := json.NewEncoder(f)
	for _, x := range lines {
		if err := enc.Encode(x); err != nil {
			return err
		}
	}
	return nil
}
