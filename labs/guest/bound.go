package guest

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// startBound starts a process that the kernel ends when this one dies, however it dies, and even while the other is
// stopped. The kernel watches the thread that has started the process, not this whole program (PR_SET_PDEATHSIG,
// prctl(2)): so a thread does it that lasts as long as this program. os/exec asks the kernel for it after it has
// changed the user, which would undo it, and then looks whether this process is still there. In a new PID namespace
// that look would go wrong, so agents there ask by themselves.
func startBound(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if cmd.SysProcAttr.Cloneflags&syscall.CLONE_NEWPID == 0 {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	done := make(chan error)
	starter() <- func() { done <- cmd.Start() }
	return <-done
}

// starter is the thread that starts what is bound to this process.
var starter = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})
