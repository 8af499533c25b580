package guest

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// startBound starts a process that the kernel ends, for sure, when this one dies, however it dies and even while the
// other is stopped. The kernel does so when the thread ends that started it (PR_SET_PDEATHSIG, prctl(2)), so a thread
// of its own does, which lasts as long as this process. os/exec asks for it after it has changed the user, which would
// undo it, and looks again whether this process is still there. In a new PID namespace that last look would be wrong,
// so agents there ask by themselves.
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
