package guest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"time"

	"sluice/labs/guest/agent"
)

// stopGrace is how long a guest may take to end before its process is killed.
const stopGrace = 2 * time.Second

// configureTimeout is how long a guest may take until its services listen, counted as for a boot.
const configureTimeout = 60 * time.Second

// process is what both kinds of machine share: one process on the host, and an agent in it.
type process struct {
	spec Spec

	mu      sync.Mutex
	state   State
	image   *os.File // holds the image
	turn    *os.File // while it boots, of the few that may
	cmd     *exec.Cmd
	agent   *agent.Client
	cameUp  CameUp
	stopped bool // by Stop
	killed  bool // by Kill
	err     error
	done    chan struct{} // closed when the machine has ended
	endOnce sync.Once
}

func newProcess(spec Spec) *process {
	return &process{spec: spec, state: StateNew, done: make(chan struct{})}
}

func (p *process) Name() string          { return p.spec.Name }
func (p *process) Kind() Kind            { return p.spec.Kind }
func (p *process) Done() <-chan struct{} { return p.done }

func (p *process) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

func (p *process) CameUp() CameUp {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cameUp
}

func (p *process) setState(s State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != StateStopped {
		p.state = s
	}
}

func (p *process) Agent() *agent.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.agent
}

func (p *process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Configure gives the guest its addresses, names and services, and returns when it is ready.
func (p *process) Configure(ctx context.Context) error {
	a := p.Agent()
	if a == nil {
		return fmt.Errorf("configure guest %s: it has not booted", p.spec.Name)
	}
	defer p.endTurn()
	ctx, cancel := patience(ctx, configureTimeout, p.firstPID)
	defer cancel()
	if err := a.Configure(ctx, p.spec.agentConfig()); err != nil {
		return fmt.Errorf("configure guest %s: %w", p.spec.Name, err)
	}
	p.setState(StateReady)
	return nil
}

// begin is the first part of Boot: the machine's folder, and its image held.
func (p *process) begin(folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return noSpace(err)
	}
	held, err := p.spec.Image.Hold()
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.image = held
	return nil
}

// takeTurn waits until few enough guests boot. The turn ends with Configure, or with the machine.
func (p *process) takeTurn(ctx context.Context) error {
	turn, err := waitForTurn(ctx, turnsDir, turns())
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		turn.Close()
		return errStopped
	}
	p.turn = turn
	if p.spec.Began != nil {
		p.spec.Began()
	}
	return nil
}

func (p *process) endTurn() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.turn != nil {
		p.turn.Close()
		p.turn = nil
	}
}

var errStopped = errors.New("it was stopped")

// running notes a process that has been started. It is refused once the machine has been stopped.
func (p *process) running(cmd *exec.Cmd) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return errStopped
	}
	p.cmd, p.state = cmd, StateBooting
	return nil
}

// booted notes the agent, and how the guest came up, unless the machine has ended meanwhile.
func (p *process) booted(a *agent.Client, up CameUp) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cameUp = up
	if p.agent = a; p.state == StateStopped {
		a.Close()
		return
	}
	p.state = StateBooted
}

// replaceAgent notes a new line to the agent, unless the machine has ended.
func (p *process) replaceAgent(a *agent.Client) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == StateStopped {
		a.Close()
		return false
	}
	p.agent = a
	return true
}

// shutDown notes that a command in the machine has ended it.
func (p *process) shutDown() {
	p.ended(nil)
	p.tell(EventDown, p.spec.Name+" was shut down by a command in it (poweroff, halt, reboot); a guest does not boot again by itself")
}

// tell logs an event, and tells whoever made the guest.
func (p *process) tell(event, detail string) {
	slog.Warn(event, "detail", detail)
	if p.spec.Tell != nil {
		p.spec.Tell(event, detail)
	}
}

// hangUp is how long what an ended machine's agent has said last may take to be read.
const hangUp = time.Second

// ended notes that the machine is no more, for whatever reason.
func (p *process) ended(err error) {
	p.endOnce.Do(func() {
		if a := p.Agent(); a != nil {
			select {
			case <-a.Done():
			case <-time.After(hangUp):
			}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.state = StateStopped
		switch {
		case p.killed:
			p.err = fmt.Errorf("guest %s was killed", p.spec.Name)
		case !p.stopped:
			p.err = err
		}
		if p.agent != nil {
			p.agent.Close()
		}
		if p.image != nil {
			p.image.Close()
		}
		if p.turn != nil {
			p.turn.Close()
		}
		close(p.done)
	})
}

// pid is the main process's, 0 if there is none.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.state == StateStopped {
		return 0
	}
	return p.cmd.Process.Pid
}

// firstPID is the main process's, if there is one.
func (p *process) firstPID() []int {
	if pid := p.pid(); pid != 0 {
		return []int{pid}
	}
	return nil
}

// Kill ends the main process, and with it the machine.
func (p *process) Kill() error {
	p.mu.Lock()
	cmd, state := p.cmd, p.state
	p.killed = state != StateStopped
	p.mu.Unlock()
	if cmd == nil || state == StateStopped {
		return fmt.Errorf("kill guest %s: it does not run", p.spec.Name)
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill guest %s: %w", p.spec.Name, err)
	}
	<-p.done
	return nil
}

// wasStopped says whether the machine has been told to end, by Stop or Kill.
func (p *process) wasStopped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopped || p.killed
}

// kill ends a process for sure and waits until it has gone.
func kill(cmd *exec.Cmd, gone <-chan struct{}) {
	cmd.Process.Kill()
	<-gone
}
