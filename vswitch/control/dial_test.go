package control

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/firewall/fault"
)

// TestDialSaysWhatToDo: each way in which there is no lab to speak to has its own error.
func TestDialSaysWhatToDo(t *testing.T) {
	root := tempState(t)
	lab := &fakeLab{}
	expect := func(name, want string) {
		t.Helper()
		_, err := Dial(t.Context(), name)
		if err == nil || !strings.Contains(err.Error(), want) || fault.ClassOf(err) != fault.BadInput {
			t.Errorf("dial %q: got %v of class %d; want %q of class 2", name, err, fault.ClassOf(err), want)
		}
	}
	expect("", "no lab runs; start one with `sluice lab deploy LAB`")
	expect("one", "no lab one runs; `sluice lab ls` lists the labs that there are, and `sluice lab deploy LAB` starts one")
	for _, bad := range []string{"../etc", "a/b", "A", "-a", "a b", strings.Repeat("a", 33), "ä", "a\x00"} {
		expect(bad, "cannot be a lab's name")
	}

	startLab(t, "one", lab, usualLimits)
	if got := dial(t, "").Lab(); got != "one" {
		t.Errorf("the only lab is %q; want one", got)
	}
	leaveDeadSocket(t, filepath.Join(root, "dead"))
	if got := dial(t, "").Lab(); got != "one" {
		t.Errorf("beside a dead lab the only lab is %q; want one", got)
	}
	expect("dead", "lab dead is dead: its process has ended but left its socket; clean up with `sluice lab destroy dead`")
	if err := os.Mkdir(filepath.Join(root, "young"), 0o700); err != nil {
		t.Fatal(err)
	}
	expect("young", "still being deployed")
	startLab(t, "two", lab, usualLimits)
	expect("", "2 labs run; say which with --lab: one, two")
}

func TestDialOnlyDeadLabs(t *testing.T) {
	leaveDeadSocket(t, filepath.Join(tempState(t), "dead"))
	_, err := Dial(t.Context(), "")
	if err == nil || !strings.Contains(err.Error(), "sluice lab destroy dead") {
		t.Fatalf("got %v", err)
	}
}

// leaveDeadSocket leaves what a lab process leaves that was killed.
func leaveDeadSocket(t *testing.T, dir string) {
	t.Helper()
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
}

func TestListen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lab")
	leaveDeadSocket(t, dir)
	l, err := Listen(dir)
	if err != nil {
		t.Fatalf("over a dead lab's socket: %v", err)
	}
	defer l.Close()
	if _, err := Listen(dir); fault.ClassOf(err) != fault.BadInput || err == nil || !strings.Contains(err.Error(), "already runs") {
		t.Errorf("beside a running lab: got %v", err)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, SocketName): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o; want %o", path, got, want)
		}
	}
}

func TestStateRoot(t *testing.T) {
	t.Setenv("SLUICE_STATE_DIR", "")
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/7")
	want := "/run/user/7/sluice"
	if os.Geteuid() == 0 {
		want = "/run/sluice"
	}
	if got, err := StateRoot(); got != want || err != nil {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}

// TestStateRootSaid tries what a user may say: it is absolute from the first moment, and what cannot be is refused.
func TestStateRootSaid(t *testing.T) {
	work := t.TempDir()
	t.Chdir(work)
	if err := os.WriteFile("file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ said, root, fails string }{
		{"labs", work + "/labs", ""},
		{"./a/../labs/", work + "/labs", ""},
		{work + "/labs", work + "/labs", ""},
		{"file", "", "file is no folder"},
		{"file/labs", "", "file/labs is no folder"},
		{strings.Repeat("x", 300), "", "107 at most"},
	} {
		t.Setenv("SLUICE_STATE_DIR", c.said)
		root, err := StateRoot()
		if root != c.root || (err == nil) != (c.fails == "") {
			t.Errorf("%.20s: root %s, error %v; want %s, %s", c.said, root, err, c.root, c.fails)
		}
		if err != nil && (fault.ClassOf(err) != fault.BadInput || !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("%.20s: %v; want %s", c.said, err, c.fails)
		}
	}
}

// TestLongStateRoot fills a socket's path to the last byte, and one more.
func TestLongStateRoot(t *testing.T) {
	const rest = "/lab/" + SocketName
	for over, want := range []bool{true, false} {
		t.Setenv("SLUICE_STATE_DIR", "/"+strings.Repeat("x", 107-len(rest)-1+over))
		_, err := LabDir("lab")
		if (err == nil) != want {
			t.Errorf("%d bytes over: %v", over, err)
		}
		if err != nil && (fault.ClassOf(err) != fault.BadInput || !strings.Contains(err.Error(), "has 108 bytes, and a socket's has 107 at most: set SLUICE_STATE_DIR")) {
			t.Errorf("it does not say what to do: %v", err)
		}
	}
}
