package labfile

import (
	"flag"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/firewall"
	"sluice/firewall/fault"
	"sluice/labs"
	"sluice/labs/check"
	"sluice/labs/guest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestBadLabs loads every lab file that is wrong in one way, and compares what is said of it.
func TestBadLabs(t *testing.T) {
	cases, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(cases) < 60 {
		t.Fatalf("only %d bad files: %v", len(cases), err)
	}
	for _, path := range cases {
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		if name == "policy" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = parseLab(os.DirFS("testdata/bad"), "lab.yaml", text, Work{})
			if err == nil {
				t.Fatal("loaded")
			}
			if fault.ClassOf(err) != fault.BadInput {
				t.Errorf("class %d, want BadInput: %v", fault.ClassOf(err), err)
			}
			compareGolden(t, strings.TrimSuffix(path, ".yaml")+".golden", err.Error()+"\n")
		})
	}
}

func compareGolden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestLoadRefusesWhatIsNoLab(t *testing.T) {
	big := t.TempDir()
	if err := os.WriteFile(filepath.Join(big, labFile), make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	odd := t.TempDir()
	if err := os.Mkdir(filepath.Join(odd, labFile), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, ref, want string }{
		{"nothing of that name", "no-such-lab", `no lab "no-such-lab": neither built in (`},
		{"a file", "load.go", "load.go is a file: give the folder that holds lab.yaml"},
		{"a folder without a lab", "testdata", "read testdata/lab.yaml: there is no such file"},
		{"too big", big, "at most"},
		{"not a file", odd, "not an ordinary file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load(c.ref)
			if err == nil || !strings.Contains(err.Error(), c.want) || fault.ClassOf(err) != fault.BadInput {
				t.Errorf("got %v, want bad input with %q", err, c.want)
			}
		})
	}
}

// good is a lab that uses every key.
const good = `
name: good
title: Every key
segments:
  lan: {subnet: 10.10.1.0/24, subnet6: "fd00:10:1::/64", gateway: 10.10.1.254, mtu: 9000}
  dmz: {subnet: 10.11.0.0/16, subnet6: "fd00:11::/64", gateway6: "fd00:11::fe"}
guests:
  client: {segment: lan, address: 10.10.1.10, kind: qemu, memory: 512, cpus: 2}
  server: {segment: dmz, address: 10.11.3.138, services: [http, echo]}
  both:
    vnics:
      - {segment: lan, address: 10.10.1.20}
      - {segment: dmz, address: 10.11.0.20, address6: "fd00:11::1:20"}
  here: {segment: lan, address: 10.10.1.30, kind: host, spoofguard: false}
appliance: {name: fw, kind: netns, memory: 300, cpus: 1}
policy:
  default: reject
  rules:
    - {name: all, from: client, to: server, action: allow}
placement: slow
handover: keep
inspect: {bypass-after: 64KiB}
kind: netns
params: {port: {random: 10003-10090}, word: {pick: [one, two]}}
student: [extra.txt]
tasks:
  - id: first
    title: Every check
    points: 5
    wait: 5s
    hold: 2s
    check:
      - {id: web, placement: [slow, fast], reach: {from: client, to: server, tcp: "${port}", family: ipv4, expect: open, within: 1s}}
      - seen: {at: client/from-guest, from: client, to: server, udp: 53, min: 1, max: 9}
      - walk: {flow: tcp from client to server port 80, family: ipv6, verdict: drop, by: default, rule: x, at: server/to-guest, crosses: false, reaches: [server]}
      - walk: {flow: "tcp from both/1 from-port 1024 to client port 80 flags syn,ack", verdict: drop}
      - walk: {flow: icmp from both/0 to server type host-unreachable, verdict: pass}
      - flows: {flow: icmp from client to server, state: established, rule: all, is: "< 3"}
      - receipt: {from: slow, to: fast, handover: carry, changes: 2, lost: 0, gap: "<= 50ms", load: tcp from client to server port 7777}
      - counter: {port: fw, count: dropped/default, change: true, is: ">= 1"}
      - counter: {share: fast, is: "> 90%"}
      - answer: {name: a, value: "${word}"}
      - answer: {name: b, number: 18, tolerance: 5%}
      - answer: {name: c, recorded: {walk: {flow: icmp from client to server}, what: verdict}}
      - answer: {name: d, matches: "^x+$"}
      - answer: {name: e, set: [x, y]}
      - run: {in: client, command: [ip, route], exit: 1, stdout: default, timeout: 1s}
  - id: second
    needs: [first]
    check: [{answer: {name: f, one-of: [x, y]}}]
    hints: [{when: f-missing, after: 1, cost: 2, text: Look.}]
`

func TestGoodLab(t *testing.T) {
	l, err := parseLab(fstest.MapFS{}, "lab.yaml", []byte(good), Work{})
	if err != nil {
		t.Fatal(err)
	}
	ip := netip.MustParseAddr
	want := &Lab{
		Name: "good", Title: "Every key", Placement: firewall.Slow, Handover: "keep", Kind: KindNetns, File: "lab.yaml",
		Params: map[string]string{"port": "10083", "word": "two"}, Theirs: []string{"extra.txt"}, Inspect: Inspect{BypassAfter: 64 << 10},
		Segments: []Segment{
			{Name: "lan", Subnet: netip.MustParsePrefix("10.10.1.0/24"), Subnet6: netip.MustParsePrefix("fd00:10:1::/64"), Gateway: ip("10.10.1.254"), Gateway6: ip("fd00:10:1::1"), MTU: 9000},
			{Name: "dmz", Subnet: netip.MustParsePrefix("10.11.0.0/16"), Subnet6: netip.MustParsePrefix("fd00:11::/64"), Gateway: ip("10.11.0.1"), Gateway6: ip("fd00:11::fe"), MTU: 1500},
		},
		Guests: []Guest{
			{Name: "client", Kind: KindQEMU, Memory: 512, CPUs: 2, VNICs: []VNIC{{0, ip("10.10.1.10"), ip("fd00:10:1::10")}}},
			{Name: "server", Kind: KindAuto, Memory: guest.DefaultMemoryMiB, CPUs: 1, Services: []string{"http", "echo"}, VNICs: []VNIC{{1, ip("10.11.3.138"), ip("fd00:11::3:138")}}},
			{Name: "both", Kind: KindAuto, Memory: guest.DefaultMemoryMiB, CPUs: 1, VNICs: []VNIC{{0, ip("10.10.1.20"), ip("fd00:10:1::20")}, {1, ip("10.11.0.20"), ip("fd00:11::1:20")}}},
			{Name: "here", Kind: KindHost, Unguarded: true, Memory: guest.DefaultMemoryMiB, CPUs: 1, VNICs: []VNIC{{0, ip("10.10.1.30"), ip("fd00:10:1::30")}}},
		},
		Appliance: &Guest{Name: "fw", Kind: KindNetns, Memory: 300, CPUs: 1, VNICs: []VNIC{{0, ip("10.10.1.254"), ip("fd00:10:1::1")}, {1, ip("10.11.0.1"), ip("fd00:11::fe")}}},
	}
	policy, tasks := l.Policy, l.Tasks
	l.Policy, l.Files, l.Tasks = nil, nil, nil
	if diff := cmp.Diff(want, l, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(policy.Rules) != 1 || policy.Rules[0].Line != 19 || policy.Default != firewall.RuleReject {
		t.Errorf("inline policy: %+v", policy.Rules)
	}
	checkGoodTasks(t, tasks)
}

// checkGoodTasks looks at what the tasks of good say: one line for each check, a check in two placements having two.
func checkGoodTasks(t *testing.T, tasks []check.Task) {
	t.Helper()
	want := []string{
		"tcp from client to server port 10083 ipv4 is open", "tcp from client to server port 10083 ipv4 is open",
		"udp from client to server port 53 is seen at client/from-guest at least 1 and at most 9",
		"the walk of tcp from client to server port 80 is drop by default by rule x at server/to-guest does not cross the appliance reaches server",
		"the walk of tcp from both/1 port 1024 to client port 80 flags syn,ack is drop", "the walk of icmp from both/0 to server type host-unreachable is pass",
		"flows that are icmp from client to server, established, by rule all: < 3",
		"the receipt of the change from slow to fast, lost 0, gap <= 50ms",
		"dropped/default of port fw, by the task's own traffic >= 1", "the fast share > 90%",
		"the answer a", "the answer b", "the answer c", "the answer d", "the answer e", "ip route in client",
	}
	var got []string
	for _, c := range tasks[0].Checks {
		got = append(got, c.Kind.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
	if p := tasks[0].Checks[1].Placement; p == nil || *p != firewall.Fast || tasks[0].Wait != 5*time.Second || tasks[0].Hold != 2*time.Second {
		t.Errorf("first task: %+v", tasks[0])
	}
	if h := tasks[1].Hints; len(tasks) != 2 || len(h) != 1 || h[0] != (check.Hint{When: "f-missing", After: 1, Cost: 2, Text: "Look."}) {
		t.Errorf("second task: %+v", tasks[1])
	}
}

// TestSignatureFile: its text goes to the appliance, with the student's parameters in it.
func TestSignatureFile(t *testing.T) {
	const text, want = "signatures: [{name: bad, text: harm-${word}}]\n", "signatures: [{name: bad, text: harm-two}]\n"
	files := fstest.MapFS{"more/signatures.yaml": {Data: []byte(text)}}
	l, err := parseLab(files, "lab.yaml", []byte(strings.Replace(good, "inspect: {", "inspect: {signatures: more/signatures.yaml, ", 1)), Work{})
	if err != nil {
		t.Fatal(err)
	}
	if string(l.Inspect.Signatures) != want || l.Inspect.BypassAfter != 64<<10 {
		t.Errorf("%+v", l.Inspect)
	}
}

// TestInlinePolicyKeepsItsPlace: an error in an inline policy names the line of the lab file.
func TestInlinePolicyKeepsItsPlace(t *testing.T) {
	_, err := parseLab(fstest.MapFS{}, "lab.yaml", []byte(strings.Replace(good, "to: server", "to: servre", 1)), Work{})
	if err == nil || !strings.HasPrefix(err.Error(), "lab.yaml:19:37: ") {
		t.Errorf("got %v, want an error at lab.yaml:19:37", err)
	}
}

// TestCardsAreNumbered: ports follow the file, the appliance comes last and has the gateways' MACs.
func TestCardsAreNumbered(t *testing.T) {
	l, err := parseLab(fstest.MapFS{}, "lab.yaml", []byte(good), Work{})
	if err != nil {
		t.Fatal(err)
	}
	segments := l.SwitchSegments()
	want := []string{"client", "server", "both/0", "both/1", "here", "fw/0", "fw/1", "fw/steer"}
	for i, c := range l.Cards() {
		if i >= len(want) || c.Name != want[i] || int(c.Port) != i+1 {
			t.Errorf("card %d is %s on port %d; want %v", i, c.Name, c.Port, want)
		}
		if c.Steer() {
			if o := l.Outer(); c.Name != "fw/steer" || o.PeerMAC != c.MAC || o.LocalMAC == c.MAC {
				t.Errorf("%s at the tunnel's end %+v", c.Name, o)
			}
		} else if gateway := segments[c.Segment-1].GatewayMAC == c.MAC; gateway != (c.Guest < 0) {
			t.Errorf("%s has the gateway's MAC: %v", c.Name, gateway)
		}
	}
	if n := len(l.Cards()); n != len(want) {
		t.Errorf("%d cards, want %d", n, len(want))
	}
	if inv := l.Inventory(); len(inv.Guests) != 4 || len(inv.Guests[2].VNICs) != 2 || len(inv.Segments) != 2 {
		t.Errorf("inventory %+v", inv)
	}
}

// TestBuiltinLabs: each loads, under its name with and without its number.
func TestBuiltinLabs(t *testing.T) {
	for _, b := range labs.Builtins() {
		for _, ref := range []string{b.Folder, b.Name()} {
			l, err := Load(ref)
			if err != nil {
				t.Errorf("%s: %v", ref, err)
			} else if l.Name != b.Name() || l.Title == "" {
				t.Errorf("%s is called %q, title %q", ref, l.Name, l.Title)
			}
		}
		if _, err := fs.Stat(b.Files, "README.md"); err != nil {
			t.Errorf("%s: %v", b.Folder, err)
		}
	}
	if len(labs.Builtins()) == 0 {
		t.Error("there are no built-in labs")
	}
}

// FuzzLoadLab: no file, however broken, may do more than be refused; and what is taken holds together.
func FuzzLoadLab(f *testing.F) {
	f.Add([]byte(good))
	seeds, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range seeds {
		b, err := os.ReadFile(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > maxFile {
			return
		}
		l, err := parseLab(os.DirFS("testdata/bad"), "lab.yaml", text, Work{})
		if err != nil {
			if fault.ClassOf(err) != fault.BadInput {
				t.Errorf("class %d: %v", fault.ClassOf(err), err)
			}
			return
		}
		checkTasks(t, l.Tasks)
		seen := map[netip.Addr]bool{}
		for _, c := range l.Cards() {
			for _, a := range c.Addrs {
				if seen[a] && c.Guest >= 0 {
					t.Errorf("%s has address %s of another", c.Name, a)
				}
				seen[a] = true
				if !l.Segments[c.Segment-1].SubnetOf(a).Contains(a) {
					t.Errorf("%s is outside its segment", a)
				}
			}
		}
	})
}
