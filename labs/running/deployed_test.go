package running_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"sluice/vnic/frame"
	"sluice/vnic/roottest"
	"sluice/vswitch"
	"sluice/vswitch/control"
)

// These tests drive the real command, as a user does. One lab of each kind is deployed for all of them.

func TestMain(m *testing.M) {
	testscript.Main(tidy{m}, map[string]func(){"sluice": runSluice})
}

// tidy runs the tests and takes down the labs that they share.
type tidy struct{ m *testing.M }

func (x tidy) Run() int {
	work, err := os.MkdirTemp("", "sluice-labs-test-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(work)
	workDir = work
	os.Setenv("SLUICE_STATE_DIR", filepath.Join(work, "state")) // so that no lab of the user's is seen
	code := x.m.Run()
	for kind := range deployed {
		path, err := binary()
		if err == nil {
			var out []byte
			out, err = exec.Command(path, "lab", "destroy", labName(kind)).CombinedOutput()
			fmt.Fprintf(os.Stderr, "%s", out)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "destroy: %v\n", err)
			code = 1
		}
	}
	return code
}

var workDir string

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

// labName is that of the shared lab of a kind; the process's number keeps two runs of the tests apart.
func labName(kind string) string { return fmt.Sprintf("sl-labs-%s-%d", kind, os.Getpid()) }

// binary builds the command once.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(workDir, "sluice")
	cmd := exec.Command("go", "build", "-ldflags", "-s -w", "-o", path, "sluice") // as small as what is shipped: guests boot it
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// result is what a command did.
type result struct {
	stdout, stderr string
	code           int
}

// deadline bounds every command: a booting QEMU guest on a busy machine is the slowest.
const deadline = 3 * time.Minute

// sluice runs the command to its end.
func sluice(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	cmd, stop := command(t, args...)
	defer stop()
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("sluice %v: %v", args, err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

func command(t *testing.T, args ...string) (*exec.Cmd, context.CancelFunc) {
	t.Helper()
	return commandWithin(t, deadline, args...)
}

func commandWithin(t *testing.T, most time.Duration, args ...string) (*exec.Cmd, context.CancelFunc) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), most)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = environ(t)
	return cmd, cancel
}

// must runs the command and expects exit code 0.
func must(t *testing.T, args ...string) string {
	t.Helper()
	r := sluice(t, "", args...)
	if r.code != 0 {
		t.Fatalf("sluice %v: exit code %d\n%s%s", args, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

var (
	deployMu sync.Mutex
	deployed = map[string]error{}
)

// sharedLab deploys the lab of a kind, the first time, and returns its name.
func sharedLab(t *testing.T, kind string) string {
	t.Helper()
	roottest.Need(t, "makes TAPs and namespaces")
	deployMu.Lock()
	defer deployMu.Unlock()
	name := labName(kind)
	err, done := deployed[kind]
	if !done {
		begun := time.Now()
		if r := sluice(t, "", "lab", "deploy", "fast-vs-slow", "--guests", kind, "--name", name); r.code != 0 {
			err = fmt.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
		}
		deployed[kind] = err
		t.Logf("deployed in %v", time.Since(begun))
	}
	if err != nil {
		t.Fatalf("deploy: %v", err)
	}
	return name
}

// inGuest runs a command in a guest of a lab.
func inGuest(t *testing.T, lab, guest, stdin string, argv ...string) result {
	t.Helper()
	return sluice(t, stdin, append([]string{"--lab", lab, "exec", guest, "--"}, argv...)...)
}

// answerOf is the answer of a command that ends well, as scripts read it.
func answerOf[T any](t *testing.T, args ...string) (answer T) {
	t.Helper()
	out := must(t, append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatalf("the answer of %q: %v\n%s", args, err, out)
	}
	return answer
}

func inspectLab(t *testing.T, lab string) control.LabInfo {
	t.Helper()
	return answerOf[control.LabInfo](t, "lab", "inspect", lab)
}

func statsOf(t *testing.T, lab string) vswitch.Stats {
	t.Helper()
	return answerOf[vswitch.Stats](t, "--lab", lab, "stats")
}

// The two tiers run the same table.
func TestRootNetnsLab(t *testing.T) { testLab(t, "netns") }
func TestLabQEMU(t *testing.T)      { testLab(t, "qemu") }

func testLab(t *testing.T, kind string) {
	lab := sharedLab(t, kind)
	t.Run("inspect", func(t *testing.T) { testInspect(t, lab, kind) })
	t.Run("reach", func(t *testing.T) { testReach(t, lab) })
	t.Run("exec", func(t *testing.T) { testExec(t, lab) })
	t.Run("signals", func(t *testing.T) { testSignals(t, lab) })
	t.Run("caller gone", func(t *testing.T) { testCallerGone(t, lab) })
	t.Run("second deploy", func(t *testing.T) { testSecondDeploy(t, lab) })
	t.Run("spoofguard", func(t *testing.T) { testSpoofguard(t, lab) })
	t.Run("push", func(t *testing.T) { testPush(t, lab) })
	t.Run("verdicts", func(t *testing.T) { testVerdicts(t, lab, kind) })
	t.Run("helpers", func(t *testing.T) { testHelpers(t, lab) })
	t.Run("keep", func(t *testing.T) { testKeep(t, lab, kind) })
	t.Run("changes under load", func(t *testing.T) { testChanges(t, lab, kind) })
}

func testInspect(t *testing.T, lab, kind string) {
	info := inspectLab(t, lab)
	if info.Name != lab || info.PID == 0 || info.Engine != "user" || info.Placement != "slow" {
		t.Errorf("inspect: %+v", info)
	}
	want := map[string]string{
		"client": "10.10.1.10/24 fd00:10:1::10/64",
		"server": "10.10.2.10/24 fd00:10:2::10/64",
		"fw":     "10.10.1.1/24 fd00:10:1::1/64 10.10.2.1/24 fd00:10:2::1/64",
	}
	for _, g := range info.Guests {
		if got := strings.Join(g.Addresses, " "); got != want[g.Name] || g.Kind != kind || g.State != "ready" {
			t.Errorf("guest %+v, want %s %s", g, kind, want[g.Name])
		}
		delete(want, g.Name)
	}
	if len(want) > 0 {
		t.Errorf("not there: %v", want)
	}
}

// testReach is the lesson: what is allowed and what is not is the same in the fast and in the slow path.
func testReach(t *testing.T, lab string) {
	for _, placement := range []string{"slow", "fast", "off"} {
		must(t, "--lab", lab, "place", placement)
		for _, c := range []struct {
			what, from string
			argv       []string
			open       bool // where the policy is enforced; in off everything is
		}{
			{"http", "client", []string{"timeout", "20", "wget", "-qO-", "http://10.10.2.10/"}, true},
			{"http over IPv6", "client", []string{"timeout", "20", "wget", "-qO-", "http://[fd00:10:2::10]/"}, true},
			{"ping", "client", []string{"ping", "-c1", "-W10", "10.10.2.10"}, true},
			{"ping over IPv6", "client", []string{"ping", "-c1", "-W10", "fd00:10:2::10"}, true},
			{"telnet", "client", []string{"nc", "-w2", "10.10.2.10", "23"}, false},
			{"telnet over IPv6", "client", []string{"nc", "-w2", "fd00:10:2::10", "23"}, false},
			{"ping the other way", "server", []string{"ping", "-c1", "-W2", "10.10.1.10"}, false},
		} {
			t.Run(placement+"/"+c.what, func(t *testing.T) {
				r := inGuest(t, lab, c.from, "hello\n", c.argv...)
				if open := r.code == 0; open != (c.open || placement == "off") {
					t.Errorf("answers: %v (exit code %d)\n%s%s", open, r.code, r.stdout, r.stderr)
				}
				if r.code == 0 && c.argv[0] == "nc" && r.stdout != "hello\n" {
					t.Errorf("echo said %q", r.stdout)
				}
			})
		}
	}
}

// testSpoofguard: a guest cannot send from an address that the lab file did not give it, not even where nobody
// enforces.
func testSpoofguard(t *testing.T, lab string) {
	must(t, "--lab", lab, "place", "off")
	for _, c := range []struct{ what, address, server string }{
		{"IPv4", "10.10.1.77/24", "10.10.2.10"},
		{"IPv6", "fd00:10:1::77/64", "fd00:10:2::10"},
	} {
		t.Run(c.what, func(t *testing.T) {
			if r := inGuest(t, lab, "client", "", "ip", "addr", "add", c.address, "dev", "eth0", "nodad"); r.code != 0 {
				t.Fatal(r.stderr)
			}
			defer inGuest(t, lab, "client", "", "ip", "addr", "del", c.address, "dev", "eth0")
			forged, _, _ := strings.Cut(c.address, "/")
			before := spoofed(t, lab)
			if r := inGuest(t, lab, "client", "", "ping", "-c1", "-W2", "-I", forged, c.server); r.code == 0 {
				t.Errorf("an answer came to %s", forged)
			}
			if spoofed(t, lab) == before {
				t.Error("nothing was counted as forged")
			}
		})
	}
}

func spoofed(t *testing.T, lab string) uint64 {
	t.Helper()
	return statsOf(t, lab).Dropped[frame.ReasonSpoof.String()]
}

func testExec(t *testing.T, lab string) {
	for _, c := range []struct {
		name, guest, stdin string
		argv               []string
		code               int
		stdout             string
	}{
		{"true", "client", "", []string{"true"}, 0, ""},
		{"its own code", "client", "", []string{"sh", "-c", "exit 7"}, 7, ""},
		{"a signal", "client", "", []string{"sh", "-c", "kill -9 $$"}, 137, ""},
		{"no such program", "client", "", []string{"no-such-program"}, 127, ""},
		{"standard input", "client", "one\ntwo\n", []string{"cat"}, 0, "one\ntwo\n"},
		{"words are kept", "client", "", []string{"echo", "a  b", "$HOME"}, 0, "a  b $HOME\n"},
		{"hostname", "fw", "", []string{"hostname"}, 0, "fw\n"},
		{"names", "client", "", []string{"ping", "-c1", "-W5", "-q", "server"}, 0, "*"},
		{"no such guest", "clent", "", []string{"true"}, 2, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := inGuest(t, lab, c.guest, c.stdin, c.argv...)
			if r.code != c.code || c.stdout != "*" && r.stdout != c.stdout {
				t.Errorf("exit code %d, want %d; said %q, want %q; %s", r.code, c.code, r.stdout, c.stdout, r.stderr)
			}
		})
	}
}

// testSignals interrupts the command, as Ctrl-C does: once it is for the guest's command to act on, twice it is the
// end.
func testSignals(t *testing.T, lab string) {
	const loop = "; echo up; while :; do sleep 0.1; done"
	for _, c := range []struct {
		name, script string
		send         []os.Signal
		code         int
		stdout       string
	}{
		{"trapped", "trap 'echo got; exit 7' INT" + loop, []os.Signal{os.Interrupt}, 7, "up got"},
		{"TERM", "trap 'echo got; exit 9' TERM" + loop, []os.Signal{syscall.SIGTERM}, 9, "up got"},
		{"HUP", "trap 'echo got; exit 8' HUP" + loop, []os.Signal{syscall.SIGHUP}, 8, "up got"},
		{"not trapped", ":" + loop, []os.Signal{syscall.SIGTERM}, 143, "up"},
		{"refused", "trap 'echo no' INT" + loop, []os.Signal{os.Interrupt, os.Interrupt}, 130, "up no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := startGuest(t, lab, "client", "sh", "-c", c.script)
			for i, sig := range c.send {
				b.waitLines(t, i+1)
				if err := b.cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
			}
			var exit *exec.ExitError
			if err := b.wait(t); !errors.As(err, &exit) || exit.ExitCode() != c.code || strings.Join(b.read(), " ") != c.stdout {
				t.Errorf("%v, want %d; said %q, want %q; %s", err, c.code, b.read(), c.stdout, &b.stderr)
			}
		})
	}
}

// testCallerGone kills the command that waits: what it ran in the guest ends.
func testCallerGone(t *testing.T, lab string) {
	const mark = "4711" // seconds that nothing else sleeps for
	b := startGuest(t, lab, "client", "sh", "-c", "trap '' INT TERM HUP; echo up; sleep "+mark)
	b.waitLines(t, 1)
	if err := b.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = b.wait(t) // it was killed
	r := inGuest(t, lab, "client", "", "sh", "-c", "n=0; while pgrep -f '[s]leep "+mark+"'; do sleep 0.1; n=$((n+1)); [ $n -lt 100 ] || exit 1; done")
	if r.code != 0 {
		t.Errorf("it runs on: exit code %d %s%s", r.code, r.stdout, r.stderr)
	}
}

func testSecondDeploy(t *testing.T, lab string) {
	pid := inspectLab(t, lab).PID
	r := sluice(t, "", "lab", "deploy", "fast-vs-slow", "--guests", "netns", "--name", lab)
	if r.code != 2 || !strings.Contains(r.stderr, "is deployed already") {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
	if got := inspectLab(t, lab).PID; got != pid {
		t.Errorf("the lab's process was %d and is %d", pid, got)
	}
}

// waitFor reads until a word has been said, and returns what was said.
func waitFor(t *testing.T, r io.Reader, word string) string {
	t.Helper()
	var said strings.Builder
	b := make([]byte, 1024)
	for !strings.Contains(said.String(), word) {
		n, err := r.Read(b)
		said.Write(b[:n])
		if err != nil {
			t.Fatalf("ended before it said %q: %v\n%s", word, err, said.String())
		}
	}
	return said.String()
}

// drain reads the rest.
func drain(r io.Reader) string {
	b, _ := io.ReadAll(r) // it ends with the process, and how that ended is looked at elsewhere
	return string(b)
}

// TestRootGuestDies: a guest's death is an event of the lab, not its end.
func TestRootGuestDies(t *testing.T) {
	sideBySide(t)
	name := uniqueLab(t, "dies")
	must(t, "lab", "deploy", writeLab(t, name))
	killGuest(t, name, "two")
	late := time.Now().Add(10 * time.Second)
	for state := ""; state != "failed"; {
		for _, g := range inspectLab(t, name).Guests {
			if g.Name == "two" {
				state = g.State
			}
		}
		if time.Now().After(late) {
			t.Fatalf("the guest is %s, want failed", state)
		}
	}
	if r := inGuest(t, name, "one", "", "true"); r.code != 0 {
		t.Errorf("the other guest: exit code %d %s", r.code, r.stderr)
	}
	if r := inGuest(t, name, "one", "", "ping", "-c1", "-W1", "two"); r.code != 1 || !strings.Contains(r.stdout, " 100% packet loss") {
		t.Errorf("the dead guest answers: exit code %d %s%s", r.code, r.stdout, r.stderr)
	}
	if r := inGuest(t, name, "two", "", "true"); r.code != 1 || !strings.Contains(r.stderr, "two is failed") {
		t.Errorf("the dead guest: exit code %d %s", r.code, r.stderr)
	}
}
