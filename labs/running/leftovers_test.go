package running_test

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// leftovers lists everything on this machine that belongs to a lab: state, namespaces, processes in them or started for
// them, devices in our own namespace, sockets.
func leftovers(t *testing.T, lab string, spaces map[string]bool) []string {
	t.Helper()
	var out []string
	state := filepath.Join(stateDir(t), lab)
	if exists(state) {
		out = append(out, state)
	}
	names, err := filepath.Glob("/run/netns/sluice-" + onMachine(t, lab) + "*")
	if err != nil {
		t.Fatal(err)
	}
	out = append(out, names...)
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		if filepath.Base(p) == fmt.Sprint(os.Getpid()) {
			continue
		}
		line, _ := os.ReadFile(p + "/cmdline") // a process may end meanwhile
		ns, _ := os.Readlink(p + "/ns/net")
		if spaces[ns] || strings.Contains(string(line), state) {
			out = append(out, p+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if strings.HasPrefix(l.Name, fmt.Sprintf("sl%08x", crc32.ChecksumIEEE([]byte(onMachine(t, lab))))) {
			out = append(out, "device "+l.Name)
		}
	}
	sockets, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(sockets)) {
		if strings.Contains(line, state) {
			out = append(out, "socket "+line)
		}
	}
	return out
}

// onMachine is a lab's name with the mark of the tests' state root.
func onMachine(t *testing.T, lab string) string {
	return fmt.Sprintf("%s_%08x", lab, crc32.ChecksumIEEE([]byte(stateDir(t))))
}

// spacesOf are the network namespaces of a lab, or of one of its guests, as /proc/PID/ns/net names them.
func spacesOf(t *testing.T, lab string, guest ...string) map[string]bool {
	t.Helper()
	names, err := filepath.Glob("/run/netns/sluice-" + strings.Join(append([]string{onMachine(t, lab)}, guest...), ".") + "*")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, n := range names {
		var s syscall.Stat_t
		if err := syscall.Stat(n, &s); err == nil {
			out[fmt.Sprintf("net:[%d]", s.Ino)] = true
		}
	}
	return out
}

// expectNothing fails when anything of a lab is left. A guest that was being made when its lab was killed ends by
// itself, once it notices that nobody is at the other end of its line; it gets a moment for that.
func expectNothing(t *testing.T, lab string, spaces map[string]bool) {
	t.Helper()
	late := time.Now().Add(5 * time.Second)
	left := leftovers(t, lab, spaces)
	for len(left) > 0 && time.Now().Before(late) {
		left = leftovers(t, lab, spaces)
	}
	for _, l := range left {
		t.Errorf("left behind: %s", l)
	}
}

// writeLab makes a lab folder with a host port, so that destroying it also has something to remove from our own
// namespace.
func writeLab(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	text := "name: " + name + `
segments:
  lan: {subnet: 10.99.1.0/24, subnet6: "fd00:99:1::/64"}
guests:
  one: {segment: lan, address: 10.99.1.10, kind: netns, services: [http]}
  two: {segment: lan, address: 10.99.1.20, kind: netns}
  here: {segment: lan, address: 10.99.1.30, kind: host}
policy:
  default: drop
  rules:
    - {name: all, from: any, to: any, action: allow}
placement: fast
`
	if err := os.WriteFile(filepath.Join(dir, "lab.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// uniqueLab is a name for a lab that only one test uses; whatever becomes of the test, the lab is destroyed.
func uniqueLab(t *testing.T, what string) string {
	t.Helper()
	name := fmt.Sprintf("sl-labs-%s-%d", what, os.Getpid())
	t.Cleanup(func() { sluice(t, "", "lab", "destroy", name) })
	return name
}

// TestRootDestroy: destroying leaves nothing, however the lab's process ended, and touches no other lab.
func TestRootDestroy(t *testing.T) {
	sideBySide(t)
	other := uniqueLab(t, "other")
	must(t, "lab", "deploy", writeLab(t, other))
	before := inspectLab(t, other)
	for _, c := range []struct {
		name string
		harm func(t *testing.T, pid int)
	}{
		{"running", func(*testing.T, int) {}},
		{"killed", func(t *testing.T, pid int) { kill(t, pid, syscall.SIGKILL) }},
		{"ended", func(t *testing.T, pid int) { kill(t, pid, syscall.SIGTERM) }},
		{"stopped", func(t *testing.T, pid int) { kill(t, pid, syscall.SIGSTOP) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := uniqueLab(t, c.name)
			must(t, "lab", "deploy", writeLab(t, name))
			spaces := spacesOf(t, name)
			if len(spaces) != 3 {
				t.Fatalf("namespaces: %v", spaces)
			}
			if n := len(leftovers(t, name, spaces)); n < 8 {
				t.Fatalf("only %d things are found while the lab runs: the search is blind", n)
			}
			c.harm(t, inspectLab(t, name).PID)
			must(t, "lab", "destroy", name)
			expectNothing(t, name, spaces)
			if r := sluice(t, "", "lab", "destroy", name); r.code != 2 || !strings.Contains(r.stderr, "no lab "+name) {
				t.Errorf("destroyed twice: exit code %d: %s", r.code, r.stderr)
			}
		})
	}
	if after := inspectLab(t, other); after.PID != before.PID || after.Guests[0].State != "ready" {
		t.Errorf("the other lab was touched: %+v", after)
	}
}

// TestRootTwoRoots: labs of equal names under two state roots are two labs, and no command under one touches the
// other's.
func TestRootTwoRoots(t *testing.T) {
	sideBySide(t)
	name := uniqueLab(t, "roots")
	dir := writeLab(t, name)
	must(t, "lab", "deploy", dir)
	before := inspectLab(t, name)

	ours := stateDir(t)
	other := filepath.Join(t.TempDir(), "state")
	alias := filepath.Join(t.TempDir(), "alias")
	if err := os.Symlink(other, alias); err != nil {
		t.Fatal(err)
	}
	setenv(t, "SLUICE_STATE_DIR", other)
	if out := must(t, "lab", "ls"); strings.Contains(out, name) {
		t.Errorf("the other root's lab is shown:\n%s", out)
	}
	if r := sluice(t, "", "lab", "destroy", name); r.code != 2 || !strings.Contains(r.stderr, "no lab "+name) {
		t.Errorf("destroying the other root's lab: exit code %d: %s", r.code, r.stderr)
	}
	must(t, "lab", "deploy", "fast-vs-slow", "--guests", "netns", "--name", name)
	spaces := spacesOf(t, name)
	setenv(t, "SLUICE_STATE_DIR", alias)
	must(t, "lab", "destroy", "--all")
	setenv(t, "SLUICE_STATE_DIR", other)
	expectNothing(t, name, spaces)

	setenv(t, "SLUICE_STATE_DIR", ours)
	if after := inspectLab(t, name); after.PID != before.PID || len(after.Guests) != len(before.Guests) || after.Guests[0].State != "ready" {
		t.Errorf("it was %+v and is %+v", before, after)
	}
	if r := inGuest(t, name, "one", "", "true"); r.code != 0 {
		t.Errorf("its guest: exit code %d %s", r.code, r.stderr)
	}
}

func kill(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}

// killGuest kills every process in a namespace guest, from outside.
func killGuest(t *testing.T, lab, guest string) {
	t.Helper()
	spaces := spacesOf(t, lab, guest)
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	killed := 0
	for _, p := range procs {
		var pid int
		if ns, _ := os.Readlink(p + "/ns/net"); !spaces[ns] {
			continue
		}
		if _, err := fmt.Sscan(filepath.Base(p), &pid); err != nil {
			t.Fatal(err)
		}
		if syscall.Kill(pid, syscall.SIGKILL) == nil { // it may have gone with its init
			killed++
		}
	}
	if killed == 0 {
		t.Fatalf("guest %s has no processes", guest)
	}
}

// telling is a command that is not done yet, and what it tells of its progress.
func telling(t *testing.T, args ...string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd, stop := command(t, args...)
	t.Cleanup(stop)
	progress, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return cmd, progress
}

// TestRootHalfDeploy ends the deploying command at different moments: interrupted, it cleans up by itself; killed,
// destroy does.
func TestRootHalfDeploy(t *testing.T) {
	sideBySide(t)
	for _, c := range []struct {
		sig syscall.Signal
		at  string // a word of its progress
	}{
		{syscall.SIGINT, "boots"},
		{syscall.SIGINT, "one is ready"},
		{syscall.SIGKILL, "boots"},
		{syscall.SIGKILL, "one is ready"},
	} {
		t.Run(fmt.Sprintf("%v at %s", c.sig, c.at), func(t *testing.T) {
			name := uniqueLab(t, "half")
			cmd, progress := telling(t, "lab", "deploy", writeLab(t, name))
			said := waitFor(t, progress, c.at)
			spaces := spacesOf(t, name)
			if err := cmd.Process.Signal(c.sig); err != nil {
				t.Fatal(err)
			}
			rest := drain(progress)
			_ = cmd.Wait()
			if c.sig == syscall.SIGKILL {
				if r := sluice(t, "", "lab", "destroy", name); r.code != 0 && r.code != 2 {
					t.Errorf("destroy: exit code %d: %s", r.code, r.stderr)
				}
			} else if code := cmd.ProcessState.ExitCode(); code != 1 && code != 0 {
				t.Errorf("exit code %d after %q: %s", code, said, rest)
			} else if code == 0 { // it was ready before the signal came
				must(t, "lab", "destroy", name)
			}
			expectNothing(t, name, spaces)
		})
	}
}

// TestRootRandomKill kills the deploying command at random moments, then whatever runs of the lab: destroy removes it
// all.
func TestRootRandomKill(t *testing.T) {
	sideBySide(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	name := uniqueLab(t, "random")
	dir := writeLab(t, name)
	for range 10 {
		cmd, stop := command(t, "lab", "deploy", dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		moment := time.Duration(rng.IntN(int(300 * time.Millisecond)))
		<-time.After(moment) // not for something to happen: this is the moment
		spaces := spacesOf(t, name)
		kill(t, cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		stop()
		if r := sluice(t, "", "lab", "destroy", name); r.code != 0 && (r.code != 2 || len(spaces) > 0) {
			t.Errorf("destroy after %v: exit code %d: %s", moment, r.code, r.stderr)
		}
		expectNothing(t, name, spaces)
	}
}

// TestRootDiskFull deploys with a state folder that has no room.
func TestRootDiskFull(t *testing.T) {
	sideBySide(t)
	name := uniqueLab(t, "full")
	full := t.TempDir()
	if err := syscall.Mount("tmpfs", full, "tmpfs", 0, "size=4k"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Unmount(full, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	filler := make([]byte, 4096)
	if err := os.WriteFile(filepath.Join(full, "filler"), filler, 0o600); err != nil {
		t.Fatal(err)
	}
	setenv(t, "SLUICE_STATE_DIR", full)
	r := sluice(t, "", "lab", "deploy", writeLab(t, name))
	if r.code != 3 || !strings.Contains(r.stderr, "no space left on device") {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
	expectNothing(t, name, nil)
}

// TestRootHostPort: this machine is on the lab's segment through a device of its own.
func TestRootHostPort(t *testing.T) {
	sideBySide(t)
	name := uniqueLab(t, "host")
	file := filepath.Join(writeLab(t, name), "lab.yaml")
	text, err := os.ReadFile(file)
	if err == nil { // no other test's lab may be on the same addresses of this machine
		err = os.WriteFile(file, bytes.ReplaceAll(text, []byte("10.99.1."), []byte("10.99.7.")), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	must(t, "lab", "deploy", filepath.Dir(file))
	conn, err := net.DialTimeout("tcp", "10.99.7.10:80", 10*time.Second)
	if err != nil {
		t.Fatalf("reach a guest from the host: %v", err)
	}
	conn.Close()
	if r := inGuest(t, name, "one", "", "ping", "-c1", "-W5", "10.99.7.30"); r.code != 0 {
		t.Errorf("reach the host from a guest: exit code %d %s%s", r.code, r.stdout, r.stderr)
	}
}
