package running

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/firewall"
	"sluice/firewall/fault"
	"sluice/labs/guest"
	"sluice/labs/guest/agent"
	"sluice/labs/labfile"
	"sluice/vnic"
	"sluice/vswitch/control"
	"sluice/vswitch/user"
)

// pretended is a guest.Machine that is not there, without an agent.
type pretended struct {
	guest.Machine // nil: what is not below is not called
	mu            sync.Mutex
	err           error
	done          chan struct{}
}

func (p *pretended) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
	default:
		p.err = err
		close(p.done)
	}
}

func (p *pretended) State() guest.State {
	select {
	case <-p.done:
		return guest.StateStopped
	default:
		return guest.StateReady
	}
}

func (p *pretended) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

func (p *pretended) Done() <-chan struct{}           { return p.done }
func (p *pretended) Agent() *agent.Client            { return nil }
func (p *pretended) CameUp() guest.CameUp            { return guest.CameUp{} }
func (p *pretended) CPUTime() (time.Duration, error) { return time.Second, nil }
func (p *pretended) Pause(context.Context) error     { return nil }
func (p *pretended) Resume(context.Context) error    { return nil }
func (p *pretended) Kill() error                     { p.end(errors.New("killed")); return nil }
func (p *pretended) Stop(context.Context) error      { p.end(nil); return nil }

// pretend makes the world of a lab in memory: its machines and devices are not there, its switch is.
func pretend(t *testing.T) *world {
	t.Helper()
	lab, err := labfile.Load("fast-vs-slow")
	if err != nil {
		t.Fatal(err)
	}
	lab.SettleKinds(labfile.KindNetns)
	lab.Placement = firewall.Fast
	w, err := newWorld(lab, &deployment{}, engine{EngineUser, user.New}, t.TempDir(), nil, func() {})
	if err != nil {
		t.Fatal(err)
	}
	w.boot = func(_ context.Context, r *resident, _ func(string)) error {
		r.setMachine(&pretended{done: make(chan struct{})})
		return nil
	}
	w.open = func(_ *resident, c labfile.Card) (vnic.NIC, error) {
		nic, _ := vnic.Pipe(c.Name, vnic.PipeOptions{})
		return nic, nil
	}
	if err := w.build(t.Context(), func(string) {}); err != nil {
		t.Fatal(err)
	}
	return w
}

// portsOf says how many ports of the appliance the switch has.
func portsOf(w *world) (n int) {
	for _, p := range w.sw.Stats().Ports {
		if strings.HasPrefix(p.Name, "fw") {
			n++
		}
	}
	return n
}

// TestDrillsAtOnce does everything at once that may be done to an appliance, and asks meanwhile. In the end it is
// restarted, and whole.
func TestDrillsAtOnce(t *testing.T) {
	w := pretend(t)
	whole := portsOf(w)
	var all sync.WaitGroup
	for _, d := range []control.Drill{control.Kill, control.Stall, control.Resume, control.Restart, control.Restart} {
		all.Go(func() {
			for range 50 {
				var known *fault.Error
				if err := w.Appliance(t.Context(), d); err != nil && !errors.As(err, &known) {
					t.Errorf("%s: %v", d, err)
				}
			}
		})
	}
	all.Go(func() {
		for range 50 {
			w.slow().machine().(*pretended).end(errors.New("it crashed"))
		}
	})
	all.Go(func() {
		for range 200 {
			w.Inspect()
			w.sw.Stats()
			if _, err := w.Exec(t.Context(), "fw", control.ExecRequest{Argv: []string{"true"}}, control.Streams{Stdout: io.Discard}); err == nil {
				t.Error("a command ran without an agent")
			}
		}
	})
	all.Wait()
	if err := w.Appliance(t.Context(), control.Restart); err != nil {
		t.Fatal(err)
	}
	if n, s := portsOf(w), w.slow().state(); n != whole || s != silent { // these machines have no agent
		t.Errorf("%d ports and %s, want %d and silent", n, s, whole)
	}
	if used := w.usage(); used.Slow < 2*time.Second {
		t.Errorf("the appliance's machines have used %v: those of before are forgotten", used.Slow)
	}
	if err := w.close(); err != nil {
		t.Error(err)
	}
}

// TestDies: the ports of an appliance that ends by itself leave the switch, and somebody is told.
func TestDies(t *testing.T) {
	w := pretend(t)
	events, cancel := w.sw.Events()
	defer cancel()
	w.slow().machine().(*pretended).end(errors.New("fw ended by itself\nits last words"))
	var kinds []string
	for e := range events {
		if kinds = append(kinds, e.Kind); e.Kind == "guest-down" {
			if e.Detail != "fw ended by itself" {
				t.Errorf("told %q", e.Detail)
			}
			break
		}
	}
	if n := portsOf(w); n != 0 || !slices.Contains(kinds, "port-down") || !(slowSide{machine: w.slow().machine()}).Absent() {
		t.Errorf("%d ports are left; told of %v", n, kinds)
	}
	if err := w.close(); err != nil {
		t.Error(err)
	}
}

// TestHalfRestart has a restart fail at each of its steps: nothing of the appliance is left, and the next one succeeds.
func TestHalfRestart(t *testing.T) {
	w := pretend(t)
	whole := portsOf(w)
	boot, open := w.boot, w.open
	broken := errors.New("broken")
	for _, c := range []struct {
		name string
		harm func()
		want string
	}{
		{"no machine", func() { w.boot = func(context.Context, *resident, func(string)) error { return broken } }, "broken"},
		{"dead machine", func() {
			w.boot = func(ctx context.Context, r *resident, p func(string)) error {
				boot(ctx, r, p)
				r.machine().Kill()
				return broken
			}
		}, "broken"},
		{"second port", func() {
			w.open = func(r *resident, c labfile.Card) (vnic.NIC, error) {
				if c.Index == 1 {
					return nil, broken
				}
				return open(r, c)
			}
		}, "attach fw/1: broken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.harm()
			if err := w.Appliance(t.Context(), control.Restart); !errors.Is(err, broken) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if n, s := portsOf(w), w.slow().state(); n != 0 || s != stopped && s != failed {
				t.Errorf("%d ports and %s are left", n, s)
			}
			w.boot, w.open = boot, open
			if err := w.Appliance(t.Context(), control.Restart); err != nil || portsOf(w) != whole {
				t.Errorf("again: %v, %d ports", err, portsOf(w))
			}
		})
	}
	if err := w.close(); err != nil {
		t.Error(err)
	}
}

// TestCloseEndsRestart takes the lab down while its appliance boots.
func TestCloseEndsRestart(t *testing.T) {
	w := pretend(t)
	begun := make(chan struct{})
	w.boot = func(ctx context.Context, r *resident, _ func(string)) error {
		r.setMachine(&pretended{done: make(chan struct{})})
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}
	restarted := make(chan error)
	go func() { restarted <- w.Appliance(t.Context(), control.Restart) }()
	<-begun
	if err := w.Appliance(t.Context(), control.Restart); err == nil || !strings.Contains(err.Error(), "another drill of fw is running") {
		t.Errorf("a second one meanwhile: %v", err)
	}
	closed := make(chan error)
	go func() { closed <- w.close() }()
	if err := <-restarted; !errors.Is(err, context.Canceled) {
		t.Errorf("restart: %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if s := w.slow().state(); s != stopped {
		t.Errorf("its machine is %s", s)
	}
	if err := w.Appliance(t.Context(), control.Restart); err == nil {
		t.Error("restarted after the end")
	}
}
