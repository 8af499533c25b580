package running_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/labs/probe"
	"sluice/vswitch"
	"sluice/vswitch/control"
)

// oddLab has what routers say to one another (GRE, OSPF, VRRP), SCTP, groups, an address that moves, and a guest with a
// leg on each segment, at whom SpoofGuard looks. Its policy denies ESP and AH, and what the dmz begins.
const oddLab = `name: %s
segments:
  lan: {subnet: 10.10.1.0/24, subnet6: "fd00:10:1::/64"}
  dmz: {subnet: 10.10.2.0/24, subnet6: "fd00:10:2::/64"}
guests:
  client: {segment: lan, address: 10.10.1.10, address6: "fd00:10:1::10", spoofguard: false}
  server: {segment: dmz, address: 10.10.2.10, address6: "fd00:10:2::10", services: [http], spoofguard: false}
  spare: {segment: dmz, kind: netns, address: 10.10.2.12, address6: "fd00:10:2::12", spoofguard: false}
  both:
    services: [http]
    vnics:
      - {segment: lan, address: 10.10.1.30, address6: "fd00:10:1::30"}
      - {segment: dmz, address: 10.10.2.30, address6: "fd00:10:2::30"}
appliance: {name: fw}
policy:
  services:
    secret: [{protocol: esp}, {protocol: ah}]
  default: allow
  rules:
    - {name: secret, service: secret, action: drop}
    - {name: legs, from: both, action: allow}
    - {name: back, from: dmz, to: client, action: drop}
placement: fast
`

// oddFlows are what each guest sends, as testdata/odd reads it.
var oddFlows = map[string][]string{
	"client": {
		"gre=47/10.10.2.10", "gre6=47/fd00:10:2::10", "ospf=89/10.10.2.10", "ospf6=89/fd00:10:2::10",
		"vrrp=112/10.10.2.10", "vrrp6=112/fd00:10:2::10", "sctp=132/10.10.2.10", "sctp6=132/fd00:10:2::10",
		"test=253/10.10.2.10", "pim6=103/fd00:10:2::10",
		"group-udp=17/239.7.7.7", "group-ospf=89/224.0.0.5", "group-vrrp=112/224.0.0.18",
		"group-ospf6=89/ff02::5%eth0", "group-vrrp6=112/ff02::12%eth0",
		"moves=253/10.10.2.100", "moves6=253/fd00:10:2::100",
		"denied-esp=50/10.10.2.10", "denied-esp6=50/fd00:10:2::10", "denied-ah=51/10.10.2.10", "denied-ah6=51/fd00:10:2::10",
		"near-esp=50/10.10.1.30", "near-esp6=50/ff02::5%eth0",
	},
	"server": {
		"reply=47/10.10.1.10/10.10.2.10", "reply6=89/fd00:10:1::10/fd00:10:2::10", // of flows that the client began
		"denied-begins=103/10.10.1.10/10.10.2.10", "denied-begins6=115/fd00:10:1::10/fd00:10:2::10",
	},
	"both": {
		"leg-lan=253/10.10.2.10/10.10.1.30", "leg-dmz=254/10.10.2.10/10.10.2.30",
		"leg-lan6=253/fd00:10:2::10/fd00:10:1::30", "leg-dmz6=254/fd00:10:2::10/fd00:10:2::30",
	},
	"spare": nil, // it only listens
}

// oddHolders are the two who hold the address that moves in turn, and their devices on its segment.
var oddHolders = []struct{ guest, device, own string }{
	{"server", "eth0", "10.10.2.10 fd00:10:2::10"},
	{"spare", "eth0", "10.10.2.12 fd00:10:2::12"},
}

// TestRootOddGuests goes through every ordered pair of placements, and through the appliance's drills.
func TestRootOddGuests(t *testing.T) {
	sideBySide(t)
	o := startOdd(t, "netns", "20ms")
	o.everywhere(t, append(enforcing(t, o.lab, "netns"), "off"))
	o.drills(t, "slow")
	o.drills(t, "inspect")
	o.end(t)
}

// everywhere goes through every ordered pair of placements. The first is where the lab is.
func (o *odd) everywhere(t *testing.T, placements []string) {
	t.Helper()
	for _, to := range everyPair(placements) {
		o.place(t, to)
	}
}

// everyPair is a walk from the first of a list through each ordered pair, once.
func everyPair(list []string) (walk []string) {
	for i, at := range list {
		for j := i + 2; j < len(list); j++ {
			walk = append(walk, list[j], at)
		}
		if i+1 < len(list) {
			walk = append(walk, list[i+1])
		}
	}
	for i := len(list) - 2; i >= 0; i-- {
		walk = append(walk, list[i])
	}
	return walk
}

// odd is a lab in which odd things are sent all the time.
type odd struct {
	lab, at string
	senders map[string]*background
	phases  [][]string // the placements that were in force in each
	holder  int        // of the address that moves
	moves   int
	asked   []string // the placements in which everybody has been asked for an answer
}

// oddProgram is what sends them, built once.
var oddProgram = sync.OnceValues(func() (string, error) {
	path := filepath.Join(workDir, "odd")
	cmd := exec.Command("go", "build", "-ldflags", "-s -w", "-o", path, "./testdata/odd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// startOdd deploys the lab, and lets its guests send with such pauses.
func startOdd(t *testing.T, kind, pause string) *odd {
	t.Helper()
	path, err := oddProgram()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	o := &odd{lab: uniqueLab(t, "odd"), at: "fast", senders: map[string]*background{}}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "lab.yaml"), fmt.Appendf(nil, oddLab, o.lab), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "lab", "deploy", dir, "--guests", kind)
	for guest := range oddFlows {
		if r := inGuest(t, o.lab, guest, string(program), "sh", "-c", "cat >/tmp/odd && chmod 755 /tmp/odd"); r.code != 0 {
			t.Fatalf("%s: %s", guest, r.stderr)
		}
	}
	script(t, o.lab, "server", "ip addr add 239.7.7.7/32 dev eth0 autojoin")
	script(t, o.lab, "both", "ip addr add 239.7.7.7/32 dev eth0 autojoin; ip link set eth0 allmulticast on")
	o.move(t)
	for guest, flows := range oddFlows {
		o.senders[guest] = startGuest(t, o.lab, guest, append([]string{"/tmp/odd", pause}, flows...)...)
	}
	return o
}

// arrives says where a flow is seen that nothing forbids.
func (o *odd) arrives(name string) string {
	switch {
	case strings.HasPrefix(name, "moves"):
		return oddHolders[o.holder].guest
	case strings.HasPrefix(name, "group"), strings.HasPrefix(name, "near"):
		return "both"
	case strings.HasPrefix(name, "reply"), strings.HasPrefix(name, "denied-begins"):
		return "client"
	}
	return "server"
}

// forbidden says whether a placement must not deliver a flow. What stays on a segment is not seen by an appliance that
// routes.
func forbidden(name, placement string) bool {
	return placement != "off" && (strings.HasPrefix(name, "denied") || placement != "slow" && strings.HasPrefix(name, "near"))
}

// phase begins one in which any of these placements may be in force, and waits until all that they let pass has arrived
// in it.
func (o *odd) phase(t *testing.T, placements ...string) {
	t.Helper()
	n := len(o.phases) + 1
	o.phases = append(o.phases, placements)
	for guest, b := range o.senders {
		if _, err := fmt.Fprintln(b.stdin, n); err != nil {
			t.Fatalf("%s: %v %s", guest, err, &b.stderr)
		}
	}
	for guest, flows := range oddFlows {
		o.senders[guest].waitLine(t, fmt.Sprintf("%d begun", n))
		for _, f := range flows {
			name, _, _ := strings.Cut(f, "=")
			if !slices.ContainsFunc(placements, func(p string) bool { return forbidden(name, p) }) {
				o.senders[o.arrives(name)].waitLine(t, fmt.Sprintf("%d %s", n, name))
			}
		}
	}
}

// script runs lines in a guest, which all must do.
func script(t *testing.T, lab, guest, lines string) {
	t.Helper()
	if r := inGuest(t, lab, guest, "", "sh", "-ec", lines); r.code != 0 {
		t.Fatalf("%s: %s: exit code %d\n%s%s", guest, lines, r.code, r.stdout, r.stderr)
	}
}

// waitLine waits until a command has said a line.
func (b *background) waitLine(t *testing.T, line string) {
	t.Helper()
	late := time.After(stepWait)
	for n := 0; ; {
		lines := b.read()
		if slices.Contains(lines[n:], line) {
			return
		}
		n = len(lines)
		select {
		case <-b.lines:
		case err := <-b.ended:
			t.Fatalf("%v ended: %v %s", b.cmd.Args, err, &b.stderr)
		case <-late:
			t.Fatalf("%v did not say %q within %v, but %q", b.cmd.Args, line, stepWait, lines[max(0, len(lines)-40):])
		}
	}
}

// place changes the placement while all is sent, lets the address move, and asks whether everybody answers.
func (o *odd) place(t *testing.T, to string) {
	t.Helper()
	o.phase(t, o.at, to)
	begun := time.Now()
	r := place(t, o.lab, to)
	o.phase(t, to)
	if r.Leaked != 0 {
		t.Errorf("%s to %s: %d denied frames delivered", o.at, to, r.Leaked)
	}
	asks := to == "slow" || to == "tunnel"
	if first := asks && !slices.Contains(o.asked, to); first && r.FlowsAnew == 0 || !asks && r.FlowsAnew > 0 {
		t.Errorf("%s to %s: %d flows began anew, where SCTP's cannot be carried to an appliance's conntrack", o.at, to, r.FlowsAnew)
	}
	t.Logf("%s to %s: %d lost, %d carried, %d anew; all flow %v later", o.at, to, r.Lost, r.FlowsCarried, r.FlowsAnew, time.Since(begun))
	o.at = to
	o.move(t)
	o.phase(t, to)
	if !slices.Contains(o.asked, to) {
		o.asked = append(o.asked, to)
		o.answers(t)
	}
}

// move hands an address over, as VRRP does: announced once, with the holder's own MAC or with one that moves along.
func (o *odd) move(t *testing.T) {
	t.Helper()
	const take = "ip addr add 10.10.2.100/32 dev %[1]s; ip addr add fd00:10:2::100/128 dev %[1]s nodad\n" +
		"/tmp/odd --announce %[1]s 10.10.2.100 fd00:10:2::100 %[2]s"
	const leave = "ip addr del 10.10.2.100/32 dev %[1]s; ip addr del fd00:10:2::100/128 dev %[1]s\n" +
		"if [ -f /tmp/mac ]; then ip link set %[1]s address $(cat /tmp/mac); rm /tmp/mac; /tmp/odd --announce %[1]s %[2]s; fi"
	const virtual = "cat /sys/class/net/%[1]s/address >/tmp/mac; ip link set %[1]s address 00:00:5e:00:01:07\n"
	if o.moves > 0 {
		old := oddHolders[o.holder]
		script(t, o.lab, old.guest, fmt.Sprintf(leave, old.device, old.own))
		o.holder = 1 - o.holder
	}
	lines := take
	if o.moves%4 > 1 { // twice, so that it moves from one to the other
		lines = virtual + take
	}
	o.moves++
	h := oddHolders[o.holder]
	script(t, o.lab, h.guest, fmt.Sprintf(lines, h.device, h.own))
}

// answers asks a guest with two legs by each of its addresses, from either segment, and one that nobody has.
func (o *odd) answers(t *testing.T) {
	t.Helper()
	const nobody = "tcp/10.10.2.99/80"
	argv := []string{"sluice", "probe", "--within", "20s", nobody}
	for _, a := range []string{"10.10.1.30", "10.10.2.30", "fd00:10:1::30", "fd00:10:2::30"} {
		argv = append(argv, "tcp/"+a+"/80", "icmp/"+a)
	}
	out := map[string]*background{}
	for _, from := range []string{"client", "server"} {
		out[from] = startGuest(t, o.lab, from, argv...)
	}
	for from, b := range out {
		var all []probe.Result
		if err := b.wait(t); err != nil {
			t.Fatalf("%v %s", err, &b.stderr)
		}
		if err := json.Unmarshal([]byte(strings.Join(b.read(), "")), &all); err != nil {
			t.Fatal(err)
		}
		for _, r := range all {
			switch {
			case r.Target == nobody && !strings.Contains(r.Error, "no route to host"):
				t.Errorf("%s: of an address that nobody has it is said: %+v", o.at, r)
			case r.Target != nobody && r.Outcome != probe.Answered:
				t.Errorf("%s: from %s: %+v", o.at, from, r)
			}
		}
	}
}

// drills harms the appliance in a placement that needs it. Each time all flows again, once it is well.
func (o *odd) drills(t *testing.T, placement string) {
	t.Helper()
	o.place(t, placement)
	events := startEvents(t, o.lab)
	for _, d := range []struct {
		harm, mend control.Drill
		until      string
	}{
		{control.Kill, control.Restart, "absent"},
		{control.Stall, control.Resume, "hung: it is handed nothing"},
		{"", control.Restart, ""},
	} {
		if d.harm != "" {
			must(t, "--lab", o.lab, "appliance", string(d.harm))
			events.when(t, "appliance", d.until)
		}
		must(t, "--lab", o.lab, "appliance", string(d.mend))
		o.phase(t, placement)
		o.move(t)
		o.phase(t, placement)
		last := answerOf[[]vswitch.Receipt](t, "--lab", o.lab, "place", "--history")
		r := last[len(last)-1]
		if asks := placement != "inspect" && d.mend == control.Restart; r.Leaked != 0 || asks && r.FlowsAnew == 0 {
			t.Errorf("%s after %s: the last receipt: %+v", placement, d.mend, r)
		}
	}
	events.stop(t)
}

// end says that nothing arrived that all placements of its phase forbid.
func (o *odd) end(t *testing.T) {
	t.Helper()
	seen := 0
	for guest, b := range o.senders {
		b.stop(t)
		for _, line := range b.read() {
			var n int
			var name string
			if _, err := fmt.Sscan(line, &n, &name); err != nil || n < 1 {
				continue // before the first phase, or a last word
			}
			if strings.HasPrefix(name, "denied") || strings.HasPrefix(name, "near") {
				seen++
			}
			if !slices.ContainsFunc(o.phases[n-1], func(p string) bool { return !forbidden(name, p) }) {
				t.Errorf("%s received %s in phase %d, in %v", guest, name, n, o.phases[n-1])
			}
		}
	}
	if seen == 0 {
		t.Error("nothing of what is denied was seen where nobody enforces: the witness is blind")
	}
	t.Logf("%d phases", len(o.phases))
}
