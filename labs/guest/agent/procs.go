package agent

import (
	"os/exec"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// procs runs the agent's own children and buries everybody else's: as init, the agent inherits every orphan of its
// guest, and must not take away the exit code of a child that somebody waits for.
type procs struct {
	mu   sync.Mutex // held from a child's start until it is known
	mine map[int]bool
}

func newProcs() *procs { return &procs{mine: map[int]bool{}} }

func (p *procs) start(cmd *exec.Cmd) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	p.mine[cmd.Process.Pid] = true
	return nil
}

func (p *procs) wait(cmd *exec.Cmd) error {
	err := cmd.Wait()
	p.mu.Lock()
	delete(p.mine, cmd.Process.Pid)
	p.mu.Unlock()
	p.bury()
	return err
}

func (p *procs) run(cmd *exec.Cmd) error {
	if err := p.start(cmd); err != nil {
		return err
	}
	return p.wait(cmd)
}

// bury collects dead orphans. Where a child of ours is the first to collect it stops: wait goes on from there.
func (p *procs) bury() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		pid := siginfoPID(&info)
		if err != nil || pid == 0 || p.mine[pid] {
			return
		}
		if _, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); err != nil {
			return
		}
	}
}

// siginfoPID is si_pid of a child's signal (include/uapi/asm-generic/siginfo.h): the first field of the union, which
// starts at byte 16 on 64-bit machines.
func siginfoPID(info *unix.Siginfo) int {
	child := (*struct {
		_   [16]byte
		pid int32
	})(unsafe.Pointer(info))
	return int(child.pid)
}
