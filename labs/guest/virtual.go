package guest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"sluice/labs/guest/agent"
)

// bootTimeout is for one attempt: several times what a boot takes without KVM on a busy machine.
const bootTimeout = 60 * time.Second

// bootAttempts is two, because an emulated machine hangs now and then on its way up.
const bootAttempts = 2

// The sockets of a QEMU guest in its folder.
const (
	agentSocket   = "agent.sock"
	consoleSocket = "console.sock"
	monitorSocket = "monitor.sock"
	bootLog       = "boot.log" // what QEMU itself said, and the guest's serial line
)

// virtual is a QEMU guest.
type virtual struct {
	*process
	gone chan struct{} // the present QEMU process has gone
}

func newVirtual(spec Spec) *virtual { return &virtual{process: newProcess(spec)} }

func (v *virtual) NetNS() string { return "" }

// Boot starts QEMU and returns when the agent in the guest has answered.
func (v *virtual) Boot(ctx context.Context) error {
	defer closeTAPs(v.spec.NICs)
	if err := os.MkdirAll(v.spec.Dir, 0o700); err != nil {
		return noSpace(fmt.Errorf("boot guest %s: %w", v.spec.Name, err))
	}
	var err error
	for attempt := range bootAttempts {
		if err = v.bootOnce(ctx); err == nil {
			return nil
		}
		if ctx.Err() != nil || errors.Is(err, ErrMissing) || errors.Is(err, errStopped) {
			break
		}
		slog.Warn("guest did not boot", "guest", v.spec.Name, "attempt", attempt+1, "error", err)
	}
	return fmt.Errorf("boot guest %s: %w", v.spec.Name, err)
}

func closeTAPs(nics []NIC) {
	for _, n := range nics {
		if n.TAP != nil {
			n.TAP.Close()
		}
	}
}

func (v *virtual) bootOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	cmd, err := startQEMU(&v.spec)
	if err != nil {
		return err
	}
	gone := make(chan struct{})
	var exit error
	go func() {
		exit = cmd.Wait()
		close(gone)
		cancel() // nobody will answer
	}()
	if err := v.running(cmd); err != nil {
		kill(cmd, gone)
		return err
	}
	a, err := v.dialAgent(ctx)
	if err != nil {
		kill(cmd, gone)
		return fmt.Errorf("%w; QEMU: %v; its last words:\n%s", err, exit, v.lastWords())
	}
	v.gone = gone
	v.booted(a)
	go func() {
		<-gone
		v.process.ended(fmt.Errorf("QEMU: %v; its last words:\n%s", exit, v.lastWords()))
	}()
	return nil
}

func (v *virtual) dialAgent(ctx context.Context) (*agent.Client, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(v.spec.Dir, agentSocket))
	if err != nil {
		return nil, err
	}
	return agent.Dial(ctx, conn)
}

// lastWords is the end of the boot log, for an error's text: a guest wrote it.
func (v *virtual) lastWords() string {
	b, err := os.ReadFile(filepath.Join(v.spec.Dir, bootLog))
	if err != nil {
		return err.Error()
	}
	return lastLines(agent.Printable(string(b[max(0, len(b)-4096):])), 12)
}

func (v *virtual) PIDs() []int {
	if pid := v.pid(); pid != 0 {
		return []int{pid}
	}
	return nil
}

func (v *virtual) CPUTime() (time.Duration, error) { return cpuTime(v.PIDs()) }

// Pause stops the guest's CPU without telling the guest.
func (v *virtual) Pause(ctx context.Context) error { return v.monitor(ctx, "stop") }

// Resume lets a paused guest go on.
func (v *virtual) Resume(ctx context.Context) error { return v.monitor(ctx, "cont") }

func (v *virtual) monitor(ctx context.Context, command string) error {
	if err := qmp(ctx, filepath.Join(v.spec.Dir, monitorSocket), command); err != nil {
		return fmt.Errorf("guest %s: %w", v.spec.Name, err)
	}
	return nil
}

// Stop asks QEMU to end, and makes it.
func (v *virtual) Stop(ctx context.Context) error {
	v.mu.Lock()
	v.stopped = true
	cmd, booted := v.cmd, v.agent != nil
	v.mu.Unlock()
	if cmd == nil {
		v.process.ended(nil)
		return nil
	}
	if !booted {
		cmd.Process.Kill() // Boot notices
		v.process.ended(nil)
		return nil
	}
	asked, cancel := context.WithTimeout(ctx, stopGrace)
	defer cancel()
	if err := v.monitor(asked, "quit"); err != nil {
		slog.Debug("QEMU does not listen", "guest", v.spec.Name, "error", err)
		cmd.Process.Kill()
	}
	select {
	case <-v.gone:
	case <-asked.Done():
		kill(cmd, v.gone)
	}
	<-v.done
	for _, s := range []string{agentSocket, consoleSocket, monitorSocket} {
		os.Remove(filepath.Join(v.spec.Dir, s))
	}
	return nil
}
