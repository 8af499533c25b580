package running

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"sluice/firewall/fault"
	"sluice/vswitch/control"
)

// Appliance does a drill. It ends early where ctx does, or the lab.
func (w *world) Appliance(ctx context.Context, d control.Drill) error {
	r := w.slow()
	if r == nil {
		return fault.Errorf(fault.BadInput, "lab %s has no appliance", w.lab.Name)
	}
	select {
	case w.drilling <- struct{}{}:
		defer func() { <-w.drilling }()
	default:
		return fault.Errorf(fault.Failed, "another drill of %s is running", r.Name)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.life, cancel)()
	switch d {
	case control.Kill:
		return w.kill(r)
	case control.Stall:
		return stall(ctx, r)
	case control.Resume:
		return resume(ctx, r)
	case control.Restart:
		return w.restart(ctx, r)
	}
	return fault.Errorf(fault.BadInput, "no drill %q", d)
}

// kill returns when the machine has ended and the switch has let go of its ports.
func (w *world) kill(r *resident) error {
	if s := r.state(); s != ready && s != stalled {
		return fault.Errorf(fault.BadInput, "%s is %s already", r.Name, s)
	}
	r.cpu() // a last look
	if err := r.machine().Kill(); err != nil {
		return err
	}
	r.watchers.Wait()
	return nil
}

func stall(ctx context.Context, r *resident) error {
	if s := r.state(); s != ready {
		return fault.Errorf(fault.BadInput, "%s is %s", r.Name, s)
	}
	m := r.machine()
	r.setStalled(true) // first: whoever asks it something would wait
	if err := m.Pause(ctx); err != nil {
		r.setStalled(false)
		if len(m.PIDs()) > 0 {
			err = errors.Join(err, m.Resume(context.WithoutCancel(ctx)))
		}
		return fmt.Errorf("stall: %w", err)
	}
	return nil
}

func resume(ctx context.Context, r *resident) error {
	if r.state() != stalled {
		return fault.Errorf(fault.BadInput, "%s is not stalled", r.Name)
	}
	if err := r.machine().Resume(ctx); err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	r.setStalled(false)
	return nil
}

// restart puts a new machine in the place of the present one, which may have ended. Where that fails there is none, and
// restart may be tried again.
func (w *world) restart(ctx context.Context, r *resident) error {
	if err := w.retire(r); err != nil {
		return fmt.Errorf("end %s: %w", r.Name, err)
	}
	begun := time.Now()
	if err := w.bringBack(ctx, r); err != nil {
		return errors.Join(fmt.Errorf("restart %s: %w", r.Name, err), w.retire(r))
	}
	w.watch(r)
	w.sw.Tell("guest-up", fmt.Sprintf("%s, after %.1f s", r.Name, time.Since(begun).Seconds()))
	return nil
}

// retire takes a guest from the switch and ends its machine.
func (w *world) retire(r *resident) error {
	err := w.unplug(r)
	if m := r.machine(); m != nil {
		r.cpu() // a last look
		ctx, cancel := context.WithTimeout(context.Background(), closeWait)
		defer cancel()
		err = errors.Join(err, m.Stop(ctx))
	}
	r.watchers.Wait()
	return err
}

// unplug takes a guest's ports from the switch.
func (w *world) unplug(r *resident) (err error) {
	for _, id := range r.left() {
		err = errors.Join(err, w.sw.RemovePort(w.life, id))
	}
	return err
}

// bringBack boots the appliance and joins it to the switch, which then gives it the policy and the flows.
func (w *world) bringBack(ctx context.Context, r *resident) error {
	if err := w.boot(ctx, r, func(what string) { slog.Info(what) }); err != nil {
		return err
	}
	if err := w.join(ctx, r); err != nil {
		return err
	}
	w.sw.SetAppliance(slowSide{r.machine(), w.desk}) // with all its ports: from now on the switch may recover it by itself
	if err := w.sw.Recover(ctx); err != nil {
		return fmt.Errorf("give it the policy and the flows: %w", err)
	}
	return nil
}
