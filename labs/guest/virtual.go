package guest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"sluice/firewall/fault"
	"sluice/labs/boundlog"
	"sluice/labs/guest/agent"
)

// bootTimeout is for one attempt: several times what a boot takes without KVM. Only time in which the guest had the
// processor counts.
const bootTimeout = 60 * time.Second

// bootAttempts is two, because an emulated machine hangs now and then on its way up.
const bootAttempts = 2

var errSilent = errors.New("its agent did not answer")

// The sockets of a QEMU guest in its folder.
const (
	agentSocket   = "agent.sock"
	consoleSocket = "console.sock"
	monitorSocket = "monitor.sock"
	bootLog       = "boot.log" // what QEMU itself said, and the guest's serial line
)

// LongestSocket is the path of the socket with the longest one that a QEMU guest has, whose folder is dir.
func LongestSocket(dir string) string { return filepath.Join(dir, consoleSocket) }

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
	err := v.begin(v.spec.Dir)
	if err == nil {
		err = v.takeTurn(ctx)
	}
	if err == nil && v.spec.Template != nil {
		if err = v.clone(ctx); err == nil {
			return nil
		}
		if v.spec.Boot != BootClone && ctx.Err() == nil && !v.wasStopped() {
			v.notCloned(err)
			err = nil
		}
	}
	for attempt := 1; err == nil; attempt++ {
		if err = v.bootOnce(ctx, bootTimeout, origin{}); err == nil {
			return nil
		}
		if errors.Is(err, errSilent) && attempt < bootAttempts && ctx.Err() == nil {
			slog.Warn("guest did not boot, once more", "guest", v.spec.Name, "error", err)
			err = nil
		}
	}
	err = fmt.Errorf("boot guest %s: %w", v.spec.Name, err)
	v.ended(err)
	return err
}

func closeTAPs(nics []NIC) {
	for _, n := range nics {
		if n.TAP != nil {
			n.TAP.Close()
		}
	}
}

// bootOnce starts QEMU once, and lives with what comes of it.
func (v *virtual) bootOnce(ctx context.Context, most time.Duration, from origin) error {
	begun := time.Now()
	a, err := v.launch(ctx, most, from)
	if err != nil {
		return err
	}
	up := CameUp{How: BootCold, After: time.Since(begun)}
	if from.clone() {
		up.How = BootClone
	}
	v.booted(a, up)
	go v.keepAgent()
	return nil
}

// launch starts QEMU and returns when the agent in the guest has answered.
func (v *virtual) launch(ctx context.Context, most time.Duration, from origin) (*agent.Client, error) {
	cmd, said, err := startQEMU(&v.spec, from)
	if err != nil {
		return nil, err
	}
	ctx, cancel := patience(ctx, most, func() []int { return []int{cmd.Process.Pid} })
	defer cancel()
	logged, err := v.keepLog(said)
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return nil, err
	}
	gone, greeted := make(chan struct{}), make(chan bool, 1)
	var exit error
	go func() {
		exit = cmd.Wait()
		<-logged
		close(gone)
		cancel() // nobody will answer
		if <-greeted {
			v.quit(exit)
		}
	}()
	a, err := v.greeted(ctx, cmd, from)
	greeted <- err == nil
	if err != nil {
		kill(cmd, gone)
		if errors.Is(err, errStopped) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w; QEMU: %v; its last words:\n%s", errSilent, err, exit, v.lastWords())
	}
	v.gone = gone
	return a, nil
}

// greeted waits for the agent of a QEMU that has been started. A clone is woken before.
func (v *virtual) greeted(ctx context.Context, cmd *exec.Cmd, from origin) (*agent.Client, error) {
	if err := v.running(cmd); err != nil {
		return nil, err
	}
	if from.clone() {
		if err := v.wake(ctx, from.state); err != nil {
			return nil, err
		}
	}
	return v.dialAgent(ctx)
}

// quit notes that QEMU has ended whose agent had answered.
func (v *virtual) quit(exit error) {
	words := v.lastWords()
	if exit == nil && !v.wasStopped() && agent.SaysOff(words) {
		v.shutDown()
		return
	}
	v.ended(fmt.Errorf("guest %s ended by itself: QEMU: %v; its last words:\n%s", v.spec.Name, exit, words))
}

// logBytes is what is kept of what a guest says on its console, and QEMU of itself.
const logBytes = 256 << 10

// keepLog begins a new boot log, and keeps the end of what is said in it; logged is closed when all of it is there.
func (v *virtual) keepLog(said *os.File) (logged <-chan struct{}, err error) {
	path := filepath.Join(v.spec.Dir, bootLog)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		said.Close()
		return nil, fmt.Errorf("begin the boot log: %w", err)
	}
	log, err := boundlog.Open(path, logBytes)
	if err != nil {
		said.Close()
		return nil, noSpace(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		log.Fill(said)
		log.Close()
		said.Close()
	}()
	return done, nil
}

func (v *virtual) dialAgent(ctx context.Context) (*agent.Client, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(v.spec.Dir, agentSocket))
	if err != nil {
		return nil, err
	}
	return agent.Dial(ctx, conn)
}

// A line that breaks is taken up again at once. One that breaks again and again is the guest's doing: it is left alone
// for longer each time, so that it keeps nobody busy.
const (
	redialFirst  = time.Second
	redialAtMost = time.Minute
	lineLasts    = time.Minute // a line that held for so long counts as a good one

	endsWithin = 200 * time.Millisecond // how much later than its sockets QEMU itself may end
)

// redial says how long to leave a line alone that has held for some time, having waited before.
func redial(held, waited time.Duration) time.Duration {
	if held >= lineLasts {
		return 0
	}
	return min(max(2*waited, redialFirst), redialAtMost)
}

// keepAgent takes up the line again whenever it has broken: it is there for as long as QEMU is.
func (v *virtual) keepAgent() {
	var wait time.Duration
	for begun := time.Now(); ; begun = time.Now() {
		line := v.Agent()
		select {
		case <-v.done:
			return
		case <-line.Done():
		}
		select {
		case <-v.gone: // with QEMU: it is the end, and no silence
			return
		case <-time.After(endsWithin):
		}
		wait = redial(time.Since(begun), wait)
		v.tell(EventSilent, fmt.Sprintf("%s: the line to its agent broke (%v); it is taken up again after %v", v.spec.Name, line.Err(), wait))
		for !v.takeUp(wait) {
			if v.State() == StateStopped {
				return
			}
			wait = redial(0, wait)
		}
		v.tell(EventAnswers, v.spec.Name)
	}
}

// takeUp waits, and then tries once to reach the agent.
func (v *virtual) takeUp(wait time.Duration) bool {
	select {
	case <-v.done:
		return false
	case <-time.After(wait):
	}
	ctx, cancel := context.WithTimeout(context.Background(), bootTimeout)
	defer cancel()
	a, err := v.dialAgent(ctx)
	if err != nil {
		slog.Warn("an agent does not answer", "guest", v.spec.Name, "error", err)
		return false
	}
	return v.replaceAgent(a)
}

// lastWords is the end of the boot log, for an error's text: a guest wrote it.
func (v *virtual) lastWords() string {
	b, err := boundlog.Tail(filepath.Join(v.spec.Dir, bootLog), 2048)
	if err != nil {
		return err.Error()
	}
	return lastLines(fault.Lines(string(b), 2048), 12)
}

func (v *virtual) PIDs() []int { return v.firstPID() }

func (v *virtual) CPUTime() (time.Duration, error) { return cpuTime(v.PIDs()) }

// Pause stops the guest's CPU without telling the guest.
func (v *virtual) Pause(ctx context.Context) error { return v.monitor(ctx, "stop") }

// Resume lets a paused guest go on.
func (v *virtual) Resume(ctx context.Context) error { return v.monitor(ctx, "cont") }

func (v *virtual) monitor(ctx context.Context, command string) error {
	q, err := dialQMP(ctx, v.spec.Dir)
	if err != nil {
		return fmt.Errorf("guest %s: %s: %w", v.spec.Name, command, err)
	}
	defer q.close()
	if err := q.call(command, nil, nil); err != nil {
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
		v.ended(nil)
		return nil
	}
	if !booted {
		cmd.Process.Kill() // Boot notices
		v.ended(nil)
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
