package confine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Start is what a process gives up, or sets, before it becomes another program.
type Start struct {
	Umask int
	// Processes bounds how many the user of this process may have at once; 0 is no bound. The kernel ignores it for the
	// root of the host's own user namespace (setrlimit(2)).
	Processes uint64
	// OOM is how gladly the kernel ends this process when memory is short: -1000 is never, 0 as any other, 1000 first.
	OOM int
}

// Apply makes the calling thread start afresh: nothing of the terminal or shell that it was started by is left but its
// standard streams. Signals act as they usually do and none is blocked, limits and umask are ours, the working folder
// is /, and the keys of the user's session are out of reach. The caller is locked to its thread, and calls exec next:
// some of this is a thread's own.
func (s Start) Apply() error {
	unix.Umask(s.Umask)
	return errors.Join(os.Chdir("/"), s.limit(), usualSignals(), usualPersonality(), newKeyring(), setOOM(s.OOM))
}

// usualPersonality undoes setarch(8): a program that is started with addresses that are not random is easier to attack.
func usualPersonality() error {
	const linux = 0 // PER_LINUX, without flags (personality(2))
	if _, _, errno := unix.Syscall(unix.SYS_PERSONALITY, linux, 0, 0); errno != 0 {
		return fmt.Errorf("set the usual personality: %w", errno)
	}
	return nil
}

// UsualUmask is umask 022 until undo is called. What other users of this program, or QEMU, must be able to read does
// not depend on the umask of the shell that happens to make it first.
func UsualUmask() (undo func()) {
	old := unix.Umask(0o022)
	return func() { unix.Umask(old) }
}

// Secret makes this process's memory and descriptors nobody's business but the host's root's: /proc shows them to no
// other process of its guest, root or not. It holds until the next exec.
func Secret() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("hide the process: %w", err)
	}
	return nil
}

// Limits of what a process of a lab may use. The ones that a shell's ulimit may have lowered are opened again, for a
// lab must not end by the limit of the terminal that deployed it; and no process writes a core, which would hold a
// guest's memory.
const (
	softFiles, hardFiles = 1024, 1 << 16
	stackBytes           = 8 << 20
	lockedBytes          = 64 << 20
)

func (s Start) limit() error {
	const none = unix.RLIM_INFINITY
	processes := uint64(none)
	if s.Processes > 0 {
		processes = s.Processes
	}
	for _, l := range []struct {
		what       string
		which      int
		soft, hard uint64
	}{
		{"core", unix.RLIMIT_CORE, 0, 0},
		{"CPU time", unix.RLIMIT_CPU, none, none},
		{"file size", unix.RLIMIT_FSIZE, none, none},
		{"data", unix.RLIMIT_DATA, none, none},
		{"address space", unix.RLIMIT_AS, none, none},
		{"stack", unix.RLIMIT_STACK, stackBytes, none},
		{"locked memory", unix.RLIMIT_MEMLOCK, lockedBytes, lockedBytes},
		{"open files", unix.RLIMIT_NOFILE, softFiles, hardFiles},
		{"processes", unix.RLIMIT_NPROC, processes, processes},
	} {
		if err := setLimit(l.which, l.soft, l.hard); err != nil {
			return fmt.Errorf("limit %s: %w", l.what, err)
		}
	}
	return nil
}

// setLimit sets a limit, or as much of it as this process may: root without CAP_SYS_RESOURCE, as in a container, raises
// none.
func setLimit(which int, soft, hard uint64) error {
	err := unix.Setrlimit(which, &unix.Rlimit{Cur: soft, Max: hard})
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	var now unix.Rlimit
	if err := unix.Getrlimit(which, &now); err != nil {
		return err
	}
	hard = min(hard, now.Max)
	return unix.Setrlimit(which, &unix.Rlimit{Cur: min(soft, hard), Max: hard})
}

// usualSignals undoes what the starter ignored or blocked: nohup, a shell's &, a program that blocks signals for
// itself.
func usualSignals() error {
	var none unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &none, nil); err != nil {
		return fmt.Errorf("unblock signals: %w", err)
	}
	ignored, err := signalSet("SigIgn")
	if err != nil {
		return fmt.Errorf("look for ignored signals: %w", err)
	}
	for n := 1; n <= 64; n++ {
		if ignored&(1<<(n-1)) == 0 {
			continue
		}
		if err := defaultAction(n); err != nil {
			return fmt.Errorf("heed signal %d again: %w", n, err)
		}
	}
	return nil
}

// signalSet reads a set of signals of this process, as /proc says it.
func signalSet(which string) (uint64, error) {
	b, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, which+":"); ok {
			return strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		}
	}
	return 0, fmt.Errorf("no %s in /proc/thread-self/status", which)
}

// defaultAction is rt_sigaction(2) with SIG_DFL. os/signal cannot do it: it gives back what it found.
func defaultAction(signal int) error {
	var action struct { // struct kernel_sigaction; all zero is SIG_DFL
		handler, flags, restorer uintptr
		mask                     uint64
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(signal), uintptr(unsafe.Pointer(&action)), 0, unsafe.Sizeof(action.mask), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// newKeyring leaves the user's session keyring, which a process inherits with all keys in it.
func newKeyring() error {
	// x/sys/unix can only join a keyring by a name; no name is a new one.
	_, _, errno := unix.Syscall(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0)
	switch errno {
	case 0, unix.ENOSYS, unix.EPERM, unix.EACCES: // a kernel without keys, or a filter: there is no keyring to leave
		return nil
	}
	return fmt.Errorf("leave the session keyring: %w", errno)
}

func setOOM(score int) error {
	err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(score)), 0)
	if errors.Is(err, os.ErrPermission) {
		return nil // to lower it takes CAP_SYS_RESOURCE; the starter's stays
	}
	return err
}

// variables are those that a lab process takes from whoever deploys a lab: where programs are, where labs are kept, and
// how Go's runtime behaves. All else, secrets among it, stays with the shell.
var variables = []string{
	"PATH", "SLUICE_STATE_DIR", "XDG_RUNTIME_DIR", "TZ", "GOCOVERDIR", "GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK",
}

// folders are those of the variables that name one.
var folders = map[string]bool{"SLUICE_STATE_DIR": true, "XDG_RUNTIME_DIR": true, "GOCOVERDIR": true}

// Environment is what of this process's environment a lab process takes.
func Environment() []string {
	var env []string
	for _, name := range variables {
		if value, set := os.LookupEnv(name); set {
			if abs, err := filepath.Abs(value); err == nil && folders[name] && value != "" {
				value = abs // the lab process has another working folder
			}
			env = append(env, name+"="+value)
		}
	}
	return env
}
