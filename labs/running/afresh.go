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

// labRights are what the lab process keeps of root's capabilities, and what it does with each; docs/security.md has the same
// list for readers. What a namespace guest keeps where it has no user namespace must be among them: nobody gives what he lacks.
var labRights = confine.Capabilities{
	unix.CAP_NET_ADMIN,    // TAPs, veths, filters, MTUs
	unix.CAP_NET_RAW,      // packet sockets
	unix.CAP_SYS_ADMIN,    // namespaces of guests: make them, name them, enter them to deafen a stalled one
	unix.CAP_SYS_PTRACE,   // to see which processes are in a guest's namespaces
	unix.CAP_KILL,         // guests run as users of their own
	unix.CAP_SETUID,       // as which they are started
	unix.CAP_SETGID,       // likewise
	unix.CAP_MKNOD,        // /dev/null and its like, for a namespace guest without a user namespace
	unix.CAP_CHOWN,        // a guest's files go to its user
	unix.CAP_DAC_OVERRIDE, // files of the user who deployed the lab through sudo
}

// ConfinedFlag tells the lab process that it has started afresh.
const ConfinedFlag = "confined"

// startAfresh makes this process the lab process proper: by an exec with nothing of the deployer's terminal, shell and session,
// few capabilities, and a filter of system calls. It has them from its first instruction and in every thread.
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
		err = confine.Pass(fdLock, fdHostNS, fdReports)
	}
	if err == nil {
		args := slices.Concat([]string{"sluice"}, runWords, []string{dir, "--" + ConfinedFlag})
		err = os.NewSyscallError("exec", unix.Exec("/proc/self/exe", args, os.Environ()))
	}
	return fmt.Errorf("start the lab process afresh: %w", err)
}
