package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/labs/boundlog"
	"sluice/labs/guest/agent"
	"sluice/vnic/roottest"
)

// boot boots and configures a guest, and stops it after the test. plug is what is done in between.
func boot(t *testing.T, spec Spec, plug ...func(Machine)) Machine {
	t.Helper()
	m, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := m.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, do := range plug {
		do(m)
	}
	if err := m.Configure(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestLabMachine walks through the life of a guest of each kind.
func TestLabMachine(t *testing.T) {
	both(t, "life", func(t *testing.T, m Machine) {
		if m.State() != StateReady {
			t.Errorf("state %s, want ready", m.State())
		}
		t.Run("confined", func(t *testing.T) { testConfined(t, m) })
		t.Run("pause", func(t *testing.T) { testPause(t, m) })
		t.Run("time", func(t *testing.T) {
			before := cpuOf(t, m)
			if m.Kind() == QEMU {
				if before == 0 {
					t.Error("booting has used no CPU")
				}
				return
			}
			burnt := burn(t, m)
			if used := cpuOf(t, m) - before; used < burnt/2 {
				t.Errorf("commands that have ended used %v, of which CPUTime has %v", burnt, used)
			}
		})
		pids := m.PIDs()
		if err := m.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if err := m.Stop(t.Context()); err != nil {
			t.Errorf("a second stop: %v", err)
		}
		<-m.Done()
		if m.Err() != nil || m.State() != StateStopped || len(m.PIDs()) != 0 {
			t.Errorf("after Stop: error %v, state %s, processes %v", m.Err(), m.State(), m.PIDs())
		}
		if m.NetNS() != "" {
			if _, err := os.Lstat(m.NetNS()); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the namespace's name is left: %v", err)
			}
		}
		for _, pid := range pids {
			if unix.Kill(pid, 0) == nil && namespaceOf(pid, "net") != "" {
				t.Errorf("process %d is left", pid)
			}
		}
	})
}

func cpuOf(t *testing.T, m Machine) time.Duration {
	t.Helper()
	used, err := m.CPUTime()
	if err != nil {
		t.Fatal(err)
	}
	return used
}

// burn has a command in a guest, and one that it leaves behind, use CPU until they have ended, and says what they say
// they have used.
func burn(t *testing.T, m Machine) (sum time.Duration) {
	t.Helper()
	const work = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; times" // its own first, then its children's
	for _, script := range []string{work, "(sh -c '" + work + "' &) | cat"} {
		out := strings.Fields(shell(t, m, script))
		if len(out) != 4 {
			t.Fatalf("times says %q", out)
		}
		for _, s := range out[:2] {
			d, err := time.ParseDuration(s)
			if err != nil {
				t.Fatal(err)
			}
			sum += d
		}
	}
	if sum == 0 {
		t.Fatal("nothing was burnt")
	}
	return sum
}

// testConfined sees that what runs on the host for a guest has no rights there.
func testConfined(t *testing.T, m Machine) {
	pids := m.PIDs()
	if len(pids) == 0 {
		t.Fatal("no processes")
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pids[0]))
	if err != nil {
		t.Fatal(err)
	}
	status := map[string]string{}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(line, ":")
		status[k] = strings.Join(strings.Fields(v), " ")
	}
	if m.Kind() == QEMU {
		for key, want := range map[string]string{"CapEff": "0000000000000000", "Seccomp": "2", "NoNewPrivs": "1", "Groups": ""} {
			if status[key] != want {
				t.Errorf("QEMU has %s %q, want %q", key, status[key], want)
			}
		}
		if strings.HasPrefix(status["Uid"], "0 ") {
			t.Errorf("QEMU runs as user %s", status["Uid"])
		}
		return
	}
	if got := namespaceOf(pids[0], "user"); got == namespaceOf(os.Getpid(), "user") || strings.HasPrefix(status["Uid"], "0 ") {
		t.Errorf("a namespace guest is user %s of the host's user namespace", status["Uid"])
	}
	if status["Seccomp"] != "2" || status["NoNewPrivs"] != "1" {
		t.Errorf("a namespace guest has seccomp %s, no_new_privs %s", status["Seccomp"], status["NoNewPrivs"])
	}
	if status["CapEff"] != status["CapBnd"] || status["CapInh"] != "0000000000000000" {
		t.Errorf("a namespace guest has capabilities %s, bound %s", status["CapEff"], status["CapBnd"])
	}
	for _, forbidden := range []string{
		"mount -t tmpfs none /mnt", "mknod /tmp/sda b 8 0", "date -s 2001-01-01; date +%Y | grep 2001", "touch /usr/x", "dmesg -c", "cat /host*",
		"echo 0 > /proc/sys/kernel/panic", "echo h > /proc/sysrq-trigger", "insmod /lib/modules/*/kernel/net/bridge/bridge.ko", "nsenter -t 1 -m -p true",
		"unshare -m true", "unshare -U true", "cat /proc/1/environ", "cat /proc/1/fd/3", "ls /proc/1/cwd/", "chmod 600 /dev/null", "head -c 1 /dev/mem",
		"ip netns add x", "echo 1 > /proc/sys/vm/drop_caches", "cat /sys/kernel/debug/*", "ulimit -c unlimited && ulimit -c | grep unlimited",
	} {
		code, err := m.Agent().Exec(t.Context(), agent.Command{Args: []string{"sh", "-c", forbidden}})
		if err != nil || code == 0 {
			t.Errorf("%s: code %d, %v; want a refusal", forbidden, code, err)
		}
	}
}

// testPause stops a guest and lets it go on: while it is paused it does not answer, and after it the line is whole.
func testPause(t *testing.T, m Machine) {
	if err := m.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := m.Agent().Info(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a paused guest answers: %v", err)
	}
	if err := m.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Agent().Info(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestLabKilled kills a machine as a drill does: that is what it says of its end.
func TestLabKilled(t *testing.T) {
	both(t, "killed", func(t *testing.T, m Machine) {
		if err := m.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := m.Err(); err == nil || !strings.HasSuffix(err.Error(), " was killed") {
			t.Errorf("error %v", err)
		}
	})
}

// TestLabEndsByItself kills a guest's main process behind its machine's back.
func TestLabEndsByItself(t *testing.T) {
	both(t, "dies", func(t *testing.T, m Machine) {
		if err := unix.Kill(m.PIDs()[0], unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-m.Done()
		if m.Err() == nil || m.State() != StateStopped {
			t.Errorf("error %v, state %s; want that it ended by itself", m.Err(), m.State())
		}
		if _, err := m.Agent().Info(t.Context()); err == nil {
			t.Error("its agent still answers")
		}
		if m.Pause(t.Context()) == nil || m.Resume(t.Context()) == nil {
			t.Error("what has ended was paused, or went on")
		}
	})
}

// TestLabLineBreaks has the line to a QEMU guest's agent break: it is taken up again.
func TestLabLineBreaks(t *testing.T) {
	m := boot(t, Spec{Lab: "sl-guest-line", Name: "g", Kind: QEMU, Dir: t.TempDir(), Image: testImage(t), Accel: TCG})
	old := m.Agent()
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		if a := m.Agent(); a != old {
			if _, err := a.Info(t.Context()); err != nil {
				t.Error(err)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the line was not taken up again")
		}
		<-time.After(10 * time.Millisecond)
	}
}

// TestLabReap leaves a lab's guests to nobody, with processes of their own, and removes them by the lab's name alone.
func TestLabReap(t *testing.T) {
	const lab, other = "sl-guest-reap", "sl-guest-reap-b"
	img := testImage(t)
	m := boot(t, Spec{Lab: lab, Name: "g", Kind: NetNS, Dir: t.TempDir(), Image: img})
	bystander := boot(t, Spec{Lab: other, Name: "g", Kind: NetNS, Dir: t.TempDir(), Image: img})
	go m.Agent().Exec(t.Context(), agent.Command{Args: []string{"sleep", "1000"}})
	path := m.NetNS()
	// The lab's own namespace, and in it what QEMU would be.
	own := NSName(lab, "")
	if out, err := exec.Command("ip", "netns", "add", own).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	inside := exec.Command("ip", "netns", "exec", own, "sh", "-c", "echo in; exec sleep 1000")
	said, err := inside.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := inside.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := said.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	// What a crash between the two steps of naming leaves.
	half := filepath.Join(NamesDir, NSName(lab, "half"))
	if err := os.WriteFile(half, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Reap(lab); err != nil {
			t.Fatal(err)
		}
		<-m.Done()
		for _, p := range []string{path, half, filepath.Join(NamesDir, own)} {
			if _, err := os.Lstat(p); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is left: %v", p, err)
			}
		}
	}
	if err := inside.Wait(); err == nil || inside.ProcessState.Success() {
		t.Errorf("a process in the lab's namespace was left alone: %v", err)
	}
	if bystander.State() != StateReady {
		t.Errorf("the guest of lab %s is %s", other, bystander.State())
	}
	if _, err := bystander.Agent().Info(t.Context()); err != nil {
		t.Error(err)
	}
	if err := Reap("sl-guest-never-was"); err != nil {
		t.Errorf("a lab that never was: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		spec Spec
	}{
		{"no image", Spec{Kind: QEMU}},
		{"no kind", Spec{Image: &Image{}}},
		{"another kind", Spec{Image: &Image{}, Kind: "docker"}},
	} {
		if _, err := New(c.spec); err == nil {
			t.Errorf("%s: no error", c.name)
		}
	}
}

// TestLabBootFails boots what cannot boot: the error says why, and nothing is left.
func TestLabBootFails(t *testing.T) {
	roottest.Need(t, "makes TAPs and namespaces")
	img := testImage(t)
	noInit := *img
	noInit.Root = t.TempDir()
	noKernel := *img
	noKernel.Kernel = os.Args[0]
	for _, c := range []struct {
		name, want string
		spec       Spec
	}{
		{"no agent in the image", "no such file", Spec{Kind: NetNS, Image: &noInit}},
		{"no kernel", "kernel", Spec{Kind: QEMU, Image: &noKernel}},
		{"a vNIC without TAP", "no TAP", Spec{Kind: QEMU, Image: img, NICs: []NIC{{Name: "eth0"}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.spec.Lab, c.spec.Name, c.spec.Dir, c.spec.Accel = "sl-guest-fails", "g", t.TempDir(), TCG
			m, err := New(c.spec)
			if err != nil {
				t.Fatal(err)
			}
			err = m.Boot(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "guest g") {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
			if m.State() != StateStopped || m.Agent() != nil {
				t.Errorf("state %s", m.State())
			}
			if _, err := os.Lstat(filepath.Join(NamesDir, NSName("sl-guest-fails", "g"))); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a namespace is left: %v", err)
			}
		})
	}
}

// TestLabConsoleIsBounded has a QEMU guest write to its console more than is kept of that: the end of it is there, and
// the log within its bound.
func TestLabConsoleIsBounded(t *testing.T) {
	dir := t.TempDir()
	m := boot(t, Spec{Lab: "sl-guest-console", Name: "g", Kind: QEMU, Dir: dir, Image: testImage(t), Accel: TCG})
	shell(t, m, "head -c 400000 /dev/zero >/dev/ttyS0; echo the end >/dev/ttyS0")
	path := filepath.Join(dir, bootLog)
	for deadline := time.Now().Add(time.Minute); ; {
		end, err := boundlog.Tail(path, 64)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(end), "the end") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log ends with %q", end)
		}
		<-time.After(10 * time.Millisecond)
	}
	if info, err := os.Stat(path); err != nil || info.Size() > logBytes {
		t.Errorf("the log has %d bytes, %v; want at most %d", info.Size(), err, logBytes)
	}
}
