package running

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"sluice/labs/guest"
	"sluice/labs/labfile"
	"sluice/vnic/frame"
	"sluice/vswitch"
)

// resident is one guest with its vNICs. Its machine may be replaced by another while the lab runs; a guest of kind host
// has none.
type resident struct {
	*labfile.Guest
	appliance bool
	cards     []labfile.Card
	began     func()         // called when its machine has its turn to boot; nil for most
	watchers  sync.WaitGroup // one for each machine that has not ended
	ends      *os.File       // of a namespace guest's vNICs, from when they are made until the switch has them; nil else

	mu      sync.Mutex
	present guest.Machine
	ports   []frame.PortID // that the switch has
	stalled bool
	spent   time.Duration // CPU of earlier machines
	used    time.Duration // and of the present one, at the last look
}

// dropEnds lets go of the namespace of the vNICs' ends: what the switch has opened there keeps it.
func (r *resident) dropEnds() {
	if r.ends != nil {
		r.ends.Close()
		r.ends = nil
	}
}

// machine is the present one; nil before the first.
func (r *resident) machine() guest.Machine {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.present
}

func (r *resident) setMachine(m guest.Machine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spent, r.used = r.spent+r.used, 0
	r.present, r.stalled = m, false
}

func (r *resident) setStalled(stalled bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stalled = stalled
}

// joined notes a port that the switch has been given, hasJoined says whether there is one, and left takes them away.
func (r *resident) joined(id frame.PortID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ports = append(r.ports, id)
}

func (r *resident) hasJoined() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ports) > 0
}

func (r *resident) left() []frame.PortID {
	r.mu.Lock()
	defer r.mu.Unlock()
	ports := r.ports
	r.ports = nil
	return ports
}

// The states of a guest, as control.GuestInfo has them.
const (
	booting = "booting"
	ready   = "ready"
	stalled = "stalled"
	silent  = "silent" // it runs, and its agent does not answer
	failed  = "failed"
	stopped = "stopped"
)

func (r *resident) state() string {
	r.mu.Lock()
	m, still := r.present, r.stalled
	r.mu.Unlock()
	switch {
	case r.Kind == labfile.KindHost:
		return ready // a device of the host is there as long as its lab is
	case m == nil:
		return booting
	}
	switch m.State() {
	case guest.StateReady:
		if still {
			return stalled
		}
		if a := m.Agent(); a == nil || ended(a.Done()) {
			return silent
		}
		return ready
	case guest.StateStopped:
		if m.Err() != nil {
			return failed
		}
		return stopped
	default:
		return booting
	}
}

func ended(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// answerWait is how long a guest that is well may take to answer a question, emulated and on a busy machine.
const answerWait = 3 * time.Second

// tried is the state by a question: who does not answer is silent, though its line is there.
func (r *resident) tried(ctx context.Context) string {
	s := r.state()
	if s != ready || r.Kind == labfile.KindHost {
		return s
	}
	m := r.machine()
	if m == nil {
		return r.state() // it is being replaced
	}
	a := m.Agent()
	if a == nil {
		return r.state()
	}
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	if _, err := a.Info(ctx); err != nil && r.state() == ready {
		return silent
	}
	return r.state()
}

// cpu is what the guest's processes have used so far, those of earlier machines too. Of one that has ended it is what
// was seen last.
func (r *resident) cpu() time.Duration {
	m := r.machine()
	if m == nil {
		return 0
	}
	now, err := m.CPUTime()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil && r.present == m {
		r.used = max(r.used, now)
	}
	return r.spent + r.used
}

// usage is what the two sides have used of the processor.
func (w *world) usage() vswitch.Usage {
	u := vswitch.Usage{Fast: ownCPU()}
	if r := w.slow(); r != nil {
		u.Slow, u.SharedKernel = r.cpu(), r.Kind == labfile.KindNetns
	}
	return u
}

// slow is the appliance; nil where the lab has none.
func (w *world) slow() *resident {
	if last := w.guests[len(w.guests)-1]; last.appliance {
		return last
	}
	return nil
}

// watch waits for the end of a guest's machine: it is an event of the lab, not its end. An appliance's ports leave the
// switch at once, so that nobody sends to it any more.
func (w *world) watch(r *resident) {
	m := r.machine()
	if m == nil {
		return
	}
	r.watchers.Go(func() {
		<-m.Done()
		if w.life.Err() != nil {
			return
		}
		if r.appliance {
			if err := w.unplug(r); err != nil {
				slog.Warn("remove the ports of a guest that has ended", "guest", r.Name, "error", err)
			}
		}
		if err := m.Err(); err != nil {
			slog.Warn("guest has ended", "guest", r.Name, "error", err)
			first, _, _ := strings.Cut(err.Error(), "\n")
			w.sw.Tell("guest-down", strings.TrimRight(first, ": "))
		}
	})
}
