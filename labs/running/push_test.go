package running_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// What the tests push: the lab's own policy, with and without HTTP.
const (
	httpPolicy = `services:
  echo: {tcp: 7777}
  web: {tcp: 80}
default: drop
rules:
  - {name: echo, from: client, to: server, service: echo, action: allow}
  - {name: web, from: client, to: server, service: web, action: allow}
`
	noHTTPPolicy = `services:
  echo: {tcp: 7777}
default: drop
rules:
  - {name: echo, from: client, to: server, service: echo, action: allow}
`
	noEchoPolicy = `services:
  web: {tcp: 80}
default: drop
rules:
  - {name: web, from: client, to: server, service: web, action: allow}
`
)

// testPush administers the policy inside the appliance. Afterwards the lab is as it was.
func testPush(t *testing.T, lab string) {
	own := must(t, "--lab", lab, "policy", "show")
	inFW(t, lab, "", 1, "the placement is not push", "policy", "show")
	events := start(t, "--lab", lab, "events")
	for len(events.read()) == 0 { // until it listens
		place(t, lab, "push")
	}
	inFW(t, lab, "", 0, own, "policy", "show")
	inFW(t, lab, "", 0, "good, 4 rules", "policy", "lint")
	began := generation(t, lab)
	before := toAppliance(t, lab)
	talk := startTalk(t, lab)
	talk.says(t, 10)
	testPushed(t, lab, began, talk)
	testPushRefused(t, lab)
	file := t.TempDir() + "/own.yaml"
	if err := os.WriteFile(file, []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	testOnlyInside(t, lab, file)
	testPushesAtOnce(t, lab)

	// A flow that a push denies is cut.
	inFW(t, lab, noEchoPolicy, 0, "1 flows cut", "policy", "push", "-", "--force")
	if _, err := fmt.Fprintln(talk.stdin, "anybody?"); err != nil {
		t.Fatal(err)
	}
	answersOn(t, lab, true) // time for an answer that must not come
	if said := len(talk.read()); said != talk.said {
		t.Errorf("a denied flow lives on: %q", talk.read()[talk.said:])
	}
	talk.stop(t)

	if n := toAppliance(t, lab) - before; n > 0 {
		t.Errorf("%d frames went to the appliance", n)
	}
	events.stop(t)
	told := strings.Join(events.read(), "\n")
	for _, want := range []string{fmt.Sprintf(`fw: generation %d, 2 rules, `, began+1), "fw: conflict: generation"} {
		if !strings.Contains(told, want) {
			t.Errorf("nobody was told of %q:\n%s", want, told)
		}
	}
	place(t, lab, "slow") // with what was pushed last
	answersOn(t, lab, true)
	must(t, "--lab", lab, "policy", "apply", file)
}

// inFW runs a command in the appliance, and expects an exit code and a part of what it says.
func inFW(t *testing.T, lab, stdin string, code int, want string, argv ...string) {
	t.Helper()
	if r := inGuest(t, lab, "fw", stdin, argv...); r.code != code || !strings.Contains(r.stdout+r.stderr, want) {
		t.Fatalf("%v in fw: exit code %d, want %d and %q in\n%s%s", argv, r.code, code, want, r.stdout, r.stderr)
	}
}

// testPushed: a push is in force at once, at every vNIC. What it still allows lives on.
func testPushed(t *testing.T, lab string, began uint64, talk *conversation) {
	t.Helper()
	inFW(t, lab, httpPolicy, 0, "", "sh", "-c", "cat > /etc/sluice/policy.yaml")
	inFW(t, lab, "", 0, fmt.Sprintf("generation %d is in force: 2 rules", began+1), "policy", "push")
	inFW(t, lab, "", 0, fmt.Sprintf("client  %d\nserver  %d\n", began+1, began+1), "policy", "status")
	answersOn(t, lab, true)
	talk.says(t, 10)
	inFW(t, lab, noHTTPPolicy, 0, fmt.Sprintf("generation %d is in force: 1 rules", began+2), "policy", "push", "-", "--force")
	answersOn(t, lab, false)
	talk.says(t, 10)
}

// testPushRefused: what does not compile changes nothing, and says why.
func testPushRefused(t *testing.T, lab string) {
	t.Helper()
	before := generation(t, lab)
	inFW(t, lab, strings.Replace(httpPolicy, "to: server", "to: servre", 1), 0, "", "sh", "-c", "cat > /etc/sluice/policy.yaml")
	inFW(t, lab, "", 2, `policy: /etc/sluice/policy.yaml:6:36: "servre" is no guest`, "policy", "push")
	inFW(t, lab, "", 2, `policy.yaml:6:36: `, "policy", "lint")
	if g := generation(t, lab); g != before {
		t.Errorf("generation %d, want %d", g, before)
	}
	answersOn(t, lab, false)
}

// testOnlyInside: nobody but the appliance administers the policy. file is one that the host may not apply.
func testOnlyInside(t *testing.T, lab, file string) {
	t.Helper()
	if r := inGuest(t, lab, "client", "", "policy", "show"); r.code != 1 || !strings.Contains(r.stderr, "no policy is administered here") {
		t.Errorf("in the client: exit code %d %s", r.code, r.stderr)
	}
	r := sluice(t, "", "--lab", lab, "policy", "apply", file)
	if r.code != 1 || !strings.Contains(r.stderr, "administered inside the appliance") {
		t.Errorf("from the host: exit code %d %s", r.code, r.stderr)
	}
	r = sluice(t, "", "--lab", lab, "policy", "show")
	if !strings.Contains(r.stderr, "# fw:stdin, generation") || !strings.Contains(r.stderr, "# administered inside the appliance") {
		t.Errorf("policy show says %s", r.stderr)
	}
}

// testPushesAtOnce has two push at once: one wins, the other is told, looks, and pushes again.
func testPushesAtOnce(t *testing.T, lab string) {
	t.Helper()
	began := generation(t, lab)
	files := []string{"/root/0.yaml", "/root/1.yaml"}
	for i, text := range []string{httpPolicy, noHTTPPolicy} {
		if r := inGuest(t, lab, "fw", text, "sh", "-c", "cat > "+files[i]+"; policy diff "+files[i]); r.code > 1 {
			t.Fatalf("diff: %+v", r)
		}
	}
	var both sync.WaitGroup
	said := make([]result, 2)
	for i, file := range files {
		both.Go(func() { said[i] = inGuest(t, lab, "fw", "", "policy", "push", file) })
	}
	both.Wait()
	won, lost := said[0], said[1]
	again := files[1]
	if won.code != 0 {
		won, lost, again = lost, won, files[0]
	}
	want := fmt.Sprintf("policy: conflict: generation %d was pushed meanwhile, yours began from %d; look at `policy diff`, then push again", began+1, began)
	if won.code != 0 || !strings.Contains(won.stdout, fmt.Sprintf("generation %d is in force", began+1)) || lost.code != 1 || !strings.Contains(lost.stderr, want) {
		t.Fatalf("of two, one won with %+v, the other lost with %+v", won, lost)
	}
	if r := inGuest(t, lab, "fw", "", "policy", "diff", again); r.code != 1 || !strings.Contains(r.stdout, "tcp/80 from ") {
		t.Errorf("diff: %+v", r)
	}
	if r := inGuest(t, lab, "fw", "", "policy", "push", again); r.code != 0 {
		t.Errorf("push again: %+v", r)
	}
}

// answersOn says whether the client reaches the server's HTTP.
func answersOn(t *testing.T, lab string, want bool) {
	t.Helper()
	r := inGuest(t, lab, "client", "", "wget", "-qO-", "-T", "2", "http://10.10.2.10/bytes/10")
	if got := r.code == 0; got != want {
		t.Errorf("HTTP is reached: %v, want %v; %s", got, want, r.stderr)
	}
}

// generation is that of the policy in force, which is realized at every vNIC of the guests.
func generation(t *testing.T, lab string) uint64 {
	t.Helper()
	s := statsOf(t, lab)
	for _, p := range s.Ports {
		if (p.Name == "client" || p.Name == "server") && p.Generation != s.Generation {
			t.Errorf("%s has generation %d, want %d", p.Name, p.Generation, s.Generation)
		}
	}
	return s.Generation
}

// toAppliance counts the frames that the appliance was sent.
func toAppliance(t *testing.T, lab string) (n uint64) {
	t.Helper()
	for _, p := range statsOf(t, lab).Ports {
		if strings.HasPrefix(p.Name, "fw/") {
			n += p.OutFrames
		}
	}
	return n
}

// TestRootPushApplianceDies: the appliance administers, and no more: when it dies, no flow is lost and the policy
// stays.
func TestRootPushApplianceDies(t *testing.T) {
	sideBySide(t)
	lab := uniqueLab(t, "push")
	must(t, "lab", "deploy", "fast-vs-slow", "--guests", "netns", "--placement", "push", "--name", lab)
	if r := inGuest(t, lab, "fw", httpPolicy, "policy", "push", "-", "--force"); r.code != 0 {
		t.Fatalf("push: %+v", r)
	}
	talk := startTalk(t, lab)
	talk.says(t, 10)
	before := statsOf(t, lab)
	killGuest(t, lab, "fw")
	for late := time.Now().Add(stepWait); fwState(t, lab) != "failed"; {
		talk.says(t, 10)
		if time.Now().After(late) {
			t.Fatal("nobody notices that the appliance is dead")
		}
	}
	talk.says(t, 10)
	answersOn(t, lab, true)
	if r := inGuest(t, lab, "client", "", "nc", "-w", "1", "10.10.2.10", "23"); r.code == 0 {
		t.Error("the policy is no longer enforced")
	}
	after := statsOf(t, lab)
	if after.Generation != before.Generation || after.Placement != before.Placement || after.FastShare != 1 {
		t.Errorf("%+v became %+v", before, after)
	}
	if r := sluice(t, "", "--lab", lab, "place", "push"); r.code != 1 || !strings.Contains(r.stderr, "the appliance has ended") {
		t.Errorf("placed at a dead appliance: %+v", r)
	}
	place(t, lab, "fast") // needs nothing of it
	talk.says(t, 10)
	talk.stop(t)
}

func fwState(t *testing.T, lab string) string {
	t.Helper()
	for _, g := range inspectLab(t, lab).Guests {
		if g.Name == "fw" {
			return g.State
		}
	}
	return ""
}
