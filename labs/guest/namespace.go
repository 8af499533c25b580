package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"sluice/firewall/fault"
	"sluice/labs/guest/agent"
	"sluice/vnic"
)

// namespaceTimeout is how long the agent of a namespace guest may take to answer.
const namespaceTimeout = 20 * time.Second

// namespace is a guest in namespaces of the host's kernel.
type namespace struct {
	*process
	gone chan struct{} // its PID 1 has ended, and with it every process in it
}

func newNamespace(spec Spec) *namespace {
	return &namespace{process: newProcess(spec), gone: make(chan struct{})}
}

func (n *namespace) NetNS() string {
	if n.Agent() == nil {
		return ""
	}
	return n.nsPath()
}

func (n *namespace) nsPath() string { return filepath.Join(NamesDir, NSName(n.spec.Lab, n.spec.Name)) }

// Boot makes the namespaces and returns when the agent in them has answered.
func (n *namespace) Boot(ctx context.Context) error {
	ctx, cancel := patience(ctx, namespaceTimeout, n.firstPID)
	defer cancel()
	if err := n.boot(ctx); err != nil {
		err = fmt.Errorf("boot guest %s: %w", n.spec.Name, err)
		n.ended(err)
		return err
	}
	return nil
}

// boot tries a user namespace of the guest's own first. Where the machine does not give one, the guest is root of the
// host's, with few capabilities. So is the appliance: its inspector's queue is longer than net.core.rmem_max, which the
// kernel grants to CAP_NET_ADMIN of the host's user namespace only (SO_RCVBUFFORCE, socket(7)).
func (n *namespace) boot(ctx context.Context) error {
	if err := n.begin(n.spec.Dir); err != nil {
		return err
	}
	if n.spec.Appliance || noUserSpaces.Load() {
		return n.bootIn(ctx, false)
	}
	err := n.bootIn(ctx, true)
	if err == nil || ctx.Err() != nil || errors.Is(err, errStopped) {
		return err
	}
	n.gone = make(chan struct{})
	if n.bootIn(ctx, false) != nil {
		return err // it was not for the user namespace
	}
	slog.Warn("no user namespaces for guests on this machine", "guest", n.spec.Name, "error", err)
	noUserSpaces.Store(true)
	return nil
}

// noUserSpaces is set where a guest booted without a user namespace, but not with one.
var noUserSpaces atomic.Bool

// TryUserSpaces boots a guest in a user namespace and ends it, to learn whether this machine has them for guests.
func TryUserSpaces(ctx context.Context, img *Image) (err error) {
	dir, err := os.MkdirTemp("", "sluice-doctor-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	n := newNamespace(Spec{Lab: filepath.Base(dir), Name: "trial", Kind: NetNS, Dir: dir, Image: img})
	ctx, cancel := patience(ctx, namespaceTimeout, n.firstPID)
	defer cancel()
	if err := n.begin(dir); err != nil {
		return err
	}
	if err := n.bootIn(ctx, true); err != nil {
		n.ended(err)
		return err
	}
	return n.Stop(ctx)
}

func (n *namespace) bootIn(ctx context.Context, userSpace bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	line, theirs, err := socketPair()
	if err != nil {
		return err
	}
	files, err := n.files(theirs)
	defer closeFiles(files)
	if err != nil {
		line.Close()
		return err
	}
	cmd, said := n.command(files, userSpace)
	if err := startBound(cmd); err != nil {
		line.Close()
		return fmt.Errorf("make namespaces: %w", err)
	}
	var exit error
	gone := n.gone
	go func() {
		exit = cmd.Wait()
		close(gone)
		cancel() // nobody will answer
	}()
	err = n.running(cmd)
	if err == nil {
		err = nameNamespace(cmd.Process.Pid, n.nsPath())
	}
	var a *agent.Client
	if err == nil {
		a, err = agent.Dial(ctx, line)
	}
	if err != nil {
		line.Close()
		kill(cmd, n.gone)
		return errors.Join(fmt.Errorf("%w; the agent: %v: %s", err, exit, lastLines(said.String(), 5)), removeNamespace(n.nsPath()))
	}
	n.booted(a, CameUp{})
	go func() {
		<-n.gone
		n.silence()
		var code *exec.ExitError
		if errors.As(exit, &code) && code.ExitCode() == agent.ExitOff && !n.wasStopped() {
			n.shutDown()
			return
		}
		n.ended(fmt.Errorf("guest %s ended by itself: its agent: %v: %s", n.spec.Name, exit, lastLines(said.String(), 5)))
	}()
	return nil
}

// files are what a guest's PID 1 inherits beside its standard streams: agent.LineFD, agent.TreeFD, and the program. The
// user of a guest may not read the folders that the image lies in, so it gets what it needs in hand.
func (n *namespace) files(line *os.File) (files []*os.File, err error) {
	files = []*os.File{line}
	tree, err := unix.OpenTree(unix.AT_FDCWD, n.spec.Image.Root, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return files, fmt.Errorf("mount the image: %w", err)
	}
	files = append(files, os.NewFile(uintptr(tree), "image"))
	program, err := os.Open(filepath.Join(n.spec.Image.Root, agentPath))
	if err != nil {
		return files, fmt.Errorf("open the image: %w", err)
	}
	return append(files, program), nil
}

// command is this program as PID 1 of new namespaces. The kernel ends it when this process dies (the agent asks for
// that), and everything in its PID namespace with it.
func (n *namespace) command(files []*os.File, userSpace bool) (*exec.Cmd, *tail) {
	said := &tail{}
	cmd := &exec.Cmd{
		Path:       fmt.Sprintf("/proc/self/fd/%d", 2+len(files)),
		Args:       agent.EnterArgs(n.spec.Name),
		Env:        []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=xterm"},
		Dir:        "/",
		Stdout:     said,
		Stderr:     said,
		ExtraFiles: files,
		SysProcAttr: &syscall.SysProcAttr{
			Setsid:     true,
			Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET,
		},
	}
	if userSpace {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: guestUIDs(n.spec.Lab, n.spec.Name), Size: guestUIDCount}}
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = ids, ids
		cmd.SysProcAttr.GidMappingsEnableSetgroups = true
		cmd.SysProcAttr.Credential = &syscall.Credential{Groups: []uint32{}} // root there, nobody here
	}
	return cmd, said
}

// The host's users that a namespace guest's users are: a range for each guest, behind QEMU's. Two guests that share
// one, by a rare chance, still do not see each other.
const (
	guestUIDBase   = 0x52000000
	guestUIDCount  = 1 << 16
	guestUIDRanges = 1 << 13
)

func guestUIDs(lab, name string) int {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s/%s", lab, name)
	return guestUIDBase + int(h.Sum32()%guestUIDRanges)*guestUIDCount
}

// socketPair is a line between the host and an agent.
func socketPair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	f := os.NewFile(uintptr(fds[0]), "agent")
	defer f.Close()
	theirs = os.NewFile(uintptr(fds[1]), "agent")
	if ours, err = net.FileConn(f); err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// PIDs are all processes of the guest, its PID 1 first.
func (n *namespace) PIDs() []int {
	first := n.pid()
	space := namespaceOf(first, "pid_for_children")
	if first == 0 || space == "" {
		return nil
	}
	all, err := processes()
	if err != nil {
		return []int{first}
	}
	pids := []int{first}
	for _, pid := range all {
		if pid != first && namespaceOf(pid, "pid") == space {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (n *namespace) CPUTime() (time.Duration, error) { return cpuTime(n.PIDs()) }

// Pause stops every process of the guest, and returns when they stand still and its vNICs hear nothing.
func (n *namespace) Pause(ctx context.Context) error {
	if err := n.runs(); err != nil {
		return err
	}
	if err := n.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	if err := n.deafen(true); err != nil {
		return err
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for slices.ContainsFunc(n.PIDs(), moves) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("guest %s: wait until it stands still: %w", n.spec.Name, context.Cause(ctx))
		case <-tick.C:
		}
	}
	return n.runs() // somebody may have ended it meanwhile
}

// runs is an error where the guest has no process any more.
func (n *namespace) runs() error {
	if len(n.PIDs()) == 0 {
		return fmt.Errorf("guest %s has ended", n.spec.Name)
	}
	return nil
}

// Resume lets them go on. The vNICs of a guest that has ended stay deaf: nobody is there to answer.
func (n *namespace) Resume(context.Context) error {
	if err := n.runs(); err != nil {
		return err
	}
	return errors.Join(n.deafen(false), n.signal(syscall.SIGCONT))
}

// silence has the guest, which has ended, answer nobody. Its namespace is there until Stop, and the host's kernel would
// go on answering in it.
func (n *namespace) silence() {
	n.mu.Lock()
	removed := n.stopped
	n.mu.Unlock()
	if removed {
		return
	}
	if err := n.deafen(true); err != nil {
		slog.Warn("a guest that has ended may still answer", "error", err)
	}
}

// deafen makes the guest's vNICs drop what comes in, or take it again.
func (n *namespace) deafen(on bool) error {
	do := vnic.Undeafen
	if on {
		do = vnic.Deafen
	}
	err := vnic.OnOwnThread(func() error {
		ns, err := netns.GetFromPath(n.nsPath())
		if err == nil {
			err = netns.Set(ns)
			ns.Close()
		}
		for _, nic := range n.spec.NICs {
			if err == nil {
				err = do(nic.Name)
			}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("guest %s: %w", n.spec.Name, err)
	}
	return nil
}

func (n *namespace) signal(s syscall.Signal) error {
	for _, pid := range n.PIDs() {
		if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("guest %s: signal process %d: %w", n.spec.Name, pid, err)
		}
	}
	return nil
}

// Stop ends the guest's PID 1, and so all of it.
func (n *namespace) Stop(context.Context) error {
	n.mu.Lock()
	n.stopped = true
	cmd, booted := n.cmd, n.agent != nil
	n.mu.Unlock()
	if cmd == nil {
		n.ended(nil)
		return nil
	}
	kill(cmd, n.gone)
	if !booted {
		n.ended(nil)
	}
	<-n.done
	return removeNamespace(n.nsPath())
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const tailBytes = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p)
	if over := t.buf.Len() - tailBytes; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fault.Lines(t.buf.String(), tailBytes)
}
