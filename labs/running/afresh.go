package running

import (
	"fmt"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"sluice/labs/guest/agent"
	"sluice/labs/guest/confine"
)

// labRights are the capabilities of root that the lab process keeps for itself. Beside them it keeps agent.Rights: it
// cannot hand on to a namespace guest what it lacks. docs/security.md says what each is for. They were found by taking
// each away in turn.
var labRights = confine.Capabilities{
	unix.CAP_SYS_ADMIN,  // namespaces of guests: make them, name them, enter them to deafen a stalled one
	unix.CAP_SYS_PTRACE, // to see which processes are in a guest's namespaces, where they are no children of a user namespace of ours
	unix.CAP_SETPCAP,    // to take capabilities from such a guest
}

// ConfinedFlag tells the lab process that it has started afresh.
const ConfinedFlag = "confined"

// startAfresh makes this process the lab process proper: by an exec with nothing of the deployer's terminal, shell and
// session, few capabilities, and a filter of system calls. It has them from its first instruction and in every thread.
func startAfresh(dir string) error {
	runtime.LockOSThread()
	err := (confine.Start{Umask: 0o022}).Apply()
	if err == nil {
		err = append(agent.Rights(), labRights...).Keep()
	}
	if err == nil {
		err = confine.Filter{}.Load()
	}
	if err == nil {
		err = confine.Pass(inherited(dir)...)
	}
	if err == nil {
		args := slices.Concat([]string{"sluice"}, runWords, []string{dir, "--" + ConfinedFlag})
		err = os.NewSyscallError("exec", unix.Exec("/proc/self/exe", args, os.Environ()))
	}
	return fmt.Errorf("start the lab process afresh: %w", err)
}

// inherited are the descriptors that the lab process is to have.
func inherited(dir string) []int {
	fds := []int{fdLock, fdHostNS, fdReports}
	d, err := readDeployment(dir)
	if err != nil {
		return fds // which the lab process proper will say
	}
	for i := range d.Flavors {
		fds = append(fds, fdTemplates+i)
	}
	return fds
}
