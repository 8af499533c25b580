package running_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/vswitch"
	"sluice/vswitch/control"
)

// These drills are about time: how long it takes until the switch knows, and until frames flow again. The figures are
// logged, with how many denied frames were delivered meanwhile; what is asserted is only that it happens, and that none
// was.

// visiting are the placements that a kind of lab has in which frames visit the appliance.
func visiting(t *testing.T, lab, kind string) []string {
	return slices.DeleteFunc(enforcing(t, lab, kind), func(p string) bool { return p == "fast" || p == "push" })
}

// testNoticed harms the appliance under load, in each placement that visits it.
func testNoticed(t *testing.T, lab, kind string) {
	for _, p := range visiting(t, lab, kind) {
		t.Run("kill in "+p, func(t *testing.T) { testNoticedKill(t, lab, p) })
		if kind == "qemu" { // a namespace's kernel is the host's, and cannot be stopped
			t.Run("stop in "+p, func(t *testing.T) { testNoticedStop(t, lab, p) })
		}
	}
}

// load is what runs while the appliance fails: pings and downloads that are allowed, and denied pings that a witness
// would see.
type load struct {
	pings, downloads, denied, witness *background
	talk                              *conversation
}

func startLoad(t *testing.T, lab, placement string) *load {
	must(t, "--lab", lab, "place", "off")
	l := &load{}
	l.witness = startGuest(t, lab, "client", "tcpdump", "-ni", "eth0", "-tt", "-l", "src host 10.10.2.10 and (icmp[icmptype] == icmp-echo or src port 7777)")
	l.denied = startGuest(t, lab, "server", "ping", "-q", "-i", "0.002", "10.10.1.10")
	l.witness.waitLines(t, 2) // in off they arrive
	must(t, "--lab", lab, "place", placement)
	l.talk = startTalk(t, lab)
	l.talk.says(t, enforcedBegins)
	l.downloads = startGuest(t, lab, "client", "sh", "-c", downloadForever)
	l.pings = startGuest(t, lab, "client", "ping", "-q", "-i", "0.002", "10.10.2.10")
	l.downloads.waitLines(t, 1)
	return l
}

// end stops the load, and says that nothing denied was delivered.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.talk.says(t, 10)
	for _, b := range []*background{l.denied, l.pings, l.downloads, l.witness, l.talk.background} {
		b.stop(t)
	}
	checkPings(t, l.witness.read())
}

// testNoticedKill: a killed appliance is absent; a new one is told policy and flows, and then frames flow.
func testNoticedKill(t *testing.T, lab, placement string) {
	l := startLoad(t, lab, placement)
	events := startEvents(t, lab)
	begun := time.Now()
	drill(t, lab, control.Kill, "failed")
	absent := events.when(t, "appliance", "absent")
	drill(t, lab, control.Restart, "ready")
	ready := events.when(t, "port-up", "fw")
	back := events.when(t, "appliance", "ok")
	l.end(t)
	t.Logf("%s: killed, noticed after %d ms (the command's own time included); back %d ms after the machine was ready; 0 denied delivered",
		placement, absent.Sub(begun).Milliseconds(), back.Sub(ready).Milliseconds())
	events.stop(t)
}

// testNoticedStop stops the appliance's QEMU with a signal of which nobody is told, for long enough that what it was
// handed is too old.
func testNoticedStop(t *testing.T, lab, placement string) {
	l := startLoad(t, lab, placement)
	seen := startGuest(t, lab, "server", "tcpdump", "-ni", "eth0", "-l", "icmp[icmptype] == icmp-echo and greater 150")
	events := startEvents(t, lab)
	qemu, err := os.FindProcess(qemuOf(t, lab, "fw"))
	if err != nil {
		t.Fatal(err)
	}
	ping := func(size int) {
		inGuest(t, lab, "client", "", "ping", "-q", "-c5", "-i0.01", "-W1", "-s", strconv.Itoa(size), "10.10.2.10")
	}
	lengths := map[string]int{"before": 200, "asleep": 201, "long asleep": 202, "awake": 203}
	for late := time.Now().Add(stepWait); len(seen.read()) == 0 && time.Now().Before(late); {
		ping(lengths["before"]) // again, where the witness does not listen yet
	}
	stopped := time.Now()
	if err := qemu.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer qemu.Signal(syscall.SIGCONT)
	ping(lengths["asleep"])
	hung := events.when(t, "appliance", "hung, fails closed")
	events.when(t, "appliance", "hung: it is handed nothing")
	ping(lengths["long asleep"])
	time.Sleep(time.Until(stopped.Add(10 * time.Second))) // what is queued is to be old
	if r := applianceNow(t, lab); r != "hung" {
		t.Errorf("the switch calls it %s", r)
	}
	woken := time.Now()
	if err := qemu.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	back := events.when(t, "appliance", "ok")
	l.talk.says(t, 10)
	ping(lengths["awake"])
	l.end(t)
	seen.stop(t)
	got := map[int]int{}
	for _, line := range seen.read() {
		if _, n, ok := strings.Cut(line, ", length "); ok { // else tcpdump's last words
			got[atoi(t, n)-8]++
		}
	}
	for what, n := range lengths {
		if wakes := what == "before" || what == "awake"; wakes != (got[n] > 0) {
			t.Errorf("of the pings that were sent %s, %d arrived", what, got[n])
		}
	}
	t.Logf("%s: stopped for 10 s, noticed after %d ms; back %d ms after it went on; 0 denied and 0 old ones delivered",
		placement, hung.Sub(stopped).Milliseconds(), back.Sub(woken).Milliseconds())
	events.stop(t)
}

// eventLog follows what a lab tells.
type eventLog struct {
	*background
	next int // the first line that nobody has read yet
}

func startEvents(t *testing.T, lab string) *eventLog {
	t.Helper()
	e := &eventLog{background: start(t, "--lab", lab, "events", "-o", "json")}
	for len(e.read()) == 0 { // until it listens
		must(t, "--lab", lab, "place", statsOf(t, lab).Placement.String())
	}
	return e
}

// when waits for the next event of a kind that begins so, and says when it was.
func (e *eventLog) when(t *testing.T, kind, detail string) time.Time {
	t.Helper()
	for {
		e.waitLines(t, e.next+1)
		var ev vswitch.Event
		if err := json.Unmarshal([]byte(e.read()[e.next]), &ev); err != nil {
			t.Fatalf("event: %v", err)
		}
		e.next++
		if ev.Kind == kind && strings.HasPrefix(ev.Detail, detail) {
			return ev.Time
		}
	}
}

func applianceNow(t *testing.T, lab string) string {
	t.Helper()
	type status struct {
		State string `json:"appliance_state"`
	}
	return answerOf[status](t, "--lab", lab, "appliance", "status").State
}

// qemuOf finds a guest's QEMU by the name that it was given.
func qemuOf(t *testing.T, lab, guest string) int {
	t.Helper()
	name := fmt.Sprintf("\x00-name\x00%s/%s\x00", onMachine(t, lab), guest)
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b), name) {
			return atoi(t, filepath.Base(filepath.Dir(path)))
		}
	}
	t.Fatalf("no QEMU %q", name)
	return 0
}
