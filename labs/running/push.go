package running

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"sluice/firewall"
	"sluice/firewall/appliance/admin"
	"sluice/firewall/fault"
	"sluice/labs/guest/agent"
	"sluice/labs/labfile"
	"sluice/vswitch"
	"sluice/vswitch/control"
)

const (
	// After each request the desk rests: at least so long, and so many times as long as the request took. The appliance
	// is not trusted, and reading what it pushes costs the processor that moves the frames.
	restAtLeast = 100 * time.Millisecond
	restTimes   = 4
	// reopenEvery is how often a desk whose line has broken is opened again, and reopenAtMost how long one try may
	// take.
	reopenEvery  = time.Second
	reopenAtMost = 5 * time.Second
)

// desk is where the policy is administered while the placement is push: the lab's end of the desk in the appliance.
type desk struct {
	appliance string
	inventory *firewall.Inventory
	sw        *vswitch.Switch
	ctx       context.Context // ends with the lab
	end       context.CancelFunc

	mu   sync.Mutex
	line *agent.Desk // the one in use; nil while the placement is another
}

func newDesk(lab *labfile.Lab, sw *vswitch.Switch) *desk {
	d := &desk{inventory: lab.Inventory(), sw: sw}
	if lab.Appliance != nil {
		d.appliance = lab.Appliance.Name
	}
	d.ctx, d.end = context.WithCancel(context.Background())
	return d
}

// open gives the appliance an edition, and takes what is pushed there from now on.
func (d *desk) open(ctx context.Context, a *agent.Client, e firewall.Edition) error {
	line, err := a.OpenDesk(ctx, admin.Opening{Edition: e, Inventory: d.inventory})
	if err != nil {
		return err
	}
	d.use(line)
	go d.serve(line)
	return nil
}

// shut takes nothing more. What has been asked already is answered: the switch says no.
func (d *desk) shut() { d.use(nil) }

func (d *desk) use(line *agent.Desk) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.line != nil {
		d.line.Stop()
	}
	d.line = line
}

// uses says whether a line is still the one in use.
func (d *desk) uses(line *agent.Desk) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.line == line
}

// serve answers one request after another, until the line ends. That it is in use is asked each time: a guest that has
// always one more to ask must not keep it.
func (d *desk) serve(line *agent.Desk) {
	defer line.Close()
	for d.uses(line) {
		req, err := line.Next()
		if err == nil {
			begun := time.Now()
			err = line.Answer(d.answer(req))
			d.pause(max(restAtLeast, restTimes*time.Since(begun)))
		}
		if err != nil {
			if d.uses(line) {
				slog.Warn("the line to the appliance's desk has broken", "appliance", d.appliance, "error", err)
				go d.reopen(line)
			}
			return
		}
	}
}

// reopen gives the policy to the appliance again: to one that is back, or to what has taken its place.
func (d *desk) reopen(broken *agent.Desk) {
	for d.pause(reopenEvery) && d.uses(broken) {
		ctx, cancel := context.WithTimeout(d.ctx, reopenAtMost)
		err := d.sw.Readminister(ctx)
		cancel()
		if err != nil {
			slog.Debug("open the appliance's desk again", "error", err)
		}
	}
}

// pause says whether the lab still runs afterwards.
func (d *desk) pause(t time.Duration) bool {
	select {
	case <-time.After(t):
		return true
	case <-d.ctx.Done():
		return false
	}
}

// answer does what is asked, and says how things are then.
func (d *desk) answer(req admin.Request) (a admin.Answer) {
	a.Generation = d.sw.Status().Generation
	if p := req.Push; p != nil {
		r, err := d.sw.Push(d.ctx, vswitch.Pushed{By: d.appliance, Base: p.Base, Load: func() (*firewall.Policy, error) {
			return firewall.Load(d.appliance+":"+p.File, p.Source, d.inventory)
		}})
		if err != nil {
			var wrong fault.List
			a.Error, a.BadInput = err.Error(), errors.As(err, &wrong)
			return a
		}
		a.Generation, a.Rules, a.FlowsCut = r.Generation, r.Rules, r.FlowsCut
	}
	for _, r := range d.sw.Realized() {
		a.Realized = append(a.Realized, admin.Realized(r))
	}
	return a
}

// pushInside has a policy pushed from inside the appliance, by the commands that its administrator types.
func (w *world) pushInside(ctx context.Context, source []byte) error {
	var says strings.Builder
	code, err := w.Exec(ctx, w.lab.Appliance.Name, control.ExecRequest{Argv: []string{"sh", "-c", "cat > " + admin.PolicyFile + " && policy push"}},
		control.Streams{Stdin: bytes.NewReader(source), Stdout: io.Discard, Stderr: &says})
	switch {
	case err != nil:
		return fmt.Errorf("push the policy from inside %s: %w", w.lab.Appliance.Name, err)
	case code != 0:
		return fault.Errorf(fault.BadInput, "push the policy from inside %s: %s", w.lab.Appliance.Name, strings.TrimSpace(says.String()))
	}
	return nil
}
