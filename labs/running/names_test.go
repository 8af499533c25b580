package running_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/vnic/roottest"
)

// The names of network namespaces are shared with other programs: whatever these do, a lab can be destroyed, and nobody
// else's names are touched.

// onOtherMachine runs a script where /run is empty and mounts are nobody else's business, as on a machine that nobody
// has used yet. $NAME is a lab's name, $MARK what our state folder adds to the names of its namespaces, $LAB a lab
// folder.
func onOtherMachine(t *testing.T, name, script string) (string, error) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "-m", "sh", "-ec", "mount -t tmpfs none /run\n"+script)
	cmd.Env = append(environ(t), "PATH="+filepath.Dir(path)+":"+os.Getenv("PATH"), "NAME="+name,
		"MARK="+strings.TrimPrefix(onMachine(t, name), name), "LAB="+writeLab(t, name))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestRootOthersNames(t *testing.T) {
	const deploy, destroy = "sluice lab deploy $LAB\n", "sluice lab destroy $NAME\n"
	// What a program left that names namespaces in the plain folder. Its namespace is not the lab's to lose but by its
	// name.
	const old = "mkdir -p /run/netns $SLUICE_STATE_DIR\nmkdir -m 700 $SLUICE_STATE_DIR/$NAME\ntouch /run/netns/sluice-$NAME$MARK\n" +
		"unshare --net=/run/netns/sluice-$NAME$MARK true\n"
	const other = "ip netns add other\n"
	for _, c := range []struct{ what, script string }{
		{"before", other + deploy + destroy},
		{"between", deploy + other + destroy},
		{"between, old names", old + other + destroy},
		{"between, old names, deployed again", old + other + deploy + destroy},
		{"folder mounted on itself, twice", deploy + "mount --bind /run/netns /run/netns\nmount --bind /run/netns /run/netns\n" + other + destroy},
		{"name mounted on itself", deploy + other + "mount --bind /run/netns/sluice-$NAME$MARK /run/netns/sluice-$NAME$MARK\n" + destroy},
		{"name taken away", deploy + other + "ip netns del sluice-$NAME$MARK\nip netns del sluice-$NAME$MARK.one\n" + destroy},
		{"a file is no namespace", other + "touch /run/netns/sluice-$NAME$MARK /run/netns/sluice-$NAME$MARK.one\n" + deploy + destroy},
		{"the machine's own namespace", other + "touch /run/netns/sluice-$NAME$MARK\nmount --bind /proc/self/ns/net /run/netns/sluice-$NAME$MARK\n" +
			deploy + destroy},
		{"a link to the machine's own", other + "ln -s /proc/1/ns/net /run/netns/sluice-$NAME$MARK\n" + deploy + destroy},
		{"a copy of the mounts", deploy + other + "unshare -m sh -ec '" + destroy + "'\n"},
		{"a private copy, made before", other + "unshare -m sleep 60 & sleeper=$!\nwhile [ $(readlink /proc/$sleeper/ns/mnt) = $(readlink /proc/self/ns/mnt) ]; do :; done\n" +
			deploy + "nsenter -m -t $sleeper sluice lab destroy $NAME\nkill $sleeper\n"},
	} {
		t.Run(c.what, func(t *testing.T) {
			sideBySide(t)
			name := uniqueLab(t, "names")
			out, err := onOtherMachine(t, name, c.script+"ls /run/netns | grep -vx other && exit 1\nip netns exec other true\n")
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			for _, l := range leftovers(t, name, nil) {
				t.Errorf("left behind: %s", l)
			}
		})
	}
}

// TestRootNoFolderForNames: where names cannot be, the machine lacks something, and nothing is made.
func TestRootNoFolderForNames(t *testing.T) {
	for _, c := range []struct{ what, script string }{
		{"read-only", "mount -o remount,ro /run\n"},
		{"a file", "touch /run/netns\n"},
	} {
		t.Run(c.what, func(t *testing.T) {
			sideBySide(t)
			name := uniqueLab(t, "ro")
			out, err := onOtherMachine(t, name, c.script+"sluice lab deploy $LAB || exit $?\n")
			exit, _ := err.(*exec.ExitError)
			if exit == nil || exit.ExitCode() != 3 || !strings.Contains(out, "/run/netns") {
				t.Errorf("%v, want exit code 3 and a word of /run/netns\n%s", err, out)
			}
			for _, l := range leftovers(t, name, nil) {
				t.Errorf("left behind: %s", l)
			}
		})
	}
}

// TestRootElsewhere: a lab whose processes are not seen is not said to be gone, and nothing of it is removed.
func TestRootElsewhere(t *testing.T) {
	sideBySide(t)
	name := uniqueLab(t, "elsewhere")
	must(t, "lab", "deploy", writeLab(t, name))
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "-pf", "--mount-proc", path, "lab", "destroy", name)
	cmd.Env = environ(t)
	out, err := cmd.CombinedOutput()
	if exit, _ := err.(*exec.ExitError); exit == nil || exit.ExitCode() != 1 || !strings.Contains(string(out), "another PID namespace") {
		t.Errorf("%v\n%s", err, out)
	}
	if len(spacesOf(t, name)) != 3 {
		t.Error("its names have gone")
	}
	if r := inGuest(t, name, "one", "", "true"); r.code != 0 {
		t.Errorf("its guest: exit code %d %s", r.code, r.stderr)
	}
}

// A lab process that is killed takes its guests with it at once, also one that stands still, and its name is free
// again.
func TestRootKilledLab(t *testing.T) {
	sideBySide(t)
	testKilledLab(t, "netns")
}

func TestLabKilledLab(t *testing.T) { testKilledLab(t, "qemu") }

func testKilledLab(t *testing.T, kind string) {
	roottest.Need(t, "makes TAPs and namespaces")
	name := uniqueLab(t, "killed")
	for range 2 {
		must(t, "lab", "deploy", "fast-vs-slow", "--guests", kind, "--name", name)
		must(t, "--lab", name, "appliance", "stall")
		guests := processesOf(t, name)
		if len(guests) < 3 {
			t.Fatalf("only %d processes of guests are seen", len(guests))
		}
		kill(t, inspectLab(t, name).PID, syscall.SIGKILL)
		late := time.Now().Add(20 * time.Second)
		for _, g := range guests {
			for exists(g) && time.Now().Before(late) {
				time.Sleep(10 * time.Millisecond) // a poll with a deadline
			}
			if exists(g) {
				t.Errorf("%s lives on", g)
			}
		}
	} // and deployed anew in between
}

// processesOf are those of a lab's guests: QEMU's in the lab's namespace, and PID 1 of namespace guests.
func processesOf(t *testing.T, lab string) (out []string) {
	t.Helper()
	own := inspectLab(t, lab).PID
	for _, pid := range labProcesses(t, lab) {
		if pid != own {
			out = append(out, fmt.Sprintf("/proc/%d", pid))
		}
	}
	return out
}

// TestRootDestroyMeetsDeploy: a deploy that is not done is not taken for a lab that lives for ever, whatever it has
// made so far.
func TestRootDestroyMeetsDeploy(t *testing.T) {
	sideBySide(t)
	name := uniqueLab(t, "meets")
	cmd, progress := telling(t, "lab", "deploy", writeLab(t, name))
	said := bufio.NewReader(progress)
	waitFor(t, said, "boots")
	must(t, "lab", "destroy", name)
	rest := drain(said)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code == 0 && !strings.Contains(rest, "is ready") {
		t.Errorf("exit code 0\n%s", rest)
	}
	expectNothing(t, name, nil)
}
