package running_test

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"sluice/vnic/roottest"
)

// TestRootDoctor: a machine that can run labs is told so; one without programs is told what to install.
func TestRootDoctor(t *testing.T) {
	roottest.Need(t, "makes TAPs and namespaces")
	type finding struct {
		What   string
		OK     bool
		Needed bool
		Detail string
		Do     string
	}
	said := map[string]bool{}
	for _, f := range answerOf[[]finding](t, "doctor") {
		if said[f.What] {
			t.Errorf("%s is said twice", f.What)
		}
		said[f.What] = true
		if f.What == "KVM" && f.OK == strings.Contains(f.Do, "guests are emulated instead") {
			t.Errorf("KVM is %v, and %q", f.OK, f.Do)
		}
		if f.What == "KVM" && f.Detail == "" {
			t.Error("doctor does not say why KVM is used or not: a deploy leaves that to it")
		}
		if f.Needed && !f.OK {
			t.Errorf("%s: %s", f.What, f.Detail)
		}
	}
	for _, what := range []string{
		"machine", "root", "disk", "network namespace", "TAP", "veth", "packet socket", "BPF",
		"kernel conntrack", "conntrack", "nft", "qemu-system-x86_64", "guest image", "KVM",
	} {
		if !said[what] {
			t.Errorf("nothing is said of %s", what)
		}
	}
	t.Setenv("PATH", "/var/empty")
	path, err := binary() // built before: the tools to build it are not in this PATH
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path, "doctor").CombinedOutput()
	if code := err.(*exec.ExitError).ExitCode(); code != 3 || !strings.Contains(string(out), "apt-get install nftables") {
		t.Errorf("without programs: exit code %d\n%s", code, out)
	}
}

// TestRootIsNeeded: an ordinary user is told so, and nothing is made.
func TestRootIsNeeded(t *testing.T) {
	roottest.Need(t, "makes TAPs and namespaces")
	if _, err := binary(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(workDir, 0o755); err != nil { // so that the user below may run what is in it
		t.Fatal(err)
	}
	for _, args := range [][]string{{"lab", "deploy", "fast-vs-slow"}, {"lab", "destroy", "fast-vs-slow"}, {"doctor"}} {
		cmd, stop := command(t, args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Env = append(os.Environ(), "HOME=/nonexistent")
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 3 || !strings.Contains(string(out), "root") {
			t.Errorf("%v as an ordinary user: exit code %d\n%s", args, code, out)
		}
		stop()
	}
}
