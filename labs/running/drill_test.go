package running_test

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/vnic/roottest"
	"sluice/vswitch"
	"sluice/vswitch/control"
)

// drillLab is a lab whose appliance may be harmed.
func drillLab(t *testing.T) string {
	roottest.Need(t, "makes TAPs and namespaces")
	name := uniqueLab(t, "drill")
	must(t, "lab", "deploy", "fast-vs-slow", "--guests", "netns", "--name", name)
	return name
}

// TestRootDrills lets the appliance of a lab fail and come back, and TestLabDrills does so with QEMU.
func TestRootDrills(t *testing.T) {
	lab := drillLab(t)
	devices := devicesOf(t, lab)
	spaces := spacesOf(t, lab)
	testDrills(t, lab, "netns")
	t.Run("wrong", func(t *testing.T) { testWrongDrills(t, lab) })
	if now := devicesOf(t, lab); now != devices {
		t.Errorf("the lab's devices were\n%s\nand are\n%s", devices, now)
	}
	for ns := range spacesOf(t, lab) { // the new appliance has another
		spaces[ns] = true
	}
	cmd, progress := telling(t, "--lab", lab, "appliance", "restart") // in the middle of another
	waitFor(t, progress, "made anew")
	must(t, "lab", "destroy", lab)
	drain(progress)
	_ = cmd.Wait() // it may have been in time
	expectNothing(t, lab, spaces)
}

func TestLabDrills(t *testing.T) {
	lab := sharedLab(t, "qemu")
	testDrills(t, lab, "qemu")
}

func testDrills(t *testing.T, lab, kind string) {
	t.Run("kill in slow", func(t *testing.T) { testKill(t, lab) })
	t.Run("kill in fast", func(t *testing.T) { testKillUnused(t, lab) })
	t.Run("stall", func(t *testing.T) { testStall(t, lab) })
	t.Run("noticed", func(t *testing.T) { testNoticed(t, lab, kind) })
}

// testKill kills the appliance that everything passes through, and boots it anew: the conversation that was cut off
// goes on, and of what is denied nothing arrives at any time.
func testKill(t *testing.T, lab string) {
	must(t, "--lab", lab, "place", "off")
	witness := startGuest(t, lab, "client", "tcpdump", "-ni", "eth0", "-tt", "-l", "icmp[icmptype] == icmp-echo or src port 7777")
	denied := startGuest(t, lab, "server", "ping", "-q", "-i", "0.002", "10.10.1.10")
	witness.waitLines(t, 2) // in off they arrive: the witness sees what it must later not see
	must(t, "--lab", lab, "place", "slow")
	talk := startTalk(t, lab)
	talk.says(t, enforcedBegins)
	drill(t, lab, control.Kill, "failed")
	reaches(t, lab, false)
	s := statsOf(t, lab)
	if slices.ContainsFunc(s.Ports, func(p vswitch.PortStats) bool { return strings.HasPrefix(p.Name, "fw") }) {
		t.Errorf("it has ports still: %+v", s.Ports)
	}
	if s.Dropped["failed"] == 0 {
		t.Errorf("dropped by reason: %v, want some that failed", s.Dropped)
	}
	if r := inGuest(t, lab, "fw", "", "true"); r.code != 1 || !strings.Contains(r.stderr, "fw is failed") {
		t.Errorf("a command in it: exit code %d %s", r.code, r.stderr)
	}
	drill(t, lab, control.Restart, "ready")
	reaches(t, lab, true)
	talk.says(t, 10)
	drill(t, lab, control.Restart, "ready") // one that runs
	talk.says(t, 10)
	reaches(t, lab, true)
	for _, b := range []*background{denied, witness, talk.background} {
		b.stop(t)
	}
	checkPings(t, witness.read())
}

// checkPings: once the policy was enforced, no denied ping arrived.
func checkPings(t *testing.T, lines []string) {
	t.Helper()
	enforced := slices.IndexFunc(lines, func(s string) bool { return strings.HasSuffix(s, fmt.Sprintf(", length %d", enforcedBegins)) })
	if enforced < 0 {
		t.Fatalf("the witness is blind: %q", lines)
	}
	for _, s := range lines[enforced:] {
		if strings.Contains(s, "echo request") {
			t.Fatalf("a denied ping was delivered: %s", s)
		}
	}
}

// testKillUnused: where no frame meets the appliance, none misses it.
func testKillUnused(t *testing.T, lab string) {
	must(t, "--lab", lab, "place", "fast")
	talk := startTalk(t, lab)
	talk.says(t, 10)
	drill(t, lab, control.Kill, "failed")
	talk.says(t, 10)
	reaches(t, lab, true)
	if r := sluice(t, "", "--lab", lab, "place", "slow"); r.code != 1 || !strings.Contains(r.stderr, "has ended; restart it first") {
		t.Errorf("placed where nobody is: exit code %d %s%s", r.code, r.stdout, r.stderr)
	}
	drill(t, lab, control.Restart, "ready")
	talk.says(t, 10)
	must(t, "--lab", lab, "place", "inspect") // where it needs no rules: it has none yet
	talk.says(t, 10)
	must(t, "--lab", lab, "place", "slow")
	talk.says(t, 10)
	talk.stop(t)
}

// testStall: an appliance that stands still is there, and nothing passes.
func testStall(t *testing.T, lab string) {
	must(t, "--lab", lab, "place", "slow")
	talk := startTalk(t, lab)
	talk.says(t, 10)
	drill(t, lab, control.Stall, "stalled")
	reaches(t, lab, false)
	if r := inGuest(t, lab, "fw", "", "true"); r.code != 1 || !strings.Contains(r.stderr, "fw is stalled") {
		t.Errorf("a command in it: exit code %d %s", r.code, r.stderr)
	}
	drill(t, lab, control.Resume, "ready")
	reaches(t, lab, true)
	talk.says(t, 10)
	drill(t, lab, control.Stall, "stalled")
	drill(t, lab, control.Kill, "failed")
	drill(t, lab, control.Restart, "ready")
	talk.says(t, 10)
	talk.stop(t)
}

func testWrongDrills(t *testing.T, lab string) {
	must(t, "--lab", lab, "place", "fast")
	for _, c := range []struct {
		drill, want string
		then        control.Drill
	}{
		{"resume", "fw is not stalled", control.Stall},
		{"stall", "fw is stalled", control.Kill},
		{"kill", "fw is failed already", ""},
		{"stall", "fw is failed", ""},
		{"resume", "fw is not stalled", control.Restart},
	} {
		if r := sluice(t, "", "--lab", lab, "appliance", c.drill); r.code != 2 || !strings.Contains(r.stderr, c.want) {
			t.Errorf("%s: exit code %d %s, want 2 and %q", c.drill, r.code, r.stderr, c.want)
		}
		if c.then != "" {
			must(t, "--lab", lab, "appliance", string(c.then))
		}
	}
}

// drill does one, and expects the appliance to be in a state.
func drill(t *testing.T, lab string, d control.Drill, state string) {
	t.Helper()
	begun := time.Now()
	if got := answerOf[struct{ State string }](t, "--lab", lab, "appliance", string(d)); got.State != state {
		t.Fatalf("%s: %s, want %s", d, got.State, state)
	}
	t.Logf("%s took %v", d, time.Since(begun))
}

// reaches says whether the client should get an answer from the server: what is allowed, and never what is denied.
func reaches(t *testing.T, lab string, want bool) {
	t.Helper()
	wait := "20"
	if !want {
		wait = "2"
	}
	if r := inGuest(t, lab, "client", "", "timeout", wait, "wget", "-qO-", "http://10.10.2.10/"); (r.code == 0) != want {
		t.Errorf("allowed: exit code %d, want an answer: %v %s", r.code, want, r.stderr)
	}
	if r := inGuest(t, lab, "client", "x\n", "nc", "-w1", "10.10.2.10", "23"); r.code == 0 {
		t.Error("denied, and answered")
	}
}

// devicesOf names the devices in a lab's namespace.
func devicesOf(t *testing.T, lab string) string {
	t.Helper()
	out, err := exec.Command("ip", "netns", "exec", "sluice-"+onMachine(t, lab), "ls", "/sys/class/net").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}
