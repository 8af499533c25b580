package confine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"sluice/vnic/roottest"
)

// The test program starts itself anew: what it gives up it cannot have again.
const stageVariable = "CONFINE_STAGE"

var stages = map[string]func() error{
	"descriptors": func() error { return Descriptors() },
	"one by one":  markOneByOne,
	"pass":        func() error { return firstError(Descriptors(), Pass(firstOther)) },
	"start":       func() error { return (Start{Umask: 0o027, Processes: 500, OOM: 300}).Apply() },
	"inside":      func() error { return Filter{Inside: true}.Load() },
	"lab":         func() error { return Filter{}.Load() },
	"keep": func() error {
		return firstError(Capabilities{unix.CAP_KILL}.Keep(), Capabilities{unix.CAP_KILL, unix.CAP_CHOWN}.Have())
	},
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestMain(m *testing.M) {
	stage, then, ok := strings.Cut(os.Getenv(stageVariable), "/")
	switch {
	case !ok:
		os.Exit(m.Run())
	case stage == "":
		looks[then]()
		os.Exit(0)
	}
	runtime.LockOSThread()
	err := stages[stage]()
	if err == nil {
		err = unix.Exec("/proc/self/exe", []string{"confine"}, []string{stageVariable + "=/" + then})
	}
	fmt.Println("stage", stage, err)
	os.Exit(1)
}

var looks = map[string]func(){
	"fds": func() {
		open, _ := openDescriptors()
		for _, fd := range open {
			// The runtime's own, made since, are close-on-exec.
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 && fd >= firstOther {
				fmt.Println(fd)
			}
		}
	},
	"status": func() {
		b, _ := os.ReadFile("/proc/self/status")
		score, _ := os.ReadFile("/proc/self/oom_score_adj")
		dir, _ := os.Getwd()
		personality, _ := os.ReadFile("/proc/self/personality")
		fmt.Printf("%sOOM:\t%sDir:\t%s\nPersonality:\t%s", b, score, dir, personality)
		for _, which := range []int{unix.RLIMIT_CORE, unix.RLIMIT_NPROC} {
			var l unix.Rlimit
			unix.Getrlimit(which, &l)
			fmt.Printf("Limit%d:\t%d\n", which, l.Max)
		}
	},
	"calls": func() {
		for _, c := range calls {
			_, _, errno := unix.RawSyscall6(c.number, c.args[0], c.args[1], 0, 0, 0, 0)
			fmt.Printf("%s:\t%d\n", c.name, errno)
		}
	},
}

// start runs a stage and then a look, and gives what the look printed.
func start(t *testing.T, stage, look string, how func(*exec.Cmd)) string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{stageVariable + "=" + stage + "/" + look}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if how != nil {
		how(cmd)
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s%s", err, out, errs.String())
	}
	return string(out)
}

// TestDescriptors starts a program with descriptors that it was not asked to take, by both ways that there are.
func TestDescriptors(t *testing.T) {
	secret, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	inherit := func(cmd *exec.Cmd) { cmd.ExtraFiles = slices.Repeat([]*os.File{secret}, 40) }
	for stage, want := range map[string]string{"descriptors": "", "one by one": "", "pass": "3\n"} {
		if got := start(t, stage, "fds", inherit); got != want {
			t.Errorf("%s: the next program has descriptors %q, want %q", stage, got, want)
		}
	}
}

// field is a line of what a look printed.
func field(out, name string) string {
	for line := range strings.Lines(out) {
		if k, v, ok := strings.Cut(line, ":"); ok && k == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// TestStartAfresh starts a program from one that ignores and blocks signals, in another folder, with another umask.
func TestStartAfresh(t *testing.T) {
	out := start(t, "start", "status", func(cmd *exec.Cmd) {
		cmd.Path, cmd.Dir = "/bin/sh", t.TempDir()
		cmd.Args = []string{"sh", "-c", `trap "" TSTP TTIN TTOU HUP INT USR1; umask 0777; exec setarch $(uname -m) -R /proc/` + fmt.Sprint(os.Getpid()) + `/exe`}
	})
	for name, want := range map[string]string{
		"SigIgn": strings.Repeat("0", 16), "Umask": "0027", "OOM": "300", "Dir": "/", "Personality": "00000000", "SigBlk": strings.Repeat("0", 16),
		fmt.Sprintf("Limit%d", unix.RLIMIT_CORE): "0", fmt.Sprintf("Limit%d", unix.RLIMIT_NPROC): "500",
	} {
		if got := field(out, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

// TestUsualSignals blocks a signal as some programs do for their children, and finds the next program without.
func TestUsualSignals(t *testing.T) {
	done := make(chan uint64)
	go func() {
		runtime.LockOSThread() // and never unlocked
		set := unix.Sigset_t{Val: [16]uint64{1 << (unix.SIGUSR2 - 1)}}
		if err := unix.PthreadSigmask(unix.SIG_SETMASK, &set, nil); err != nil {
			t.Error(err)
		}
		if err := usualSignals(); err != nil {
			t.Error(err)
		}
		blocked, err := signalSet("SigBlk")
		if err != nil {
			t.Error(err)
		}
		done <- blocked
	}()
	if blocked := <-done; blocked != 0 {
		t.Errorf("signals %x are blocked, want none", blocked)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("SLUICE_PASSWORD", "secret")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("LD_PRELOAD", "secret")
	t.Setenv("SLUICE_STATE_DIR", "state")
	t.Setenv("PATH", "/bin")
	t.Setenv("TZ", "")
	for _, name := range []string{"XDG_RUNTIME_DIR", "GOCOVERDIR", "GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK"} {
		t.Setenv(name, "") // to be put back
		os.Unsetenv(name)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"PATH=/bin", "SLUICE_STATE_DIR=" + dir + "/state", "TZ="}
	if got := Environment(); !slices.Equal(got, want) {
		t.Errorf("the lab process gets %q, want %q", got, want)
	}
}

// calls are tried under a filter; as they are written they do nothing where they are let through.
var calls = []struct {
	name   string
	number uintptr
	args   [2]uintptr
}{
	{"getpid", unix.SYS_GETPID, [2]uintptr{}},
	{"ptrace", unix.SYS_PTRACE, [2]uintptr{unix.PTRACE_DETACH, 0}},
	{"keyctl", unix.SYS_KEYCTL, [2]uintptr{unix.KEYCTL_GET_KEYRING_ID, 0}},
	{"init_module", unix.SYS_INIT_MODULE, [2]uintptr{}},
	{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, [2]uintptr{}},
	{"io_uring_setup", unix.SYS_IO_URING_SETUP, [2]uintptr{}},
	{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, [2]uintptr{}},
	{"mount", unix.SYS_MOUNT, [2]uintptr{}},
	{"setns", unix.SYS_SETNS, [2]uintptr{^uintptr(0), 0}},
	{"unshare", unix.SYS_UNSHARE, [2]uintptr{unix.CLONE_FILES, 0}},
	{"bpf", unix.SYS_BPF, [2]uintptr{^uintptr(0), 0}},
	{"clone3", unix.SYS_CLONE3, [2]uintptr{}},
	{"clone into a user namespace", unix.SYS_CLONE, [2]uintptr{unix.CLONE_NEWUSER | unix.CLONE_FS, 0}}, // the two together are EINVAL
	{"socket of this machine", unix.SYS_SOCKET, [2]uintptr{unix.AF_UNIX, unix.SOCK_STREAM}},
	{"socket of the machine below", unix.SYS_SOCKET, [2]uintptr{unix.AF_VSOCK, unix.SOCK_STREAM}},
	{"socket of the kernel's ciphers", unix.SYS_SOCKET, [2]uintptr{unix.AF_ALG, unix.SOCK_SEQPACKET}},
	{"x32 getpid", 0x40000000 + unix.SYS_GETPID, [2]uintptr{}},
}

// TestFilter tries calls in a program that was started under each filter.
func TestFilter(t *testing.T) {
	refused := fmt.Sprint(int(unix.EPERM))
	unknown := fmt.Sprint(int(unix.ENOSYS))
	noFamily := fmt.Sprint(int(unix.EAFNOSUPPORT))
	lab, inside := start(t, "lab", "calls", nil), start(t, "inside", "calls", nil)
	for _, c := range []struct {
		name        string
		lab, inside string // an error's number; empty: whatever the kernel says to such arguments, but not the filter
	}{
		{"getpid", "0", "0"},
		{"ptrace", refused, refused}, {"keyctl", refused, refused}, {"init_module", refused, refused}, {"perf_event_open", refused, refused},
		{"io_uring_setup", refused, refused}, {"open_by_handle_at", refused, refused},
		{"mount", "", refused}, {"setns", fmt.Sprint(int(unix.EBADF)), refused}, {"unshare", "0", refused}, {"bpf", "", refused},
		{"clone3", fmt.Sprint(int(unix.EINVAL)), unknown},
		{"clone into a user namespace", fmt.Sprint(int(unix.EINVAL)), refused},
		{"socket of this machine", "0", "0"}, {"socket of the machine below", noFamily, noFamily}, {"socket of the kernel's ciphers", noFamily, noFamily},
		{"x32 getpid", unknown, unknown},
	} {
		for where, pair := range map[string][2]string{"lab": {field(lab, c.name), c.lab}, "inside": {field(inside, c.name), c.inside}} {
			if pair[1] != "" && pair[0] != pair[1] {
				t.Errorf("%s, filter %s: error %s, want %s", c.name, where, pair[0], pair[1])
			}
		}
	}
}

// TestFilterOtherDoor runs the filter on a call by int 0x80, whose numbers are another architecture's: 26 is ptrace
// there.
func TestFilterOtherDoor(t *testing.T) {
	for _, f := range []Filter{{}, {Inside: true}} {
		vm, err := bpf.NewVM(f.program())
		if err != nil {
			t.Fatal(err)
		}
		for arch, want := range map[uint32]uint32{auditArch: unix.SECCOMP_RET_ALLOW, unix.AUDIT_ARCH_I386: unknown} {
			data := make([]byte, 64)
			binary.BigEndian.PutUint32(data[offNumber:], unix.SYS_GETPID) // the VM loads big-endian, as from a packet
			binary.BigEndian.PutUint32(data[offArch:], arch)
			if got, err := vm.Run(data); err != nil || uint32(got) != want {
				t.Errorf("%+v, architecture %x: %x, %v; want %x", f, arch, got, err, want)
			}
		}
	}
}

func TestRootCapabilities(t *testing.T) {
	roottest.Need(t, "gives up capabilities")
	out := start(t, "keep", "status", nil)
	for _, set := range []string{"CapBnd", "CapEff", "CapPrm"} {
		if got, want := field(out, set), fmt.Sprintf("%016x", 1<<unix.CAP_KILL); got != want {
			t.Errorf("%s is %s, want %s", set, got, want)
		}
	}
}

// TestSecret sees that /proc shows a process that hides its memory to be the host root's.
func TestSecret(t *testing.T) {
	if err := Secret(); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
	if n, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || n != 0 {
		t.Errorf("dumpable is %d, %v; want 0", n, err)
	}
}
